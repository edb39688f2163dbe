//! How to reach Kafka. Properties that exactly-once rests on are refused by name.
//!
//! Plain data, also without the feature `kafka`, so that `validate` and `describe` read the same
//! file as `run`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::property::PropertyValue;
use crate::runtime::{memory::ClientMemory, mutants::Mutant};

/// The connection's settings, as files and flags give them: `[kafka]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// `host:port` of some brokers, separated by commas.
    pub bootstrap_servers: String,
    /// A member that is silent for this long loses its partitions.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How often a member shows that it is alive; at most a third of the session's time-out.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// A thread that does not come back from its work for this long loses its partitions.
    #[serde(with = "humantime_serde")]
    pub max_poll_interval: Duration,
    /// The broker aborts a transaction that is open for this long. Default: the larger of ten
    /// seconds and three epoch intervals.
    #[serde(with = "humantime_serde")]
    pub transaction_timeout: Option<Duration>,
    /// How long a transaction call may take before its producer is given up.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// How long a request may stay without an answer.
    #[serde(with = "humantime_serde")]
    pub socket_timeout: Duration,
    /// Replicas of internal topics; without it the number of brokers decides.
    pub replication_factor: Option<i32>,
    /// Further librdkafka properties, by librdkafka's names.
    pub properties: BTreeMap<String, PropertyValue>,
    /// What the client's queues may hold.
    #[serde(skip)]
    pub memory: ClientMemory,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            session_timeout: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(1),
            max_poll_interval: Duration::from_secs(300),
            transaction_timeout: None,
            call_timeout: Duration::from_secs(30),
            socket_timeout: Duration::from_secs(10),
            replication_factor: None,
            properties: BTreeMap::new(),
            memory: ClientMemory::default(),
        }
    }
}

/// A setting that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A property that the guarantees rest on.
    #[error("kafka.properties: {name} cannot be set: {reason}")]
    Reserved {
        /// The property.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// Two settings contradict each other.
    #[error("kafka.{name}: {reason}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A secret's file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kafka.properties.{name}: cannot read the secret from {}: {reason}", path.display())]
pub struct SecretError {
    /// The property.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The system's words.
    pub reason: String,
}

/// A connection that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The client refuses its configuration: a property that does not exist, a file that is not
    /// there, a mechanism that this build does not have.
    #[error("setting kafka.properties: {0}")]
    Configuration(String),
    /// The system has no resources for it.
    #[error("kafka client: {0}")]
    Client(String),
}

/// Properties that may not be passed through, and why.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use the setting bootstrap-servers"),
    ("metadata.broker.list", "use the setting bootstrap-servers"),
    ("enable.idempotence", "without it a retry duplicates records"),
    ("acks", "exactly-once needs acks=all"),
    ("request.required.acks", "exactly-once needs acks=all"),
    ("enable.gapless.guarantee", "transactions imply it"),
    ("max.in.flight", "more than five break the producer's sequence"),
    ("max.in.flight.requests.per.connection", "more than five break the producer's sequence"),
    ("retries", "idempotence needs unlimited retries within the message time-out"),
    ("message.send.max.retries", "idempotence needs unlimited retries"),
    ("transactional.id", "it is derived from application, instance and thread"),
    ("transaction.timeout.ms", "use the setting transaction-timeout"),
    ("message.timeout.ms", "it is derived from transaction-timeout"),
    ("delivery.timeout.ms", "it is derived from transaction-timeout"),
    ("isolation.level", "uncommitted records must not be read"),
    ("enable.auto.commit", "offsets are committed in the transaction only"),
    ("auto.commit.enable", "offsets are committed in the transaction only"),
    ("enable.auto.offset.store", "offsets are committed in the transaction only"),
    ("auto.offset.reset", "a lost position stops the task, it is never guessed"),
    ("group.id", "it is the application's name"),
    ("group.instance.id", "it is derived from instance and thread"),
    ("group.protocol", "only the classic protocol is supported"),
    ("group.remote.assignor", "only the classic protocol is supported"),
    ("partition.assignment.strategy", "ownership needs cooperative-sticky"),
    ("enable.partition.eof", "it is set where it is needed"),
    ("session.timeout.ms", "use the setting session-timeout"),
    ("heartbeat.interval.ms", "use the setting heartbeat-interval"),
    ("max.poll.interval.ms", "use the setting max-poll-interval"),
    ("socket.timeout.ms", "use the setting socket-timeout"),
    ("partitioner", "partitions are chosen by the topology"),
    ("allow.auto.create.topics", "topics are created explicitly"),
];

