//! Offsets in transactions: whose are taken (facts 3.2, 9.1), and who blocks whom.

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::Offset,
    runtime::{
        Event, GroupMetadata, Lane, Log, OffsetsUnavailable, Request, TransactionFailure,
        TransactionState,
    },
};

#[test]
fn offsets_are_committed_with_the_transaction_or_not_at_all() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    thread.open(Lane::A).expect("open");
    thread.begin(Lane::A);
    thread.offsets(Lane::A, 7).expect("offsets");
    assert_eq!(thread.stable_offset(), Err(OffsetsUnavailable::Unstable));
    thread.abort(Lane::A).expect("abort");
    assert_eq!(thread.stable_offset(), Ok(None));
    thread.begin(Lane::A);
    thread.offsets(Lane::A, 8).expect("offsets");
    thread.commit(Lane::A).expect("commit");
    assert_eq!(thread.stable_offset(), Ok(Some(Offset(8))));
    assert_eq!(cluster.group_offsets(APP), [commit_of(0, 8)]);
}

#[test]
fn offsets_of_one_partition_do_not_make_another_unstable() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    thread.open(Lane::A).expect("open");
    thread.begin(Lane::A);
    thread.offsets(Lane::A, 7).expect("offsets");
    thread.ask(Request::CommittedOffsets { id: 1, partitions: parts("in", &[1, 2]) });
    match thread.wait() {
        Event::CommittedOffsets { id: 1, result: Ok(offsets) } => assert_eq!(offsets.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_lanes_the_commit_whose_record_comes_last_holds_whenever_its_marker_lands() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    for lane in Lane::ALL {
        thread.open(lane).expect("open");
        thread.begin(lane);
    }
    thread.offsets(Lane::A, 70).expect("offsets");
    thread.offsets(Lane::B, 80).expect("offsets");
    thread.commit(Lane::B).expect("commit");
    assert_eq!(cluster.group_offsets(APP), [commit_of(0, 80)]);
    thread.commit(Lane::A).expect("commit");
    assert_eq!(cluster.group_offsets(APP), [commit_of(0, 80)], "A's record is the older one");

    // The trap of facts 9.1: sent B then A, committed A then B, the offset goes back.
    thread.begin(Lane::A);
    thread.begin(Lane::B);
    thread.offsets(Lane::B, 70).expect("offsets");
    thread.offsets(Lane::A, 90).expect("offsets");
    thread.commit(Lane::A).expect("commit");
    thread.commit(Lane::B).expect("commit");
    assert_eq!(cluster.group_offsets(APP), [commit_of(0, 90)]);
}

#[test]
fn a_stale_generation_is_refused_and_the_producer_goes_on_after_an_abort() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    one.open(Lane::A).expect("open");
    one.begin(Lane::A);
    let stale = one.log.group().expect("a member");
    let mut two = Thread::new(&cluster, "two");
    handover(&mut one, &mut two);
    assert_eq!(one.offsets_with(Lane::A, 1, stale), refused_membership("ILLEGAL_GENERATION"));
    assert_eq!(cluster.fault_counts().get(&FaultKind::OffsetsRefused), Some(&1));
    assert_eq!(one.commit(Lane::A), refused_membership("ILLEGAL_GENERATION"));
    one.abort(Lane::A).expect("abort");
    one.begin(Lane::A);
    one.offsets(Lane::A, 2).expect("offsets");
    one.commit(Lane::A).expect("commit");
    assert_eq!(cluster.group_offsets(APP), [commit_of(0, 2)]);
}

#[test]
fn a_member_that_is_gone_is_refused_and_a_partition_of_somebody_else_is_not() {
    let cluster = quiet();
    let mut one = Thread::with(&cluster, dynamic("one"));
    one.joined();
    one.open(Lane::A).expect("open");
    one.begin(Lane::A);
    let before = one.log.group().expect("a member");
    assert!(cluster.expire_session(APP, "one"));
    assert_eq!(one.offsets_with(Lane::A, 1, before), refused_membership("UNKNOWN_MEMBER_ID"));
    one.abort(Lane::A).expect("abort");

    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let mut two = Thread::new(&cluster, "two");
    assert_eq!(handover(&mut one, &mut two)[0], [0, 1]);
    two.open(Lane::A).expect("open");
    two.begin(Lane::A);
    two.offsets(Lane::A, 5).expect("partition 0 is one's, and the broker does not look");
    two.commit(Lane::A).expect("commit");
}

