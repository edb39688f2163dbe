//! What commands ask of a cluster: the real `TopicAdmin` and `ApplicationAdmin`.

use super::{
    settings::{ConnectError, ConnectionSettings, Settings},
    wire::{CreateTopic, WireClient, WireError},
};
use crate::{
    record::TopicName,
    runtime::{ApplicationAdmin, TopicAdmin, TopicInfo, TopicSpec, TopicsError},
};

/// Describes and creates topics. Blocks.
pub struct KafkaTopicAdmin {
    client: WireClient,
    address: String,
}

impl KafkaTopicAdmin {
    /// An admin; connects when it is asked something.
    pub fn new(settings: &Settings) -> Result<Self, ConnectError> {
        settings.check()?;
        let connection = ConnectionSettings {
            settings: settings.clone(),
            application: "tidemill".to_owned(),
            instance: "admin".to_owned(),
            thread: 0,
            epoch_interval: std::time::Duration::ZERO,
            restore_read_uncommitted: false,
        };
        let address = settings.bootstrap_servers.clone();
        Ok(Self { client: WireClient::new(&connection), address })
    }

    fn error(&self, error: WireError) -> TopicsError {
        match error {
            WireError::Broker { what, name, .. } => {
                let topic = what.strip_prefix("topic ").unwrap_or(&what).to_owned();
                TopicsError::Refused { topic, reason: name }
            }
            other => {
                let (address, reason) = (self.address.clone(), other.to_string());
                TopicsError::Unreachable { address, reason }
            }
        }
    }
}

impl TopicAdmin for KafkaTopicAdmin {
    fn describe(&mut self, topics: &[TopicName]) -> Result<Vec<Option<TopicInfo>>, TopicsError> {
        self.client.describe_topics(topics).map_err(|error| self.error(error))
    }

    fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicsError> {
        let wanted: Vec<CreateTopic<'_>> = topics
            .iter()
            .map(|topic| CreateTopic {
                name: &topic.name,
                partitions: topic.partitions,
                replication: topic.replication,
                config: &topic.config,
            })
            .collect();
        self.client.create_topics(&wanted).map_err(|error| self.error(error))
    }

    fn brokers(&mut self) -> Result<usize, TopicsError> {
        self.client.broker_count().map_err(|error| self.error(error))
    }
}

impl ApplicationAdmin for KafkaTopicAdmin {
    fn group_members(&mut self, group: &str) -> Result<Option<Vec<String>>, TopicsError> {
        self.client.member_words(group).map_err(|error| self.error(error))
    }

    fn delete_group(&mut self, group: &str) -> Result<(), TopicsError> {
        self.client.delete_group(group).map_err(|error| self.error(error))
    }

    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<(), TopicsError> {
        self.client.delete_topics(topics).map_err(|error| self.error(error))
    }
}
