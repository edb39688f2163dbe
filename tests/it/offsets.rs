//! Stable committed offsets, and what to do when an open transaction blocks them.

use std::time::{Duration, Instant};

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::{
        Blocker, CommittedOffset, Event, Lane, Log, OffsetCommit, OffsetsUnavailable, Request,
        TransactionState,
    },
};

use crate::support::{Client, at, texts, topic, unique};

fn committed(
    client: &mut Client,
    partitions: &[TopicPartition],
) -> Result<Vec<CommittedOffset>, OffsetsUnavailable> {
    client.log.submit(Request::CommittedOffsets { id: 9, partitions: partitions.to_vec() });
    client.until("committed offsets", |event| match event {
        Event::CommittedOffsets { id: 9, result } => Some(result),
        _ => None,
    })
}

/// The first questions of a new cluster meet a coordinator that is loading.
fn committed_soon(client: &mut Client, partitions: &[TopicPartition]) -> Vec<CommittedOffset> {
    let deadline = client.now() + crate::support::PATIENCE;
    loop {
        match committed(client, partitions) {
            Ok(offsets) => return offsets,
            Err(reason) => assert!(client.now() < deadline, "{reason:?}"),
        }
    }
}

#[test]
fn offsets_committed_in_a_transaction_come_back_with_their_metadata() {
    let topic = topic("offsets", 3);
    let mut client = Client::new(&unique("app"), "i");
    client.open(Lane::A);
    client.join_and_own(&topic, 3);
    let partitions = [at(&topic, 0), at(&topic, 1), at(&topic, 2)];
    let before = committed_soon(&mut client, &partitions);
    assert!(before.iter().all(|o| o.offset.is_none() && o.metadata.is_empty()), "{before:?}");
    client.begin(Lane::A);
    let offsets = [(at(&topic, 0), 17, "v1;e=5;ä"), (at(&topic, 2), 0, "v1;e=5")];
    assert_eq!(client.send_offsets(Lane::A, &offsets), Ok(()));
    assert_eq!(client.commit(Lane::A), Ok(()));
    let after = committed_soon(&mut client, &partitions);
    let expected = [
        CommittedOffset {
            partition: at(&topic, 0),
            offset: Some(Offset(17)),
            metadata: "v1;e=5;ä".to_owned(),
        },
        CommittedOffset { partition: at(&topic, 1), offset: None, metadata: String::new() },
        CommittedOffset {
            partition: at(&topic, 2),
            offset: Some(Offset(0)),
            metadata: "v1;e=5".to_owned(),
        },
    ];
    assert_eq!(after, expected);
}

#[test]
fn offsets_committed_beside_transactions_come_back_too() {
    let topic = topic("beside", 1);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, 1);
    let group = client.log.group().unwrap();
    let offsets = vec![OffsetCommit {
        partition: at(&topic, 0),
        offset: Offset(3),
        metadata: "at-least-once".to_owned(),
    }];
    client.log.submit(Request::CommitOffsets { id: 4, offsets, group });
    let result = client.until("offsets committed", |event| match event {
        Event::OffsetsCommitted { id: 4, result } => Some(result),
        _ => None,
    });
    assert_eq!(result, Ok(()));
    let after = committed_soon(&mut client, &[at(&topic, 0)]);
    assert_eq!(after[0].offset, Some(Offset(3)));
}

