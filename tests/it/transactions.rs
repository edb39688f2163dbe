//! Lanes: what commits is seen, what aborts is not, who is stale is refused by the broker.

use tidemill::{
    record::{Header, Offset, OutputRecord},
    runtime::{Event, GroupMetadata, Lane, Log, Request, TransactionFailure},
};

use crate::support::{Client, at, read_all, texts, timestamp, topic, unique, write_committed};

#[test]
fn what_is_committed_is_seen_and_what_is_aborted_is_hidden() {
    let topic = topic("commit", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &["a", "b"]);
    let delivery = client.flush(Lane::A).unwrap();
    assert_eq!(delivery.last_offsets, [(at(&topic, 0), Offset(1))]);
    assert_eq!(client.commit(Lane::A), Ok(()));

    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &["x", "y", "z"]);
    // Offset 2 is the marker of the first transaction.
    let delivery = client.flush(Lane::A).unwrap();
    assert_eq!(delivery.last_offsets, [(at(&topic, 0), Offset(5))]);
    assert_eq!(client.abort(Lane::A), Ok(()));

    // The producer goes on after an abort; what an abort purged leaves no trace.
    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &["c"]);
    let delivery = client.flush(Lane::A).unwrap();
    assert_eq!(delivery.refused, []);
    assert_eq!(client.commit(Lane::A), Ok(()));

    assert_eq!(texts(&read_all(&topic, 0, false).0), ["a", "b", "c"]);
    // The control: a reader that does not wait for outcomes sees all.
    assert_eq!(texts(&read_all(&topic, 0, true).0), ["a", "b", "x", "y", "z", "c"]);
}

#[test]
fn two_lanes_write_alternating_epochs() {
    let topic = topic("lanes", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.open(Lane::B);
    for epoch in 0..20 {
        let lane = Lane::ALL[epoch % 2];
        client.begin(lane);
        client.produce(lane, &topic, 0, &[&format!("e{epoch}")]);
        client.flush(lane).unwrap();
        assert_eq!(client.commit(lane), Ok(()), "epoch {epoch}");
    }
    let expected: Vec<String> = (0..20).map(|epoch| format!("e{epoch}")).collect();
    assert_eq!(texts(&read_all(&topic, 0, false).0), expected);
}

#[test]
fn order_is_kept_between_gathered_and_single_records() {
    let topic = topic("order", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.begin(Lane::A);
    let mut expected = vec![];
    for n in 0u64..3_000 {
        let value = format!("{n}");
        let record = OutputRecord {
            topic: &topic,
            partition: 0,
            // Changing at irregular places.
            timestamp: (n * n % 7 < 3).then_some(tidemill::record::Timestamp(1_000 + n as i64)),
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        client.produce_record(Lane::A, &record, n);
        expected.push(value.clone());
    }
    let delivery = client.flush(Lane::A).unwrap();
    assert_eq!(delivery.last_offsets, [(at(&topic, 0), Offset(2_999))]);
    assert_eq!(client.commit(Lane::A), Ok(()));
    assert_eq!(texts(&read_all(&topic, 0, false).0), expected);
}

#[test]
fn null_empty_headers_and_timestamps_survive_the_way_there_and_back() {
    let topic = topic("content", 2);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.begin(Lane::A);
    let headers = [
        Header { name: "one".into(), value: Some(vec![0, 255]) },
        Header { name: "two".into(), value: None },
        Header { name: "empty".into(), value: Some(vec![]) },
    ];
    let base = OutputRecord {
        topic: &topic,
        partition: 1,
        timestamp: None,
        key: None,
        value: None,
        headers: &[],
    };
    let wanted = [
        OutputRecord { headers: &headers, ..base },
        OutputRecord { timestamp: timestamp(1_234_567), key: Some(b"k"), ..base },
        OutputRecord { key: Some(b""), value: Some(b""), ..base },
        OutputRecord { timestamp: timestamp(9), key: Some(b""), value: Some(b""), ..base },
        OutputRecord { key: Some(b"k"), value: Some(b"\0v"), ..base },
    ];
    for (tag, record) in wanted.iter().enumerate() {
        client.produce_record(Lane::A, record, tag as u64);
    }
    client.flush(Lane::A).unwrap();
    assert_eq!(client.commit(Lane::A), Ok(()));
    let (found, _) = read_all(&topic, 1, false);
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found.key.as_deref(), wanted.key);
        assert_eq!(found.value.as_deref(), wanted.value);
        assert_eq!(found.headers, wanted.headers);
        match wanted.timestamp {
            Some(timestamp) => assert_eq!(found.timestamp, timestamp.0),
            None => assert!(found.timestamp > 1_600_000_000_000, "stamped when produced"),
        }
    }
}

#[test]
fn a_stale_generation_and_an_unknown_member_are_refused_by_the_broker() {
    let (lead, out) = (topic("lead", 1), topic("out", 1));
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.join_and_own(&lead, 1);
    let group = client.log.group().expect("a membership");
    let stale = GroupMetadata::new(group.generation() - 1, group.member_id().to_owned()).unwrap();
    // With an instance id the broker compares it first: somebody else's member id is a twin's.
    let stranger = GroupMetadata::new(group.generation(), "nobody".to_owned()).unwrap();
    let cases = [
        (stale, &["ILLEGAL_GENERATION"][..]),
        (stranger, &["FENCED_INSTANCE_ID", "UNKNOWN_MEMBER_ID"][..]),
    ];
    for (metadata, words) in cases {
        client.begin(Lane::A);
        client.produce(Lane::A, &out, 0, &["never"]);
        client.flush(Lane::A).unwrap();
        let offsets = [(at(&lead, 0), 1, "m")];
        let failure = client.send_offsets_as(Lane::A, &offsets, metadata).unwrap_err();
        let TransactionFailure::Membership(reason) = &failure else { panic!("{failure:?}") };
        assert!(words.iter().any(|word| reason.starts_with(word)), "{reason}");
        assert_eq!(client.abort(Lane::A), Ok(()));
    }
    // The same producer and the live membership still work.
    client.begin(Lane::A);
    client.produce(Lane::A, &out, 0, &["yes"]);
    client.flush(Lane::A).unwrap();
    assert_eq!(client.send_offsets(Lane::A, &[(at(&lead, 0), 1, "m")]), Ok(()));
    assert_eq!(client.commit(Lane::A), Ok(()));
    assert_eq!(texts(&read_all(&out, 0, false).0), ["yes"]);
}

#[test]
fn opening_an_id_fences_its_older_producer_and_drops_its_transaction() {
    let topic = topic("fence", 1);
    let app = unique("app");
    let mut old = Client::new(&app, "i");
    old.open(Lane::A);
    old.begin(Lane::A);
    old.produce(Lane::A, &topic, 0, &["old"]);
    old.flush(Lane::A).unwrap();

    let mut new = Client::new(&app, "i");
    new.open(Lane::A);
    let failure = old.commit(Lane::A).unwrap_err();
    assert!(matches!(&failure, TransactionFailure::Fenced(_)), "{failure:?}");

    new.begin(Lane::A);
    new.produce(Lane::A, &topic, 0, &["new"]);
    new.flush(Lane::A).unwrap();
    assert_eq!(new.commit(Lane::A), Ok(()));
    assert_eq!(texts(&read_all(&topic, 0, false).0), ["new"]);
}

#[test]
fn a_lane_is_opened_again_in_place_and_its_open_transaction_is_dropped() {
    let topic = topic("reopen", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &["lost"]);
    client.flush(Lane::A).unwrap();
    client.open(Lane::A);
    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &["kept"]);
    let delivery = client.flush(Lane::A).unwrap();
    assert_eq!(delivery.last_offsets.len(), 1);
    assert_eq!(client.commit(Lane::A), Ok(()));
    assert_eq!(texts(&read_all(&topic, 0, false).0), ["kept"]);
}