#[test]
fn a_plain_commit_is_checked_and_seen() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let group = one.log.group().expect("a member");
    let stale = GroupMetadata::new(group.generation() - 1, group.member_id().to_owned());
    for (group, expected) in
        [(stale.expect("valid"), Err("ILLEGAL_GENERATION".to_owned())), (group, Ok(()))]
    {
        one.ask(Request::CommitOffsets { id: 3, offsets: vec![commit_of(0, 4)], group });
        match one.wait() {
            Event::OffsetsCommitted { id: 3, result } => assert_eq!(result, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(one.stable_offset(), Ok(Some(Offset(4))));
    assert!(cluster.expire_group_offset(APP, &at("in", 0)));
    assert_eq!(one.stable_offset(), Ok(None));
}

fn blockers(thread: &mut Thread, topic: &str, partition: i32) -> crate::runtime::BlockerReport {
    thread.ask(Request::FindBlockers { id: 9, partition: at(topic, partition) });
    match thread.wait() {
        Event::Blockers { id: 9, result } => result.expect("an answer"),
        other => panic!("{other:?}"),
    }
}

fn fence(thread: &mut Thread, id: &str, producer_id: i64, epoch: i16) -> Result<(), String> {
    thread.ask(Request::Fence {
        id: 4,
        transactional_id: id.to_owned(),
        producer_id,
        producer_epoch: epoch,
    });
    match thread.wait() {
        Event::Fenced { id: 4, result } => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dead_owner_is_found_and_fenced_by_its_successor() {
    let mut settings = SimSettings::quiet();
    settings.marker_delay = Delay::between(Duration::from_millis(200), Duration::from_millis(200));
    let cluster = cluster_with(settings);
    let mut dead = Thread::new(&cluster, "one");
    dead.joined();
    dead.started(Lane::B, 0, "x");
    dead.offsets(Lane::B, 3).expect("offsets");
    cluster.crash("one");
    let mut two = Thread::new(&cluster, "two");
    for (topic, partition) in [("out", 0), ("__consumer_offsets", -1)] {
        let report = blockers(&mut two, topic, partition);
        let blocker = &report.blockers[0];
        assert_eq!(report.blockers.len(), 1);
        assert_eq!(blocker.transactional_id.as_deref(), Some("app.one.0.b"));
        assert_eq!(blocker.state, TransactionState::Ongoing);
        let member = &report.members.as_ref().expect("at rest")[0];
        assert_eq!(member.instance_id.as_deref(), Some("one.0"));
        assert_eq!(member.partitions.len(), 4);
    }
    assert!(blockers(&mut two, "out", 1).blockers.is_empty());
    let blocker = blockers(&mut two, "out", 0).blockers.remove(0);
    let start = cluster.now().mono;
    fence(&mut two, "app.one.0.b", blocker.producer_id, blocker.producer_epoch).expect("fenced");
    assert!(since(&cluster, start) >= Duration::from_millis(200), "fenced means decided");
    assert!(blockers(&mut two, "out", 0).blockers.is_empty());
    assert_eq!(two.stable_offset(), Ok(None));
    assert_eq!(bounds(&cluster, 0), (2, 2));
}

#[test]
fn a_fence_with_a_stale_epoch_is_refused_on_an_idle_producer() {
    let cluster = quiet();
    let mut owner = Thread::new(&cluster, "one");
    owner.started(Lane::A, 0, "x");
    let mut two = Thread::new(&cluster, "two");
    let blocker = blockers(&mut two, "out", 0).blockers.remove(0);
    owner.commit(Lane::A).expect("commit");
    let stale = blocker.producer_epoch - 1;
    let refused = fence(&mut two, "app.one.0.a", blocker.producer_id, stale);
    assert_eq!(refused, Err("PRODUCER_FENCED".to_owned()));
    owner.begin(Lane::A);
    owner.send(Lane::A, 0, "y");
    owner.commit(Lane::A).expect("the live owner is unhurt");
    fence(&mut two, "app.one.0.a", blocker.producer_id, blocker.producer_epoch).expect("fenced");
    owner.begin(Lane::A);
    owner.send(Lane::A, 0, "z");
    assert!(matches!(owner.commit(Lane::A), Err(TransactionFailure::Fenced(_))));
}
