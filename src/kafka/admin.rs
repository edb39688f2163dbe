//! What commands ask of a cluster: the real `TopicAdmin` and `ApplicationAdmin`.

use super::{
    clients,
    cluster::Cluster,
    failure::AskError,
    native::describe::GroupState,
    settings::{ConnectError, ConnectionSettings, Settings},
};
use crate::{
    record::TopicName,
    runtime::{ApplicationAdmin, TopicAdmin, TopicInfo, TopicSpec, TopicsError, mutants::Mutant},
};

/// Describes and creates topics. Blocks.
pub struct KafkaTopicAdmin {
    cluster: Cluster,
    address: String,
}

impl KafkaTopicAdmin {
    /// An admin; connects when it is asked something.
    ///
    /// # Errors
    /// The settings contradict each other, or librdkafka does not take them.
    pub fn new(settings: &Settings) -> Result<Self, ConnectError> {
        settings.check()?;
        let connection = ConnectionSettings {
            settings: settings.clone(),
            application: "tidemill".to_owned(),
            instance: "admin".to_owned(),
            thread: 0,
            epoch_interval: std::time::Duration::ZERO,
            mutant: Mutant::None,
        };
        let address = settings.bootstrap_servers.clone();
        Ok(Self { cluster: clients::cluster(&connection)?, address })
    }

    fn error(&self, error: AskError) -> TopicsError {
        let address = self.address.clone();
        match error {
            AskError::Refused { what, reason, .. } => {
                let topic = what.strip_prefix("topic ").unwrap_or(&what).to_owned();
                TopicsError::Refused { topic, reason }
            }
            AskError::NoAnswer(reason) => TopicsError::Unreachable { address, reason },
            AskError::Credentials(reason) => TopicsError::Credentials { address, reason },
        }
    }
}

impl TopicAdmin for KafkaTopicAdmin {
    fn describe(&mut self, topics: &[TopicName]) -> Result<Vec<Option<TopicInfo>>, TopicsError> {
        self.cluster.describe(topics).map_err(|error| self.error(error))
    }

    fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicsError> {
        self.cluster.create(topics).map_err(|error| self.error(error))
    }

    fn brokers(&mut self) -> Result<usize, TopicsError> {
        self.cluster.broker_count().map_err(|error| self.error(error))
    }
}

impl ApplicationAdmin for KafkaTopicAdmin {
    fn group_members(&mut self, group: &str) -> Result<Option<Vec<String>>, TopicsError> {
        let described = self.cluster.group(group).map_err(|error| self.error(error))?;
        if described.state == GroupState::Absent {
            return Ok(None);
        }
        let words = described.members.into_iter().map(|member| {
            let name = member.instance.as_ref().unwrap_or(&member.id);
            format!("{name} ({}, {})", member.client, member.host)
        });
        Ok(Some(words.collect()))
    }

    fn delete_group(&mut self, group: &str) -> Result<(), TopicsError> {
        self.cluster.delete_group(group).map_err(|error| self.error(error))
    }

    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<(), TopicsError> {
        self.cluster.delete_topics(topics).map_err(|error| self.error(error))
    }
}
