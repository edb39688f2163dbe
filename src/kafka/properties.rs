//! The librdkafka properties of each kind of client. Facts 2.3 and 9.1 give the figures.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;

use super::{
    native,
    settings::{ConnectionSettings, Settings},
};
use crate::runtime::{Lane, memory::QueueLimit};

/// The largest record that is tried; the broker's limit of the topic decides.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

/// A broker's answer holds at least a record of the usual largest size.
const ANSWER_BYTES_MIN: u64 = 1 << 20;
const ANSWER_BYTES_MAX: u64 = 48 << 20;

/// A broker holds an answer back until it has this much for a stream thread, or for so long.
/// Answers of a few records each cost broker and client several times as much per record; what
/// waits is late by a part of an epoch at most (ADR 0016).
const FETCH_BYTES_MIN: u64 = 256 << 10;
const FETCH_WAIT: Duration = Duration::from_millis(20);

/// The largest answer to a stream thread: its records are still in the processor's cache when they
/// are taken, and what they cost beside their bytes stays small.
const FETCH_BYTES_MAX: u64 = 4 << 20;

/// librdkafka's own limit of `queued.min.messages`.
const QUEUED_RECORDS_MAX: u64 = 10_000_000;

type Properties = BTreeMap<String, String>;

/// The stream thread's consumer: a static member of the group, read_committed.
pub(super) fn consumer(connection: &ConnectionSettings) -> Result<native::Config, native::Error> {
    let settings = &connection.settings;
    let waiting = [
        ("fetch.min.bytes", FETCH_BYTES_MIN.to_string()),
        ("fetch.wait.max.ms", millis(FETCH_WAIT)),
    ];
    let mut properties = fetching(connection, "consumer", &waiting)?;
    extend(
        &mut properties,
        &[
            ("group.id", connection.application.clone()),
            ("group.instance.id", connection.group_instance_id()),
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("session.timeout.ms", millis(settings.session_timeout)),
            ("heartbeat.interval.ms", millis(settings.heartbeat_interval)),
            ("max.poll.interval.ms", millis(settings.max_poll_interval)),
            ("isolation.level", "read_committed".to_owned()),
            ("enable.partition.eof", "false".to_owned()),
        ],
    );
    config(properties)
}

/// The restore thread's consumer: assigned partitions only, in no group.
pub(super) fn restore(connection: &ConnectionSettings) -> Result<native::Config, native::Error> {
    let isolation = if connection.mutant.changelog_read_uncommitted() {
        "read_uncommitted"
    } else {
        "read_committed"
    };
    let mut properties = fetching(connection, "restore", &[])?;
    extend(
        &mut properties,
        &[
            // librdkafka asks for a name; nobody joins it and nothing is committed under it.
            ("group.id", format!("{}.restore", connection.application)),
            ("isolation.level", isolation.to_owned()),
            ("enable.partition.eof", "true".to_owned()),
        ],
    );
    // For bulk: few large answers, and as much waiting as the thread may hold (MEM-1).
    let queue = connection.settings.memory.restore;
    extend(&mut properties, &fetch_bounds(queue, queue.bytes));
    config(properties)
}

/// The producer of a lane.
pub(super) fn producer(
    connection: &ConnectionSettings,
    lane: Lane,
) -> Result<native::Config, native::Error> {
    let timeout = connection.transaction_timeout();
    let queue = connection.settings.memory.produce;
    let mut properties = shared(connection, &format!("producer.{lane}"));
    extend(
        &mut properties,
        &[
            ("linger.ms", "60".to_owned()),
            ("retry.backoff.ms", "10".to_owned()),
            ("batch.size", "1000000".to_owned()),
            ("batch.num.messages", "10000".to_owned()),
            // The broker's limit of the topic decides, checked when a record is emitted (ERR-1).
            // A record that could never enter the queue is refused at once.
            ("message.max.bytes", queue.bytes.min(MESSAGE_BYTES_MAX).to_string()),
            ("queue.buffering.max.messages", queue.records.to_string()),
            ("queue.buffering.max.kbytes", kilobytes(queue.bytes)),
            ("compression.type", "lz4".to_owned()),
        ],
    );
    properties.extend(revealed(&connection.settings)?);
    extend(
        &mut properties,
        &[
            ("transactional.id", connection.transactional_id(lane)),
            ("transaction.timeout.ms", millis(timeout)),
            // librdkafka demands that a message gives up before its transaction does.
            ("message.timeout.ms", millis(timeout.saturating_sub(Duration::from_millis(500)))),
        ],
    );
    config(properties)
}

