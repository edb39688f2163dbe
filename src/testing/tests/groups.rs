//! Membership, offsets, and who is refused (facts 3.2, 4, 9).

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::Offset,
    runtime::{
        Event, FatalCause, GroupMetadata, Lane, Log, OffsetsUnavailable, Request,
        TransactionFailure, TransactionState,
    },
};

fn abortable(code: &str) -> Result<(), TransactionFailure> {
    Err(TransactionFailure::Abortable(code.to_owned()))
}

fn dynamic(instance: &str) -> ClientSettings {
    ClientSettings { static_membership: false, ..ClientSettings::new(APP, instance, 0) }
}

/// Lets a second member join while the first polls; returns what each owns in the end.
fn handover(one: &mut Thread, two: &mut Thread) -> [Vec<i32>; 2] {
    let cluster = one.cluster.clone();
    two.join();
    let mut owned = [vec![0, 1, 2, 3], Vec::new()];
    let end = cluster.now().mono + Duration::from_secs(10);
    while cluster.now().mono < end {
        for (index, thread) in [&mut *one, &mut *two].into_iter().enumerate() {
            while let Some(event) = thread.poll() {
                match event {
                    Event::Assigned { partitions } => {
                        owned[index].extend(partitions.iter().map(|p| p.partition));
                        thread.ask(Request::Accept { partitions });
                    }
                    Event::Revoking { partitions } | Event::Lost { partitions } => {
                        owned[index]
                            .retain(|p| !partitions.iter().any(|gone| gone.partition == *p));
                        thread.ask(Request::Release { partitions });
                    }
                    other => panic!("{other:?}"),
                }
                let [a, b] = &owned;
                assert!(a.iter().all(|p| !b.contains(p)), "one partition has two owners");
            }
        }
        cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
    }
    owned
}

#[test]
fn a_second_member_takes_over_in_two_rounds_and_never_shares_a_partition() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    assert_eq!(one.joined(), parts("in", &[0, 1, 2, 3]));
    let first = one.log.group().expect("a member").generation();
    let mut two = Thread::new(&cluster, "two");
    let owned = handover(&mut one, &mut two);
    assert_eq!(owned, [vec![0, 1], vec![2, 3]]);
    let [a, b] = [&one, &two].map(|t| t.log.group().expect("a member").generation());
    assert_eq!((a, b), (first + 2, first + 2), "one generation to revoke, one to assign");
}

#[test]
fn a_member_that_leaves_gives_its_partitions_to_the_others() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let mut two = Thread::new(&cluster, "two");
    handover(&mut one, &mut two);
    two.ask(Request::Leave);
    assert!(matches!(two.wait(), Event::Left));
    assert_eq!(two.log.group(), None);
    match one.wait() {
        Event::Assigned { partitions } => assert_eq!(partitions, parts("in", &[2, 3])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_that_leaves_while_it_waits_for_a_rebalance_stays_out() {
    let mut settings = SimSettings::quiet();
    settings.request_latency = Delay::between(MS, MS);
    settings.rebalance_delay = Delay::between(500 * MS, 500 * MS);
    let cluster = cluster_with(settings);
    let mut one = Thread::new(&cluster, "one");
    one.join();
    cluster.advance(100 * MS);
    one.ask(Request::Leave);
    assert!(matches!(one.wait(), Event::Left));
    let mut two = Thread::new(&cluster, "two");
    assert_eq!(two.joined().len(), 4);
    cluster.advance(Duration::from_secs(2));
    assert!(one.poll().is_none() && one.log.group().is_none());
}

#[test]
fn a_crashed_member_keeps_its_partitions_until_its_session_expires() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let mut two = Thread::new(&cluster, "two");
    handover(&mut one, &mut two);
    let crashed_at = cluster.now().mono;
    assert!(cluster.crash("two"));
    assert!(matches!(one.wait(), Event::Assigned { .. }));
    let after = cluster.now().mono - crashed_at;
    assert!(after >= Duration::from_secs(5), "the session lives for six seconds: {after:?}");
    assert_eq!(cluster.fault_counts().get(&FaultKind::SessionExpiry), Some(&1));
    assert!(two.poll().is_none() && two.log.group().is_none(), "a dead handle says nothing");
}

#[test]
fn a_static_member_that_restarts_gets_its_partitions_back_without_a_rebalance() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let mut two = Thread::new(&cluster, "two");
    handover(&mut one, &mut two);
    let generation = cluster.group_generation(APP);
    cluster.crash("two");
    let mut again = Thread::new(&cluster, "two");
    let start = cluster.now().mono;
    assert_eq!(again.joined(), parts("in", &[2, 3]));
    assert!(cluster.now().mono - start < Duration::from_millis(100));
    assert_eq!(cluster.group_generation(APP), generation);
    cluster.advance(Duration::from_secs(1));
    assert!(one.poll().is_none(), "the other member is undisturbed");
}