impl Settings {
    /// The first of [`Settings::problems`].
    pub fn check(&self) -> Result<(), SettingsError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// What librdkafka does not check, and reserved properties.
    pub fn problems(&self) -> Vec<SettingsError> {
        let mut problems: Vec<SettingsError> = RESERVED
            .iter()
            .filter(|(name, _)| self.properties.contains_key(*name))
            .map(|(name, reason)| SettingsError::Reserved { name: (*name).to_owned(), reason })
            .collect();
        let mut invalid =
            |name, reason: String| problems.push(SettingsError::Invalid { name, reason });
        let servers: Vec<&str> = self.bootstrap_servers.split(',').map(str::trim).collect();
        if let Some(bad) = servers.iter().find(|server| !is_address(server)) {
            let reason =
                format!("{bad:?} is no address; expected \"host:port\", separated by commas");
            invalid("bootstrap-servers", reason);
        }
        let session = self.session_timeout;
        if self.heartbeat_interval.saturating_mul(3) > session {
            let reason = format!(
                "{:?} is too rare for kafka.session-timeout {session:?}: at most a third of it",
                self.heartbeat_interval
            );
            invalid("heartbeat-interval", reason);
        }
        if self.max_poll_interval < session {
            let reason = format!(
                "{:?} is shorter than kafka.session-timeout {session:?}",
                self.max_poll_interval
            );
            invalid("max-poll-interval", reason);
        }
        if self.socket_timeout < Duration::from_millis(100) {
            invalid("socket-timeout", format!("{:?} is below 100ms", self.socket_timeout));
        }
        let factors = 1..=i32::from(i16::MAX);
        if self.replication_factor.is_some_and(|factor| !factors.contains(&factor)) {
            invalid("replication-factor", "it must be at least 1".to_owned());
        }
        problems
    }

    /// The transaction time-out: as set, else three epochs and at least ten seconds, since one
    /// dead owner's open transaction holds back every reader for that long (DESIGN section 5).
    pub fn transaction_timeout(&self, epoch_interval: Duration) -> Duration {
        let derived = Duration::from_secs(10).max(epoch_interval.saturating_mul(3));
        self.transaction_timeout.unwrap_or(derived)
    }

    /// The further properties with their secrets, for the client alone.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn reveal_properties(&self) -> Result<BTreeMap<String, String>, SecretError> {
        let reveal = |(name, value): (&String, &PropertyValue)| match value.reveal() {
            Ok(text) => Ok((name.clone(), text)),
            Err(error) => Err(SecretError {
                name: name.clone(),
                path: match value {
                    PropertyValue::File(path) => path.clone(),
                    PropertyValue::Inline(_) => PathBuf::new(),
                },
                reason: error.to_string(),
            }),
        };
        self.properties.iter().map(reveal).collect()
    }

    /// How long a question to the cluster may take.
    #[cfg(feature = "kafka")]
    pub(super) fn question_timeout(&self) -> Duration {
        self.socket_timeout.min(Duration::from_secs(5))
    }

    /// Why the wire client cannot be used with these settings: it speaks plain text only.
    #[cfg(feature = "kafka")]
    pub(super) fn wire_obstacle(&self) -> Option<String> {
        let protocol = self.properties.get("security.protocol")?.reveal().unwrap_or_default();
        (!protocol.eq_ignore_ascii_case("plaintext")).then(|| {
            format!(
                "with security.protocol={protocol} a dead owner's transaction cannot be found and \
                 fenced, nor the group made to rebalance: that is spoken in plain text only"
            )
        })
    }
}

/// `host:port`, `[v6]:port`; a protocol prefix is librdkafka's `PLAINTEXT://host:port`.
fn is_address(server: &str) -> bool {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    server.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(' ') && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}

/// What one stream thread's connections are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// How to reach Kafka.
    pub settings: Settings,
    /// The application: group id and prefix of the transactional ids.
    pub application: String,
    /// The instance's name.
    pub instance: String,
    /// The stream thread's number.
    pub thread: usize,
    /// How long an epoch lasts: the transaction time-out follows it where it is not set.
    pub epoch_interval: Duration,
    /// A guarantee that these connections break on purpose, for negative controls.
    pub mutant: Mutant,
}

impl ConnectionSettings {
    /// `<instance>.<thread>`.
    pub fn group_instance_id(&self) -> String {
        format!("{}.{}", self.instance, self.thread)
    }

    /// `<application>.<instance>.<thread>.<a|b>`.
    pub fn transactional_id(&self, lane: crate::runtime::Lane) -> String {
        if self.mutant.is(Mutant::RandomTransactionalIds) {
            let process = std::process::id();
            let (application, instance) = (&self.application, &self.instance);
            return format!("{application}.{instance}-{process:x}.{}.{lane}", self.thread);
        }
        format!("{}.{}.{}.{lane}", self.application, self.instance, self.thread)
    }