#[test]
fn an_open_transaction_with_offsets_makes_them_unstable_and_a_dead_owner_is_fenced_fast() {
    let (lead, changelog) = (topic("lead", 1), topic("changelog", 1));
    let app = unique("app");
    let mut owner = Client::new(&app, "dead");
    owner.open(Lane::A);
    owner.join_and_own(&lead, 1);
    committed_soon(&mut owner, &[at(&lead, 0)]);
    owner.begin(Lane::A);
    owner.produce(Lane::A, &changelog, 0, &["half"]);
    owner.flush(Lane::A).unwrap();
    assert_eq!(owner.send_offsets(Lane::A, &[(at(&lead, 0), 1, "m")]), Ok(()));

    // Its successor asks, and hears at once why there is no answer.
    let mut heir = Client::new(&app, "heir");
    let started = Instant::now();
    assert_eq!(committed(&mut heir, &[at(&lead, 0)]), Err(OffsetsUnavailable::Unstable));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    heir.log.submit(Request::Bounds { id: 1, partitions: vec![at(&changelog, 0)] });
    let bounds = heir.until("bounds", |event| match event {
        Event::Bounds { id: 1, result } => Some(result.unwrap()[0].1),
        _ => None,
    });
    assert_eq!((bounds.start, bounds.last_stable, bounds.end), (Offset(0), Offset(0), Offset(1)));

    // On the changelog and on the group's offsets it finds the same blocker.
    let mut found = vec![];
    for (id, partition) in
        [(2, at(&changelog, 0)), (3, TopicPartition::new("__consumer_offsets", -1))]
    {
        heir.log.submit(Request::FindBlockers { id, partition: partition.clone() });
        let report = heir.until("blockers", |event| match event {
            Event::Blockers { id: of, result } if of == id => Some(result.unwrap()),
            _ => None,
        });
        assert_eq!(report.partition, partition);
        let wanted = format!("{app}.dead.0.a");
        let blocker = report
            .blockers
            .iter()
            .find(|b| b.transactional_id.as_deref() == Some(&*wanted))
            .unwrap_or_else(|| panic!("{report:?}"));
        assert_eq!(blocker.state, TransactionState::Ongoing);
        let members = report.members.expect("a settled group");
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].instance_id.as_deref(), Some("dead.0"));
        assert_eq!(members[0].partitions, [at(&lead, 0)]);
        found.push(blocker.clone());
    }
    // The same transaction, which begins elsewhere in each of them.
    assert_eq!(found[0].start, Offset(0));
    assert_eq!(found[0], Blocker { start: found[0].start, ..found[1].clone() });

    let started = Instant::now();
    heir.log.submit(Request::Fence {
        id: 5,
        transactional_id: format!("{app}.dead.0.a"),
        producer_id: found[0].producer_id,
        producer_epoch: found[0].producer_epoch,
    });
    let fenced = heir.until("fenced", |event| match event {
        Event::Fenced { id: 5, result } => Some(result),
        _ => None,
    });
    assert_eq!(fenced, Ok(()));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    println!("fenced in {:?}", started.elapsed());
    let offsets = committed_soon(&mut heir, &[at(&lead, 0)]);
    assert_eq!(offsets[0].offset, None);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    // The dead owner wakes up: refused. Nothing of its epoch is ever seen.
    assert!(owner.commit(Lane::A).is_err());
    assert_eq!(texts(&crate::support::read_all(&changelog, 0, false).0), [""; 0]);

    // A holder that is not the expected one is left alone.
    heir.log.submit(Request::Fence {
        id: 6,
        transactional_id: format!("{app}.dead.0.a"),
        producer_id: found[0].producer_id + 1_000,
        producer_epoch: found[0].producer_epoch,
    });
    let other = heir.until("fenced", |event| match event {
        Event::Fenced { id: 6, result } => Some(result),
        _ => None,
    });
    assert!(other.as_ref().is_err_and(|e| e.contains("PRODUCER")), "{other:?}");
}

#[test]
fn bounds_of_a_topic_that_does_not_exist_are_an_error_that_passes() {
    let mut client = Client::new(&unique("app"), "i");
    let partitions = vec![TopicPartition::new(unique("absent"), 0)];
    client.log.submit(Request::Bounds { id: 1, partitions });
    let result = client.until("bounds", |event| match event {
        Event::Bounds { id: 1, result } => Some(result),
        _ => None,
    });
    let Err(OffsetsUnavailable::Retriable(reason)) = result else { panic!("{result:?}") };
    assert!(reason.starts_with("bounds: "), "{reason}");
}