#[test]
fn a_static_member_that_died_between_two_rounds_leaves_partitions_to_nobody_if_so_set() {
    for keeps_limbo in [true, false] {
        let settings = SimSettings {
            static_rejoin_keeps_limbo: keeps_limbo,
            request_latency: Delay::between(MS, MS),
            ..SimSettings::quiet()
        };
        let cluster = cluster_with(settings);
        let mut one = Thread::new(&cluster, "one");
        one.joined();
        let mut two = Thread::new(&cluster, "two");
        two.join();
        let revoking = one.wait();
        assert!(matches!(&revoking, Event::Revoking { partitions } if partitions.len() == 2));
        cluster.crash("one");
        let mut one = Thread::new(&cluster, "one");
        one.joined();
        let mut owned = 2;
        let end = cluster.now().mono + Duration::from_secs(30);
        while cluster.now().mono < end {
            for thread in [&mut one, &mut two] {
                if let Some(Event::Assigned { partitions }) = thread.poll() {
                    owned += partitions.len();
                }
            }
            cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
        }
        assert_eq!(owned, if keeps_limbo { 2 } else { 4 });
    }
}

#[test]
fn a_twin_with_the_same_instance_id_fences_the_old_member() {
    let cluster = quiet();
    let mut old = Thread::new(&cluster, "one");
    old.joined();
    old.open(Lane::A).expect("open");
    old.begin(Lane::A);
    let mut twin = Thread::new(&cluster, "one");
    assert_eq!(twin.joined().len(), 4);
    assert_eq!(old.offsets(Lane::A, 1), abortable("FENCED_INSTANCE_ID"));
    match old.wait() {
        Event::Fatal(FatalCause::FencedInstanceId(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(old.log.group(), None);
    cluster.advance(Duration::from_secs(20));
    assert!(twin.poll().is_none() && twin.log.group().is_some());
}

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
    assert_eq!(one.offsets_with(Lane::A, 1, stale), abortable("ILLEGAL_GENERATION"));
    assert_eq!(cluster.fault_counts().get(&FaultKind::OffsetsRefused), Some(&1));
    assert_eq!(one.commit(Lane::A), abortable("ILLEGAL_GENERATION"));
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
    assert_eq!(one.offsets_with(Lane::A, 1, before), abortable("UNKNOWN_MEMBER_ID"));
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
fn a_frozen_zombie_is_lost_and_refused_when_it_wakes_up() {
    let cluster = quiet();
    let mut zombie = Thread::with(&cluster, dynamic("one"));
    zombie.joined();
    zombie.started(Lane::A, 0, "x");
    cluster.freeze("one");
    let mut two = Thread::new(&cluster, "two");
    assert_eq!(two.joined().len(), 4);
    assert!(cluster.now().mono >= Duration::from_secs(5), "only after its session");
    cluster.thaw("one");
    assert!(zombie.log.group().is_some(), "it does not know yet");
    assert_eq!(zombie.offsets(Lane::A, 1), abortable("UNKNOWN_MEMBER_ID"));
    match zombie.wait() {
        Event::Lost { partitions } => assert_eq!(partitions.len(), 4),
        other => panic!("{other:?}"),
    }
    assert_eq!(zombie.log.group(), None);
    zombie.abort(Lane::A).expect("abort");
    assert_eq!(cluster.violations(), Vec::<String>::new());
}

#[test]
fn a_frozen_owner_that_had_sent_its_offsets_still_commits_and_its_successor_waits_for_it() {
    let cluster = quiet();
    let mut zombie = Thread::new(&cluster, "one");
    zombie.joined();
    zombie.started(Lane::A, 0, "x");
    zombie.offsets(Lane::A, 9).expect("offsets");
    cluster.freeze("one");
    let mut two = Thread::new(&cluster, "two");
    two.joined();
    assert_eq!(two.stable_offset(), Err(OffsetsUnavailable::Unstable));
    cluster.thaw("one");
    zombie.ask(Request::Commit { lane: Lane::A });
    cluster.advance(MS);
    assert_eq!(two.stable_offset(), Ok(Some(Offset(9))));
    assert_eq!(committed(&cluster), ["x"]);
}

#[test]
fn a_member_that_does_not_poll_gives_itself_up() {
    for is_static in [true, false] {
        let cluster = quiet();
        let settings = ClientSettings {
            static_membership: is_static,
            max_poll_interval: Duration::from_secs(3),
            ..ClientSettings::new(APP, "one", 0)
        };
        let mut one = Thread::with(&cluster, settings);
        one.joined();
        cluster.advance(Duration::from_secs(4));
        assert_eq!(one.log.group(), None);
        let lost = one.wait();
        assert!(matches!(&lost, Event::Lost { partitions } if partitions.len() == 4), "{lost:?}");
        one.ask(Request::Release { partitions: parts("in", &[0, 1, 2, 3]) });
        assert!(matches!(one.wait(), Event::Assigned { .. }), "it polls again and rejoins");
        assert_eq!(cluster.fault_counts().get(&FaultKind::MaxPoll), Some(&1));
    }
}

#[test]
fn a_forced_rebalance_makes_a_new_generation_without_moving_anything() {
    let cluster = quiet();
    let mut one = Thread::new(&cluster, "one");
    one.joined();
    let before = one.log.group().expect("a member").generation();
    cluster.force_rebalance(APP);
    let end = cluster.now().mono + Duration::from_secs(3);
    while cluster.now().mono < end {
        assert!(one.poll().is_none());
        cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
    }
    assert_eq!(one.log.group().expect("a member").generation(), before + 1);
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

// === Blockers ===

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
    assert!(cluster.now().mono - start >= Duration::from_millis(200), "fenced means decided");
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
