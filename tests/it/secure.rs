//! A listener with TLS and SASL: everything that runs on librdkafka, and clear words where the
//! credentials are wrong. `./dev kafka up --secure` has one; `TIDEMILL_TEST_SECURE` names the
//! directory with its ports and its certificate. Without that these tests say so and pass.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use tidemill::{
    kafka::{ConnectionSettings, KafkaTopicAdmin, PropertyValue, Settings},
    record::{Offset, TopicName, TopicPartition},
    runtime::{Event, Lane, Log, OffsetsUnavailable, Request, TopicAdmin, TopicsError},
};

use crate::support::{Client, at, connection, settings, topic, unique};

/// Settings for the secure listener; `None` where there is none.
fn secure(password: &str) -> Option<Settings> {
    let Some(directory) = std::env::var_os("TIDEMILL_TEST_SECURE").map(PathBuf::from) else {
        eprintln!("skipped: TIDEMILL_TEST_SECURE is not set");
        return None;
    };
    let ports = fs::read_to_string(directory.join("ports")).unwrap();
    let servers: Vec<String> = ports.lines().map(|port| format!("127.0.0.1:{port}")).collect();
    let properties = [
        ("security.protocol", "SASL_SSL".into()),
        ("sasl.mechanisms", "PLAIN".into()),
        ("sasl.username", "tidemill".into()),
        ("sasl.password", password.into()),
        ("ssl.ca.location", directory.join("ca.pem").to_str().unwrap().into()),
    ];
    let properties: BTreeMap<String, PropertyValue> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Some(Settings { bootstrap_servers: servers.join(","), properties, ..settings() })
}

fn client(application: &str, instance: &str, settings: &Settings) -> Client {
    let connection = connection(application, instance);
    Client::with(&ConnectionSettings { settings: settings.clone(), ..connection })
}

fn committed(
    client: &mut Client,
    partition: &TopicPartition,
) -> Result<Option<Offset>, OffsetsUnavailable> {
    let partitions = vec![partition.clone()];
    client.log.submit(Request::CommittedOffsets { id: 9, partitions });
    client.until("committed offsets", |event| match event {
        Event::CommittedOffsets { id: 9, result } => Some(result.map(|found| found[0].offset)),
        _ => None,
    })
}

#[test]
fn a_transaction_commits_and_a_takeover_waits_for_the_broker_to_abort() {
    let Some(settings) = secure("tidemill-secret") else { return };
    let lead: TopicName = topic("secure", 1);
    let app = unique("app");
    let mut owner = client(&app, "dead", &settings);
    owner.open(Lane::A);
    owner.join_and_own(&lead, 1);
    owner.begin(Lane::A);
    assert_eq!(owner.send_offsets(Lane::A, &[(at(&lead, 0), 1, "m")]), Ok(()));
    assert_eq!(owner.commit(Lane::A), Ok(()));
    assert_eq!(committed(&mut owner, &at(&lead, 0)), Ok(Some(Offset(1))));
    owner.begin(Lane::A);
    owner.produce(Lane::A, &lead, 0, &["half"]);
    owner.flush(Lane::A).unwrap();
    assert_eq!(owner.send_offsets(Lane::A, &[(at(&lead, 0), 2, "m")]), Ok(()));

    let mut heir = client(&app, "heir", &settings);
    assert_eq!(committed(&mut heir, &at(&lead, 0)), Err(OffsetsUnavailable::Unstable));
    // Who blocks it is not known here, and the answer says why; it comes at once.
    let started = Instant::now();
    heir.log.submit(Request::FindBlockers { id: 2, partition: at(&lead, 0) });
    let report = heir.until("blockers", |event| match event {
        Event::Blockers { id: 2, result } => Some(result),
        _ => None,
    });
    let reason = report.unwrap_err();
    assert!(reason.starts_with("with security.protocol=SASL_SSL"), "{reason}");
    assert!(started.elapsed().as_secs() < 1, "{:?}", started.elapsed());
    drop(owner);
    // The time-out of the transaction is ten seconds.
    let deadline = heir.now() + crate::support::PATIENCE;
    while committed(&mut heir, &at(&lead, 0)) != Ok(Some(Offset(1))) {
        assert!(heir.now() < deadline, "the broker never aborts it");
    }
}

#[test]
fn wrong_credentials_are_told_at_once_and_apart_from_silence() {
    let Some(right) = secure("tidemill-secret") else { return };
    assert!(KafkaTopicAdmin::new(&right).unwrap().brokers().unwrap() >= 1);
    let with = |name: &str, value: Option<&str>| {
        let mut settings = right.clone();
        match value {
            Some(value) => settings.properties.insert(name.to_owned(), value.into()),
            None => settings.properties.remove(name),
        };
        let started = Instant::now();
        let error = KafkaTopicAdmin::new(&settings).unwrap().brokers().unwrap_err();
        (error, started.elapsed())
    };
    for (name, value) in [
        ("sasl.password", Some("wrong")),
        ("sasl.mechanisms", Some("SCRAM-SHA-256")),
        ("ssl.ca.location", None),
    ] {
        let (error, took) = with(name, value);
        assert!(matches!(error, TopicsError::Credentials { .. }), "{name}: {error:?}");
        assert!(took.as_secs() < 5, "{name}: {took:?}");
        assert!(!error.to_string().contains("tidemill-secret"), "{error}");
    }
    // Plain text on this listener: the broker hangs up, which may be anything.
    let (error, _) = with("security.protocol", Some("PLAINTEXT"));
    assert!(matches!(error, TopicsError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("connection closed by peer"), "{error}");
}