/// The client that asks on behalf of the group: a consumer that never subscribes.
pub(super) fn questions(connection: &ConnectionSettings) -> Result<native::Config, native::Error> {
    let mut properties = fetching(connection, "questions", &[])?;
    extend(&mut properties, &[("group.id", connection.application.clone())]);
    config(properties)
}

/// The client for topics and groups, of the safe crate.
pub(super) fn admin(connection: &ConnectionSettings) -> Result<ClientConfig, native::Error> {
    let mut properties = shared(connection, "admin");
    properties.extend(revealed(&connection.settings)?);
    // Errors and logs, of which the safe crate's admin client takes none by itself.
    extend(&mut properties, &[("enabled_events", "12".to_owned())]);
    let mut config = ClientConfig::new();
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Info);
    for (name, value) in properties {
        config.set(name, value);
    }
    Ok(config)
}

/// What all consumers have; `defaults` of a role's own can be overridden by the settings, too.
fn fetching(
    connection: &ConnectionSettings,
    role: &str,
    defaults: &[(&str, String)],
) -> Result<Properties, native::Error> {
    let mut properties = shared(connection, role);
    extend(
        &mut properties,
        &[
            // The default of one second stalls a partition whenever a queue limit is met.
            ("fetch.queue.backoff.ms", "5".to_owned()),
            ("fetch.wait.max.ms", "100".to_owned()),
            ("check.crcs", "true".to_owned()),
        ],
    );
    let queue = connection.settings.memory.fetch;
    extend(&mut properties, &fetch_bounds(queue, queue.bytes.min(FETCH_BYTES_MAX)));
    extend(&mut properties, defaults);
    properties.extend(revealed(&connection.settings)?);
    extend(
        &mut properties,
        &[
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            // A position out of range is an error, never a guess.
            ("auto.offset.reset", "error".to_owned()),
        ],
    );
    Ok(properties)
}

fn revealed(settings: &Settings) -> Result<Properties, native::Error> {
    settings.reveal_properties().map_err(|error| native::Error::new(-186, error.to_string()))
}

/// What a consumer may hold: in its queue, and in each answer of a broker.
fn fetch_bounds(queue: QueueLimit, answer: u64) -> [(&'static str, String); 4] {
    let answer = answer.clamp(ANSWER_BYTES_MIN, ANSWER_BYTES_MAX);
    [
        ("queued.max.messages.kbytes", kilobytes(queue.bytes)),
        ("queued.min.messages", queue.records.min(QUEUED_RECORDS_MAX).to_string()),
        ("fetch.max.bytes", answer.to_string()),
        ("fetch.message.max.bytes", (answer / 2).max(ANSWER_BYTES_MIN).to_string()),
    ]
}

fn kilobytes(bytes: u64) -> String {
    (bytes / 1024).max(1).to_string()
}

fn shared(connection: &ConnectionSettings, role: &str) -> Properties {
    let settings = &connection.settings;
    let client =
        format!("{}.{}.{}.{role}", connection.application, connection.instance, connection.thread);
    let mut properties = Properties::new();
    extend(
        &mut properties,
        &[
            ("bootstrap.servers", settings.bootstrap_servers.clone()),
            ("client.id", client),
            ("socket.timeout.ms", millis(settings.socket_timeout)),
            ("socket.nagle.disable", "true".to_owned()),
            ("reconnect.backoff.ms", "50".to_owned()),
            ("reconnect.backoff.max.ms", "1000".to_owned()),
            ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
        ],
    );
    properties
}

fn extend(properties: &mut Properties, entries: &[(&str, String)]) {
    properties.extend(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
}

fn config(properties: Properties) -> Result<native::Config, native::Error> {
    native::Config::with(properties.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
