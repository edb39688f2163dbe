//! Topics described and created.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    create_topics_request::{CreatableTopic, CreatableTopicConfig},
    describe_configs_request::DescribeConfigsResource,
};

use super::{
    client::{WireClient, text, topic_name},
    connection::WireError,
};
use crate::{record::TopicName, runtime::TopicInfo};

const DESCRIBE_CONFIGS: i16 = 4;
const CREATE_TOPICS: i16 = 5;
const DELETE_TOPICS: i16 = 5;

const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const NOT_CONTROLLER: i16 = 41;
/// The protocol's number of a topic as the owner of a configuration.
const TOPIC_RESOURCE: i8 = 2;

const SETTLE_PAUSE: Duration = Duration::from_millis(50);
const SETTLE_ATTEMPTS: u32 = 200;

/// A topic to create.
pub(in crate::kafka) struct CreateTopic<'a> {
    pub(in crate::kafka) name: &'a str,
    pub(in crate::kafka) partitions: i32,
    pub(in crate::kafka) replication: i32,
    pub(in crate::kafka) config: &'a BTreeMap<String, String>,
}

impl WireClient {
    /// Describes topics, in the order asked; `None` for one that does not exist.
    pub(in crate::kafka) fn describe_topics(
        &mut self,
        topics: &[TopicName],
    ) -> Result<Vec<Option<TopicInfo>>, WireError> {
        if topics.is_empty() {
            return Ok(vec![]);
        }
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        let metadata = self.metadata(&names)?;
        let mut found = BTreeMap::new();
        for topic in &metadata.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.as_str()) else { continue };
            if topic.error_code == UNKNOWN_TOPIC {
                continue;
            }
            WireError::check(topic.error_code, || format!("topic {name}"))?;
            let replication = topic.partitions.first().map_or(0, |p| p.replica_nodes.len());
            let info = TopicInfo {
                name: name.into(),
                id: topic.topic_id.simple().to_string(),
                partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                replication: i32::try_from(replication).unwrap_or(i32::MAX),
                config: BTreeMap::new(),
            };
            found.insert(name.to_owned(), info);
        }
        self.add_configs(&mut found)?;
        Ok(topics.iter().map(|topic| found.get(&**topic).cloned()).collect())
    }

    /// Creates topics and waits until their partitions have leaders; an existing one is no error.
    pub(in crate::kafka) fn create_topics(
        &mut self,
        topics: &[CreateTopic<'_>],
    ) -> Result<(), WireError> {
        if topics.is_empty() {
            return Ok(());
        }
        let wanted = topics
            .iter()
            .map(|topic| {
                let configs = topic.config.iter().map(|(key, value)| {
                    CreatableTopicConfig::default()
                        .with_name(text(key))
                        .with_value(Some(text(value)))
                });
                CreatableTopic::default()
                    .with_name(topic_name(topic.name))
                    .with_num_partitions(topic.partitions)
                    .with_replication_factor(i16::try_from(topic.replication).unwrap_or(-1))
                    .with_configs(configs.collect())
            })
            .collect();
        let request = CreateTopicsRequest::default().with_topics(wanted).with_timeout_ms(10_000);
        let controller = self.metadata(&[])?.controller_id.0;
        let mut response = self.call_broker(controller, &request, CREATE_TOPICS)?;
        if response.topics.iter().any(|topic| topic.error_code == NOT_CONTROLLER) {
            let controller = self.metadata(&[])?.controller_id.0;
            response = self.call_broker(controller, &request, CREATE_TOPICS)?;
        }
        for topic in &response.topics {
            if topic.error_code == TOPIC_ALREADY_EXISTS {
                continue;
            }
            let words = topic.error_message.as_ref().map_or("", |m| m.as_str());
            WireError::check(topic.error_code, || {
                format!("topic {} ({words})", topic.name.as_str())
            })?;
        }
        let names: Vec<&str> = topics.iter().map(|topic| topic.name).collect();
        self.wait_for_leaders(&names)
    }

    /// Deletes topics; one that does not exist is no error.
    pub(in crate::kafka) fn delete_topics(
        &mut self,
        topics: &[TopicName],
    ) -> Result<(), WireError> {
        if topics.is_empty() {
            return Ok(());
        }
        let request = DeleteTopicsRequest::default()
            .with_topic_names(topics.iter().map(|topic| topic_name(topic)).collect())
            .with_timeout_ms(10_000);
        let controller = self.metadata(&[])?.controller_id.0;
        let response = self.call_broker(controller, &request, DELETE_TOPICS)?;
        for topic in response.responses.iter().filter(|t| t.error_code != UNKNOWN_TOPIC) {
            WireError::check(topic.error_code, || {
                format!("topic {}", topic.name.as_ref().map_or("?", |name| name.as_str()))
            })?;
        }
        Ok(())
    }

    /// How many brokers the cluster has.
    pub(in crate::kafka) fn broker_count(&mut self) -> Result<usize, WireError> {
        self.metadata(&[]).map(|metadata| metadata.brokers.len())
    }

    fn wait_for_leaders(&mut self, names: &[&str]) -> Result<(), WireError> {
        for _ in 0..SETTLE_ATTEMPTS {
            let metadata = self.metadata(names)?;
            let settled = metadata.topics.len() == names.len()
                && metadata.topics.iter().all(|topic| {
                    topic.error_code == 0
                        && topic.partitions.iter().all(|partition| partition.leader_id.0 >= 0)
                });
            if settled {
                return Ok(());
            }
            pause();
        }
        WireError::check(5, || format!("topics {}", names.join(", ")))
    }

    fn add_configs(&mut self, found: &mut BTreeMap<String, TopicInfo>) -> Result<(), WireError> {
        if found.is_empty() {
            return Ok(());
        }
        let resources = found
            .keys()
            .map(|name| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC_RESOURCE)
                    .with_resource_name(text(name))
                    .with_configuration_keys(None)
            })
            .collect();
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let response = self.call_any(&request, DESCRIBE_CONFIGS)?;
        for result in &response.results {
            let name = result.resource_name.as_str();
            if result.error_code == UNKNOWN_TOPIC {
                // Deleted in between.
                found.remove(name);
                continue;
            }
            WireError::check(result.error_code, || format!("configuration of topic {name}"))?;
            let Some(info) = found.get_mut(name) else { continue };
            for entry in &result.configs {
                if let Some(value) = &entry.value {
                    info.config.insert(entry.name.to_string(), value.to_string());
                }
            }
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods)] // Nothing signals that a topic has its leaders.
fn pause() {
    std::thread::sleep(SETTLE_PAUSE);
}