    /// Whether a producer that was disturbed is replaced before it begins again (facts 9.7).
    pub fn renews(&self, disturbed: bool) -> bool {
        disturbed && !self.mutant.is(Mutant::KeepsDisturbedProducer)
    }

    /// How long adding offsets to a transaction may take before its producer is given up: half of
    /// the transaction's time, and no longer than any other call.
    ///
    /// librdkafka does not keep the time that `rd_kafka_send_offsets_to_transaction` is given:
    /// while it looks for the group's coordinator it waits for a broker's connection to come up or
    /// go down, however long that takes (`rd_kafka_coord_req_fsm`; `creq_ts_timeout` is never
    /// read). After the coordinator's broker was killed it finds that same broker again until the
    /// controller has noticed, about nine seconds, and then waits for its return. A fresh producer
    /// asks anew. Giving up early is safe: no commit has been sent, so the next producer's
    /// `init_transactions` aborts for sure, and offsets that arrive after it carry a fenced epoch.
    /// Giving up late is useless: the broker aborts the transaction at its time-out anyway.
    pub fn offsets_timeout(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(3);
        self.settings.call_timeout.min((self.transaction_timeout() / 2).max(SHORTEST))
    }

    /// The setting, or the larger of ten seconds and three epoch intervals.
    pub fn transaction_timeout(&self) -> Duration {
        self.settings.transaction_timeout(self.epoch_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str) -> Settings {
        let properties = BTreeMap::from([(name.to_owned(), "x".into())]);
        Settings { properties, ..Settings::default() }
    }

    #[test]
    fn defaults_are_taken() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(with("client.rack").check(), Ok(()));
    }

    #[test]
    fn what_exactly_once_rests_on_is_refused_by_name() {
        for name in [
            "enable.idempotence",
            "acks",
            "isolation.level",
            "transactional.id",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "group.id",
            "group.instance.id",
            "partition.assignment.strategy",
            "auto.offset.reset",
            "group.protocol",
            "enable.gapless.guarantee",
            "max.in.flight",
        ] {
            let message = with(name).check().unwrap_err().to_string();
            assert!(message.contains(&format!("{name} cannot be set")), "{message}");
        }
    }

    #[test]
    fn unknown_settings_are_errors() {
        let error = serde_json::from_str::<Settings>(r#"{"bootstrap-server": "a:1"}"#);
        assert!(error.unwrap_err().to_string().contains("bootstrap-server"));
        let settings: Settings =
            serde_json::from_str(r#"{"session-timeout": "6s", "transaction-timeout": "20s"}"#)
                .unwrap();
        assert_eq!(settings.session_timeout, Duration::from_secs(6));
        assert_eq!(settings.transaction_timeout, Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_heartbeat_slower_than_a_third_of_the_session_is_refused() {
        let settings =
            Settings { heartbeat_interval: Duration::from_secs(6), ..Settings::default() };
        assert!(settings.check().unwrap_err().to_string().contains("heartbeat-interval"));
    }

    #[test]
    fn the_transaction_timeout_follows_the_epoch() {
        let mut connection = ConnectionSettings {
            settings: Settings::default(),
            application: "app".into(),
            instance: "i".into(),
            thread: 1,
            epoch_interval: Duration::from_secs(5),
            mutant: Mutant::None,
        };
        assert_eq!(connection.transaction_timeout(), Duration::from_secs(15));
        connection.epoch_interval = Duration::from_millis(100);
        assert_eq!(connection.transaction_timeout(), Duration::from_secs(10));
        assert_eq!(connection.offsets_timeout(), Duration::from_secs(5));
        connection.settings.transaction_timeout = Some(Duration::from_secs(1));
        assert_eq!(connection.offsets_timeout(), Duration::from_secs(3));
        connection.settings.call_timeout = Duration::from_secs(2);
        assert_eq!(connection.offsets_timeout(), Duration::from_secs(2));
        assert_eq!(connection.transactional_id(crate::runtime::Lane::B), "app.i.1.b");
        assert_eq!(connection.group_instance_id(), "i.1");
        connection.mutant = Mutant::RandomTransactionalIds;
        let derivable = connection.transactional_id(crate::runtime::Lane::B) == "app.i.1.b";
        assert_eq!(derivable, !cfg!(feature = "mutants"));
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn the_wire_client_says_that_it_speaks_plain_text_only() {
        assert_eq!(Settings::default().wire_obstacle(), None);
        let properties = BTreeMap::from([("security.protocol".to_owned(), "SSL".into())]);
        let settings = Settings { properties, ..Settings::default() };
        assert!(settings.wire_obstacle().unwrap().contains("security.protocol=SSL"));
    }
}
