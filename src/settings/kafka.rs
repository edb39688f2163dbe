//! How the brokers are reached, as a person sets it.
//!
//! Plain data, also without the `kafka` feature, so that `validate` and `describe` read the same
//! file as `run`.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{Place, Problem, PropertyValue};

/// `[kafka]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// A silent member loses its partitions after this time.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How often a member is heard of.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// A thread that does not come back from its work for this long loses its partitions.
    #[serde(with = "humantime_serde")]
    pub max_poll_interval: Duration,
    /// The broker aborts transactions that stay open for longer.
    #[serde(with = "humantime_serde")]
    pub transaction_timeout: Option<Duration>,
    /// A transaction call that takes longer costs its producer.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// A request without an answer is given up.
    #[serde(with = "humantime_serde")]
    pub socket_timeout: Duration,
    /// Replicas of internal topics.
    pub replication_factor: Option<i32>,
    /// Further properties of librdkafka.
    pub properties: BTreeMap<String, PropertyValue>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            session_timeout: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(1),
            max_poll_interval: Duration::from_mins(5),
            transaction_timeout: None,
            call_timeout: Duration::from_secs(30),
            socket_timeout: Duration::from_secs(10),
            replication_factor: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// The transaction timeout: as set, else three epochs and at least ten seconds, since one
    /// dead owner's open transaction holds back every reader for that long (DESIGN section 5).
    pub fn transaction_timeout(&self, epoch_interval: Duration) -> Duration {
        self.transaction_timeout
            .unwrap_or_else(|| Duration::from_secs(10).max(epoch_interval.saturating_mul(3)))
    }

    /// The client's own settings, with the secrets in them: for the client alone.
    ///
    /// # Errors
    /// [`Problem::SecretFile`] for the first file that cannot be read.
    #[cfg(feature = "kafka")]
    pub fn client(&self) -> Result<crate::kafka::Settings, Problem> {
        Ok(crate::kafka::Settings {
            bootstrap_servers: self.bootstrap_servers.clone(),
            session_timeout: self.session_timeout,
            heartbeat_interval: self.heartbeat_interval,
            max_poll_interval: self.max_poll_interval,
            transaction_timeout: self.transaction_timeout,
            call_timeout: self.call_timeout,
            socket_timeout: self.socket_timeout,
            replication_factor: self.replication_factor.unwrap_or(-1),
            properties: self.reveal_properties()?,
            ..crate::kafka::Settings::default()
        })
    }

    /// The further properties with their secrets, for the client alone.
    ///
    /// # Errors
    /// [`Problem::SecretFile`] for the first file that cannot be read.
    pub fn reveal_properties(&self) -> Result<BTreeMap<String, String>, Problem> {
        let reveal = |(name, value): (&String, &PropertyValue)| match value.reveal() {
            Ok(text) => Ok((name.clone(), text)),
            Err(error) => Err(Problem::SecretFile {
                key: format!("kafka.properties.{name}"),
                path: match value {
                    PropertyValue::File(path) => Place::File(path.clone()),
                    PropertyValue::Inline(_) => Place::Default,
                },
                reason: error.to_string(),
            }),
        };
        self.properties.iter().map(reveal).collect()
    }
}
