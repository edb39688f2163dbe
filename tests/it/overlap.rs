//! Overlapping epochs on a real broker (EOS-6): what the rules of facts 4(b) rest on.

use std::time::Duration;

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::{CommittedOffset, Event, Lane, Log, Request},
};

use crate::support::{Client, PATIENCE, at, read_all, texts, topic, unique};

fn committed(client: &mut Client, partition: &TopicPartition) -> Option<Offset> {
    let deadline = client.now() + PATIENCE;
    loop {
        assert!(client.now() < deadline, "offsets of {partition} are not stable");
        let partitions = vec![partition.clone()];
        client.log.submit(Request::CommittedOffsets { id: 1, partitions });
        let result = client.until("offsets", |event| match event {
            Event::CommittedOffsets { result, .. } => Some(result),
            _ => None,
        });
        match result {
            Ok(offsets) => {
                return offsets.into_iter().map(|CommittedOffset { offset, .. }| offset).next()?;
            }
            Err(_) => {
                client.next(Duration::from_millis(20), false);
            }
        }
    }
}

/// Two epochs at once, by the rules: B is sent when A is acknowledged, and ends when A has.
#[test]
fn the_younger_epoch_waits_and_both_are_seen_in_order() {
    let (lead, out) = (topic("lead", 1), topic("out", 1));
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.open(Lane::B);
    client.join_and_own(&lead, 1);
    let partition = at(&lead, 0);
    for epoch in 0..10_i64 {
        let lane = Lane::ALL[(epoch % 2) as usize];
        let younger = lane.other();
        if epoch == 0 {
            client.begin(lane);
            client.produce(lane, &out, 0, &["e0"]);
        }
        client.flush(lane).unwrap();
        // Rule 1: only now may the younger one send.
        client.begin(younger);
        client.produce(younger, &out, 0, &[&format!("e{}", epoch + 1)]);
        assert_eq!(client.send_offsets(lane, &[(partition.clone(), epoch + 1, "m")]), Ok(()));
        assert_eq!(client.commit(lane), Ok(()));
        // An open younger transaction behind it does not hide it (facts 9.1).
        let seen = texts(&read_all(&out, 0, false).0);
        assert_eq!(seen.len() as i64, epoch + 1, "{seen:?}");
        assert_eq!(committed(&mut client, &partition), Some(Offset(epoch + 1)));
    }
}

/// Rule 2 is needed: offsets that the younger epoch sends first are overwritten by the older one's.
#[test]
fn offsets_of_the_younger_epoch_sent_first_are_lost() {
    let (lead, out) = (topic("lead", 1), topic("out", 1));
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.open(Lane::B);
    client.join_and_own(&lead, 1);
    let partition = at(&lead, 0);
    for lane in Lane::ALL {
        client.begin(lane);
        client.produce(lane, &out, 0, &["x"]);
        client.flush(lane).unwrap();
    }
    assert_eq!(client.send_offsets(Lane::B, &[(partition.clone(), 80, "younger")]), Ok(()));
    assert_eq!(client.send_offsets(Lane::A, &[(partition.clone(), 70, "older")]), Ok(()));
    assert_eq!(client.commit(Lane::A), Ok(()));
    assert_eq!(client.commit(Lane::B), Ok(()));
    assert_eq!(committed(&mut client, &partition), Some(Offset(70)), "it went back");
}

/// Rule 3: both fall together, and nothing of either is seen.
#[test]
fn a_younger_epoch_that_falls_with_the_older_leaves_nothing() {
    let (lead, out) = (topic("lead", 1), topic("out", 1));
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.open(Lane::B);
    client.join_and_own(&lead, 1);
    let partition = at(&lead, 0);
    for (lane, value) in [(Lane::A, "older"), (Lane::B, "younger")] {
        client.begin(lane);
        client.produce(lane, &out, 0, &[value]);
        client.flush(lane).unwrap();
    }
    assert_eq!(client.send_offsets(Lane::A, &[(partition.clone(), 5, "m")]), Ok(()));
    assert_eq!(client.abort(Lane::A), Ok(()));
    assert_eq!(client.abort(Lane::B), Ok(()));
    assert_eq!(committed(&mut client, &partition), None);
    assert_eq!(texts(&read_all(&out, 0, false).0), [] as [&str; 0]);
    // Both producers go on.
    for lane in Lane::ALL {
        client.begin(lane);
        client.produce(lane, &out, 0, &["again"]);
        client.flush(lane).unwrap();
        assert_eq!(client.commit(lane), Ok(()));
    }
    assert_eq!(texts(&read_all(&out, 0, false).0), ["again", "again"]);
}
