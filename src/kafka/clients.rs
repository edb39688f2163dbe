//! What all threads of a process ask a cluster through: two clients, however many threads there
//! are.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::error::KafkaError;

use super::{
    cluster::Cluster,
    failure::{self, AskError},
    group_questions::GroupQuestions,
    native, properties,
    settings::{ConnectError, ConnectionSettings},
};

/// The clients for questions of one application. Clones share them.
#[derive(Clone)]
pub struct ClusterClients(Arc<Clients>);

struct Clients {
    connection: ConnectionSettings,
    group: GroupQuestions,
    /// Made when the first question about topics is asked.
    cluster: Mutex<Option<Arc<Cluster>>>,
}

impl ClusterClients {
    /// Makes the client that a start needs; it connects while others start. Says once what the
    /// settings make impossible.
    pub fn new(connection: &ConnectionSettings) -> Result<Self, ConnectError> {
        let settings = &connection.settings;
        settings.check()?;
        // Before librdkafka's threads are there.
        native::keep_less(settings.memory.limit);
        let group = GroupQuestions::new(connection).map_err(configuration)?;
        if let Some(obstacle) = settings.wire_obstacle() {
            let timeout = connection.transaction_timeout();
            tracing::warn!(
                "{obstacle}; a takeover waits until the broker aborts the dead owner's \
                 transaction, for {timeout:?} (kafka.transaction-timeout)"
            );
        }
        let connection = connection.clone();
        Ok(Self(Arc::new(Clients { connection, group, cluster: Mutex::default() })))
    }

    pub(super) fn group(&self) -> &GroupQuestions {
        &self.0.group
    }

    pub(super) fn cluster(&self) -> Result<Arc<Cluster>, AskError> {
        let mut cluster = self.0.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = &*cluster {
            return Ok(cluster.clone());
        }
        let made = self::cluster(&self.0.connection);
        let made = Arc::new(made.map_err(|error| AskError::NoAnswer(error.to_string()))?);
        *cluster = Some(made.clone());
        Ok(made)
    }
}

/// A client for topics and groups.
pub(super) fn cluster(connection: &ConnectionSettings) -> Result<Cluster, ConnectError> {
    let config = properties::admin(connection).map_err(configuration)?;
    Cluster::new(&config, connection.settings.question_timeout()).map_err(|error| match error {
        // Its own words would show the value, which may be a secret.
        KafkaError::ClientConfig(_, reason, ..) | KafkaError::ClientCreation(reason) => {
            ConnectError::Configuration(reason)
        }
        other => ConnectError::Client(other.to_string()),
    })
}

/// What it means that a client could not be made.
pub(super) fn configuration(error: native::Error) -> ConnectError {
    if failure::is_configuration(&error) {
        ConnectError::Configuration(error.reason)
    } else {
        ConnectError::Client(error.to_string())
    }
}
