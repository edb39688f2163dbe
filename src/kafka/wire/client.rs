//! A client of a cluster: finds brokers, leaders and coordinators, and keeps connections.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::{
    messages::{
        BrokerId, FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
        metadata_request::MetadataRequestTopic,
    },
    protocol::{Request, StrBytes},
};

use super::connection::{Connection, WireError};
use crate::{kafka::settings::ConnectionSettings, record::TopicPartition};

/// A client. Every call blocks, at most about two time-outs long.
pub(in crate::kafka) struct WireClient {
    bootstrap: Vec<String>,
    client_id: String,
    timeout: Duration,
    obstacle: Option<String>,
    addresses: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
    seed: Option<Connection>,
    coordinators: BTreeMap<(CoordinatorKind, String), i32>,
}

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CoordinatorKind {
    Group,
    Transaction,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Metadata with topic ids.
const METADATA: i16 = 10;
const FIND_COORDINATOR: i16 = 3;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const REPLICA_NOT_AVAILABLE: i16 = 9;

impl WireClient {
    /// A client; connects when it is asked something.
    pub(in crate::kafka) fn new(connection: &ConnectionSettings) -> Self {
        let settings = &connection.settings;
        Self {
            bootstrap: settings
                .bootstrap_servers
                .split(',')
                .map(|server| server.rsplit("://").next().unwrap_or(server).trim().to_owned())
                .filter(|server| !server.is_empty())
                .collect(),
            client_id: format!(
                "{}.{}.{}.wire",
                connection.application, connection.instance, connection.thread
            ),
            timeout: settings.socket_timeout.min(TIMEOUT_MAX),
            obstacle: settings.wire_obstacle(),
            addresses: BTreeMap::new(),
            connections: BTreeMap::new(),
            seed: None,
            coordinators: BTreeMap::new(),
        }
    }

    /// Describes topics, or with `None` the cluster alone.
    pub(super) fn metadata(&mut self, topics: &[&str]) -> Result<MetadataResponse, WireError> {
        let topics = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))))
            .collect();
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false);
        let response = self.call_any(&request, METADATA)?;
        self.addresses = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host, broker.port)))
            .collect();
        Ok(response)
    }

    /// The brokers of the last metadata.
    pub(super) fn brokers(&self) -> Vec<i32> {
        self.addresses.keys().copied().collect()
    }

    /// The leader of a partition, by fresh metadata.
    pub(super) fn leader(&mut self, partition: &TopicPartition) -> Result<i32, WireError> {
        let what = || format!("leader of {partition}");
        let metadata = self.metadata(&[&*partition.topic])?;
        let topic = metadata.topics.first();
        WireError::check(topic.map_or(UNKNOWN_TOPIC_OR_PARTITION, |t| t.error_code), what)?;
        let found = topic.and_then(|topic| {
            topic.partitions.iter().find(|p| p.partition_index == partition.partition)
        });
        let code = match found.map_or(UNKNOWN_TOPIC_OR_PARTITION, |p| p.error_code) {
            // That does not concern the leader.
            REPLICA_NOT_AVAILABLE => 0,
            code => code,
        };
        WireError::check(code, what)?;
        let leader = found.map_or(-1, |p| p.leader_id.0);
        WireError::check(if leader < 0 { LEADER_NOT_AVAILABLE } else { 0 }, what)?;
        Ok(leader)
    }

    /// Asks any broker.
    pub(super) fn call_any<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, WireError> {
        self.plain_text()?;
        if let Some(mut seed) = self.seed.take()
            && let Ok(response) = seed.call(request, version)
        {
            self.seed = Some(seed);
            return Ok(response);
        }
        let mut last = WireError::Unsupported("no bootstrap server".to_owned());
        let known = self.addresses.values().cloned();
        for address in self.bootstrap.iter().cloned().chain(known) {
            let answer = Connection::open(&address, &self.client_id, CONNECT_TIMEOUT, self.timeout)
                .and_then(|mut connection| {
                    let response = connection.call(request, version)?;
                    Ok((connection, response))
                });
            match answer {
                Ok((connection, response)) => {
                    self.seed = Some(connection);
                    return Ok(response);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks one broker of the last metadata.
    pub(super) fn call_broker<R: Request>(
        &mut self,
        broker: i32,
        request: &R,
        version: i16,
    ) -> Result<R::Response, WireError> {
        self.plain_text()?;
        // A connection may have gone idle and been closed by the broker: then once more.
        if let Some(mut connection) = self.connections.remove(&broker)
            && let Ok(response) = connection.call(request, version)
        {
            self.connections.insert(broker, connection);
            return Ok(response);
        }
        let address = match self.addresses.get(&broker) {
            Some(address) => address.clone(),
            None => {
                self.metadata(&[])?;
                self.addresses.get(&broker).cloned().ok_or_else(|| WireError::Io {
                    address: format!("broker {broker}"),
                    reason: "not in the cluster's metadata".to_owned(),
                })?
            }
        };
        let mut connection =
            Connection::open(&address, &self.client_id, CONNECT_TIMEOUT, self.timeout)?;
        let response = connection.call(request, version)?;
        self.connections.insert(broker, connection);
        Ok(response)
    }

    /// Sends a request on a connection of its own and waits a moment for the broker to take it,
    /// not for its answer.
    pub(super) fn send_to_broker<R: Request>(
        &mut self,
        broker: i32,
        request: &R,
        version: i16,
    ) -> Result<(), WireError> {
        const MOMENT: Duration = Duration::from_millis(200);
        self.plain_text()?;
        let address = self.addresses.get(&broker).cloned().unwrap_or_default();
        let mut connection = Connection::open(&address, &self.client_id, CONNECT_TIMEOUT, MOMENT)?;
        match connection.call(request, version) {
            // No answer within the moment is what is expected.
            Ok(_) | Err(WireError::Io { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The coordinator of a group or a transactional id.
    pub(super) fn coordinator(
        &mut self,
        kind: CoordinatorKind,
        key: &str,
    ) -> Result<i32, WireError> {
        let entry = (kind, key.to_owned());
        if let Some(broker) = self.coordinators.get(&entry) {
            return Ok(*broker);
        }
        let request = FindCoordinatorRequest::default()
            .with_key(text(key))
            .with_key_type(i8::from(kind == CoordinatorKind::Transaction));
        let response = self.call_any(&request, FIND_COORDINATOR)?;
        WireError::check(response.error_code, || format!("coordinator of {key}"))?;
        let BrokerId(broker) = response.node_id;
        self.addresses.insert(broker, format!("{}:{}", response.host, response.port));
        self.coordinators.insert(entry, broker);
        Ok(broker)
    }

    /// Asks a coordinator; forgets it when it says that it is none.
    pub(super) fn call_coordinator<R: Request>(
        &mut self,
        kind: CoordinatorKind,
        key: &str,
        request: &R,
        version: i16,
    ) -> Result<R::Response, WireError> {
        let broker = self.coordinator(kind, key)?;
        let response = self.call_broker(broker, request, version);
        if response.is_err() {
            self.forget_coordinator(kind, key);
        }
        response
    }

    /// The next call finds the coordinator anew.
    pub(super) fn forget_coordinator(&mut self, kind: CoordinatorKind, key: &str) {
        self.coordinators.remove(&(kind, key.to_owned()));
    }

    fn plain_text(&self) -> Result<(), WireError> {
        self.obstacle.clone().map_or(Ok(()), |reason| Err(WireError::Unsupported(reason)))
    }
}

/// Codes after which a coordinator has to be found again.
pub(super) fn is_coordinator_gone(code: i16) -> bool {
    matches!(code, 14..=16)
}

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(super) fn topic_name(value: &str) -> TopicName {
    TopicName(text(value))
}
