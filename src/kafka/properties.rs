//! The librdkafka properties of each kind of client. Facts 2.3 and 9.1 give the figures.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;

use super::{
    native,
    settings::{ConnectionSettings, Settings},
};
use crate::runtime::Lane;

type Properties = BTreeMap<String, String>;

/// The stream thread's consumer: a static member of the group, read_committed.
pub(super) fn consumer(connection: &ConnectionSettings) -> Result<native::Config, native::Error> {
    let settings = &connection.settings;
    let mut properties = fetching(connection, "consumer")?;
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
    let isolation =
        if connection.restore_read_uncommitted { "read_uncommitted" } else { "read_committed" };
    let mut properties = fetching(connection, "restore")?;
    extend(
        &mut properties,
        &[
            // librdkafka asks for a name; nobody joins it and nothing is committed under it.
            ("group.id", format!("{}.restore", connection.application)),
            ("isolation.level", isolation.to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            ("queued.max.messages.kbytes", "131072".to_owned()),
            ("fetch.message.max.bytes", "4194304".to_owned()),
        ],
    );
    config(properties)
}

/// The producer of a lane.
pub(super) fn producer(
    connection: &ConnectionSettings,
    lane: Lane,
) -> Result<native::Config, native::Error> {
    let timeout = connection.transaction_timeout();
    let mut properties = shared(connection, &format!("producer.{lane}"));
    extend(
        &mut properties,
        &[
            ("linger.ms", "60".to_owned()),
            ("retry.backoff.ms", "10".to_owned()),
            ("batch.size", "1000000".to_owned()),
            ("batch.num.messages", "10000".to_owned()),
            // The broker's limit of the topic decides, checked when a record is emitted (ERR-1).
            ("message.max.bytes", "67108864".to_owned()),
            ("queue.buffering.max.messages", "0".to_owned()),
            ("queue.buffering.max.kbytes", "262144".to_owned()),
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
    let mut properties = fetching(connection, "questions")?;
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

fn fetching(connection: &ConnectionSettings, role: &str) -> Result<Properties, native::Error> {
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
