//! An instance id that the group gives to another membership: an older one that a coordinator
//! comes back with (nobody else lives), and a process that does live.

use std::time::Duration;

use tidemill::{runtime::Counters, testing::ClientSettings};

use crate::{oracle, scenario::Scenario, topology, world::World};

const HELD: Duration = Duration::from_secs(40);

fn world() -> World {
    World::new(Scenario { faults: 0, transfers: 400, slow_markers: 0.0, ..Scenario::of_seed(3) })
}

fn counters(world: &World, name: &str) -> Counters {
    world.instances.iter().find(|i| i.name == name).unwrap().thread.counters().clone()
}

fn committed(world: &World) -> u64 {
    world.instances.iter().map(|i| i.thread.counters().epochs_committed).sum()
}

fn assert_exactly_once(world: &World) {
    let verdict =
        oracle::check(400, &world.seen(topology::POSTINGS), &world.seen(topology::BALANCES));
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(world.problems(), &[] as &[String]);
}

#[test]
fn a_member_that_its_own_older_membership_fences_joins_anew_and_loses_nothing() {
    let mut world = world();
    world.run_until(|w| committed(w) > 20);
    world.run_until(|w| w.cluster().fall_back(topology::APP, "i0.0"));
    // Ended, it would have been started again: the same thread goes on.
    world.run_until(|w| counters(w, "i0").memberships_renewed == 1);
    world.run_until(World::is_done);
    assert_exactly_once(&world);
    let counters = counters(&world, "i0");
    assert_eq!(counters.memberships_renewed, 1, "{counters:?}");
    assert_eq!(counters.memberships_lost, 1);
    assert!(!world.instances[0].thread.running_tasks().is_empty());
}

#[test]
fn one_that_is_fenced_again_and_again_joins_ever_more_rarely() {
    let mut world = world();
    let mut joins: Vec<Duration> = vec![];
    for round in 1..=5 {
        world.run_until(|w| {
            !w.instances[0].thread.running_tasks().is_empty()
                && w.cluster().fall_back(topology::APP, "i0.0")
        });
        let fenced_at = world.cluster().now().mono;
        world.run_until(|w| w.instances[0].thread.counters().memberships_renewed == round);
        joins.push(world.cluster().now().mono - fenced_at);
    }
    for (at_least, waited) in [0, 1, 2, 4, 8].into_iter().zip(&joins) {
        let heartbeat = Duration::from_secs(4);
        let at_least = Duration::from_secs(at_least);
        assert!(*waited >= at_least && *waited < at_least + heartbeat, "{joins:?}");
    }
    // Held for a while, it is trusted again.
    let until = world.cluster().now().mono + HELD;
    world.run_until(|w| w.cluster().now().mono > until);
    world.run_until(|w| w.cluster().fall_back(topology::APP, "i0.0"));
    let fenced_at = world.cluster().now().mono;
    world.run_until(|w| w.instances[0].thread.counters().memberships_renewed == 6);
    let waited = world.cluster().now().mono - fenced_at;
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    world.run_until(World::is_done);
    assert_exactly_once(&world);
}

#[test]
fn of_two_live_processes_with_one_instance_id_the_older_ends_and_the_younger_goes_on() {
    let mut world = world();
    world.run_until(|w| committed(w) > 20);
    let session = ClientSettings::new(topology::APP, "i0", 0).session_timeout;
    // The twin has a disk of its own, and the instance id of the first.
    world.start("i0");
    let twin = world.instances.len() - 1;
    let started = world.cluster().now().mono;
    world.run_until(|w| w.instances[0].thread.counters().fenced > 0);
    world.run_until(|w| w.instances.iter().filter(|i| i.name == "i0").count() == 1);
    let lived = world.cluster().now().mono - started;
    assert!(lived > session, "told apart from a dead one after {lived:?}");
    assert_eq!(twin, 2);
    let survivor = world.instances.iter().find(|i| i.name == "i0").unwrap();
    assert_eq!(survivor.thread.counters().fenced, 0, "the younger one was never fenced");
    assert_eq!(world.problems(), &[] as &[String]);
}