#[test]
fn a_record_without_an_open_producer_fails_the_next_outcome() {
    let topic = topic("closed", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.begin(Lane::B);
    client.produce(Lane::B, &topic, 0, &["nowhere"]);
    let failure = client.flush(Lane::B).unwrap_err();
    assert!(matches!(&failure, TransactionFailure::Unknown(r) if r.contains("not open")));
}

#[test]
fn a_record_that_its_topic_refuses_is_named_as_the_cause() {
    use std::collections::BTreeMap;
    use tidemill::{
        kafka::KafkaTopicAdmin,
        runtime::{TopicAdmin, TopicSpec},
    };
    let small: tidemill::record::TopicName = unique("small").into();
    let config = BTreeMap::from([("max.message.bytes".to_owned(), "2000".to_owned())]);
    let spec = TopicSpec { name: small.clone(), partitions: 1, replication: -1, config };
    KafkaTopicAdmin::new(&crate::support::settings()).unwrap().create(&[spec]).unwrap();
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.begin(Lane::A);
    // Not compressible, so that lz4 does not make it fit.
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(10_000)
    .collect();
    let record = OutputRecord {
        topic: &small,
        partition: 0,
        timestamp: timestamp(5),
        key: None,
        value: Some(&noise),
        headers: &[],
    };
    client.produce_record(Lane::A, &record, 77);
    let refused = client.flush(Lane::A).unwrap().refused;
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].tag, refused[0].caused_by_record), (77, true), "{refused:?}");
    assert_eq!(refused[0].partition, at(&small, 0));
    assert!(refused[0].reason.starts_with("MSG_SIZE_TOO_LARGE"), "{refused:?}");
    assert_eq!(client.abort(Lane::A), Ok(()));
}

#[test]
fn requests_of_a_lane_take_effect_in_the_order_of_their_submission() {
    let topic = topic("queued", 1);
    write_committed(&topic, 0, &["first"]);
    let mut client = Client::new(&unique("app"), "i");
    // Nothing is waited for: the lane itself keeps the order.
    client.log.submit(Request::Open { lane: Lane::A });
    client.begin(Lane::A);
    client.produce(Lane::A, &topic, 0, &[]);
    let deadline = client.now() + crate::support::PATIENCE;
    let record = OutputRecord {
        topic: &topic,
        partition: 0,
        timestamp: None,
        key: None,
        value: Some(b"second"),
        headers: &[],
    };
    while client.log.produce(Lane::A, &record, 1).is_err() {
        assert!(client.now() < deadline, "the lane never opens");
        let wait = client.now() + std::time::Duration::from_millis(5);
        match client.log.poll(wait, false) {
            None | Some(Event::Opened { result: Ok(()), .. }) => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    client.log.submit(Request::Flush { lane: Lane::A });
    assert_eq!(client.commit(Lane::A), Ok(()));
    assert_eq!(texts(&read_all(&topic, 0, false).0), ["first", "second"]);
}
