//! What the runtime knows of topics, and who creates and describes them.

use std::collections::BTreeMap;

use crate::record::TopicName;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// Its id as 32 hex digits; changes when the topic is deleted and created again.
    pub id: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Replicas of its first partition.
    pub replication: i32,
    /// Its effective configuration, as Kafka spells keys and values.
    pub config: BTreeMap<String, String>,
}

impl TopicInfo {
    /// A configuration value as a number; `None` where it is missing or no number.
    pub fn config_number(&self, key: &str) -> Option<i64> {
        self.config.get(key)?.parse().ok()
    }
}

/// A topic to be created, or the minimum that an existing one must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: i32,
    /// Replication factor; -1 takes the broker's default.
    pub replication: i32,
    /// Configuration, as Kafka spells keys and values.
    pub config: BTreeMap<String, String>,
}

/// Why topics could not be described or created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// No broker answered.
    #[error("no broker answers at {address}: {reason}")]
    Unreachable {
        /// The bootstrap addresses.
        address: String,
        /// The client's words.
        reason: String,
    },
    /// The brokers do not take this client: what is set about TLS or SASL is wrong.
    #[error(
        "the brokers at {address} do not let this client in: {reason}; see security.protocol, \
         sasl.* and ssl.* in the setting kafka.properties"
    )]
    Credentials {
        /// The bootstrap addresses.
        address: String,
        /// The client's words.
        reason: String,
    },
    /// The brokers refused.
    #[error("topic {topic}: {reason}")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's words.
        reason: String,
    },
}

/// Creates and describes topics. Blocks; used at start and by commands, never on a stream thread.
pub trait TopicAdmin {
    /// Describes topics, in the order asked; `None` for one that does not exist.
    fn describe(&mut self, topics: &[TopicName]) -> Result<Vec<Option<TopicInfo>>, TopicsError>;

    /// Creates topics; one that exists by now is no error.
    fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicsError>;

    /// How many brokers the cluster has.
    fn brokers(&mut self) -> Result<usize, TopicsError>;
}
