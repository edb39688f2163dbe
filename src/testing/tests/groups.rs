//! Membership, offsets, and who is refused (facts 3.2, 4, 9).

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::Offset,
    runtime::{Event, FatalCause, Lane, Log, OffsetsUnavailable, Request},
};

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
    let after = since(&cluster, crashed_at);
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
    assert!(since(&cluster, start) < Duration::from_millis(100));
    assert_eq!(cluster.group_generation(APP), generation);
    cluster.advance(Duration::from_secs(1));
    assert!(one.poll().is_none(), "the other member is undisturbed");
}

/// What a thread's group looks like: member by instance id, and how many partitions it has.
fn described(thread: &mut Thread) -> Vec<(String, usize)> {
    thread.ask(Request::DescribeGroup { id: 6 });
    loop {
        if let Event::GroupDescribed { id: 6, result } = thread.wait() {
            let members = result.expect("an answer").expect("at rest").into_iter();
            return members
                .map(|member| (member.instance_id.expect("static"), member.partitions.len()))
                .collect();
        }
    }
}

#[test]
fn a_static_member_that_died_between_two_rounds_leaves_partitions_to_nobody_until_a_rejoin() {
    let settings = SimSettings { request_latency: Delay::between(MS, MS), ..SimSettings::quiet() };
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
    for rejoins in [true, false] {
        let end = cluster.now().mono + Duration::from_secs(20);
        while cluster.now().mono < end {
            for thread in [&mut one, &mut two] {
                if let Some(Event::Assigned { partitions }) = thread.poll() {
                    owned += partitions.len();
                }
            }
            cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
        }
        assert_eq!(owned, if rejoins { 2 } else { 4 });
        let has = owned - 2;
        let expected = [("one.0".to_owned(), 2), ("two.0".to_owned(), has)];
        let mut found = described(&mut two);
        found.sort();
        assert_eq!(found, expected);
        if rejoins {
            two.ask(Request::Rejoin);
        }
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
    assert_eq!(old.offsets(Lane::A, 1), refused_membership("FENCED_INSTANCE_ID"));
    match old.wait() {
        Event::Fatal(FatalCause::FencedInstanceId(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(old.log.group(), None);
    cluster.advance(Duration::from_secs(20));
    assert!(twin.poll().is_none() && twin.log.group().is_some());
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
    assert_eq!(zombie.offsets(Lane::A, 1), refused_membership("UNKNOWN_MEMBER_ID"));
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
        match one.poll() {
            None => {}
            Some(Event::Assigned { partitions }) => assert_eq!(partitions, []),
            Some(other) => panic!("{other:?}"),
        }
        cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
    }
    assert_eq!(one.log.group().expect("a member").generation(), before + 1);
}
