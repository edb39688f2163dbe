//! Topics: created with their configuration, described with their id, deleted.

use std::collections::BTreeMap;

use tidemill::{
    kafka::{ConnectError, KafkaTopicAdmin, Settings},
    record::TopicName,
    runtime::{ApplicationAdmin, Event, Log, Request, TopicAdmin, TopicSpec, TopicsError},
};

use crate::support::{Client, settings, unique};

fn spec(name: &TopicName, partitions: i32, config: &[(&str, &str)]) -> TopicSpec {
    let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    TopicSpec { name: name.clone(), partitions, replication: -1, config: config.collect() }
}

#[test]
fn a_topic_is_created_described_and_told_from_its_successor() {
    let mut admin = KafkaTopicAdmin::new(&settings()).unwrap();
    assert!(admin.brokers().unwrap() >= 1);
    let name: TopicName = unique("topic").into();
    let absent: TopicName = unique("absent").into();
    let wanted = spec(&name, 5, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
    admin.create(std::slice::from_ref(&wanted)).unwrap();
    // Creating it again is no error and changes nothing.
    admin.create(&[spec(&name, 7, &[])]).unwrap();
    let described = admin.describe(&[absent.clone(), name.clone()]).unwrap();
    assert_eq!(described[0], None);
    let first = described[1].clone().unwrap();
    assert_eq!((&first.name, first.partitions), (&name, 5));
    assert!(first.replication >= 1);
    assert_eq!(first.config.get("cleanup.policy").map(String::as_str), Some("compact"));
    assert_eq!(first.config_number("retention.ms"), Some(-1));
    assert!(first.config_number("max.message.bytes").is_some(), "defaults are told too");
    assert!(first.id.len() == 32 && first.id.bytes().all(|b| b.is_ascii_hexdigit()));

    admin.delete_topics(&[name.clone(), absent]).unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while admin.describe(std::slice::from_ref(&name)).unwrap()[0].is_some() {
        assert!(std::time::Instant::now() < deadline, "never deleted");
    }
    admin.create(&[wanted]).unwrap();
    let second = admin.describe(&[name]).unwrap()[0].clone().unwrap();
    assert_ne!(first.id, second.id);
}

#[test]
fn a_stream_thread_describes_topics_too() {
    let name = crate::support::topic("describe", 2);
    let mut client = Client::new(&unique("app"), "i");
    let topics = vec![name.clone(), unique("absent").into()];
    client.log.submit(Request::Describe { id: 8, topics });
    let described = client.until("described", |event| match event {
        Event::Described { id: 8, result } => Some(result.unwrap()),
        _ => None,
    });
    assert_eq!(described[0].as_ref().map(|t| t.partitions), Some(2));
    assert_eq!(described[1], None);
}

#[test]
fn a_refused_topic_is_named_and_so_is_an_address_where_nobody_answers() {
    let mut admin = KafkaTopicAdmin::new(&settings()).unwrap();
    let name: TopicName = unique("bad").into();
    let error = admin.create(&[spec(&name, 1, &[("cleanup.policy", "nonsense")])]).unwrap_err();
    let TopicsError::Refused { topic, reason } = &error else { panic!("{error:?}") };
    assert!(topic.contains(&*name), "{topic}");
    assert!(reason.contains("INVALID_CONFIG"), "{reason}");

    let nobody = Settings { bootstrap_servers: "127.0.0.1:1".to_owned(), ..settings() };
    let error = KafkaTopicAdmin::new(&nobody).unwrap().brokers().unwrap_err();
    let TopicsError::Unreachable { address, .. } = &error else { panic!("{error:?}") };
    assert_eq!(address, "127.0.0.1:1");
}

#[test]
fn a_property_that_librdkafka_does_not_take_is_told_before_anything_is_asked() {
    let with = |name: &str, value: &str| {
        let properties = BTreeMap::from([(name.to_owned(), value.into())]);
        KafkaTopicAdmin::new(&Settings { properties, ..settings() }).err().unwrap()
    };
    for (name, value) in [("sasl.pasword", "hunter2"), ("security.protocol", "tls")] {
        let error = with(name, value);
        assert!(matches!(error, ConnectError::Configuration(_)), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_group_is_described_and_deleted_once_it_is_empty() {
    let name = crate::support::topic("group", 1);
    let app = unique("app");
    let mut admin = KafkaTopicAdmin::new(&settings()).unwrap();
    assert_eq!(admin.group_members(&app).unwrap(), None);
    admin.delete_group(&app).unwrap();
    let mut client = Client::new(&app, "i");
    client.join_and_own(&name, 1);
    assert_eq!(admin.group_members(&app).unwrap().map(|m| m.len()), Some(1));
    assert!(admin.delete_group(&app).is_err(), "a group with members is kept");
    client.log.submit(Request::Leave);
    loop {
        match client.next(crate::support::PATIENCE, false) {
            Some(Event::Revoking { partitions }) => {
                client.log.submit(Request::Release { partitions });
            }
            Some(Event::Left) => break,
            other => panic!("{other:?}"),
        }
    }
    admin.delete_group(&app).unwrap();
    assert_eq!(admin.group_members(&app).unwrap(), None);
}
