//! Defects of real brokers, directed: a commit whose marker never comes (facts 9.6), an EndTxn that
//! arrives twice (facts 9.7).

use std::time::Duration;

use tidemill::{
    record::TopicPartition,
    runtime::{Lane, mutants::Mutant},
    testing::{Fate, FaultKind, LaneRequest},
};

use crate::{oracle, scenario::Scenario, topology, world::World};

const CHANGELOG: &str = "sim-accounts-changelog";

fn scenario(mutant: Mutant) -> Scenario {
    Scenario { faults: 0, transfers: 200, slow_markers: 0.0, mutant, ..Scenario::of_seed(1) }
}

/// The reasons for which tasks are stopped, of all instances.
fn stopped(world: &World) -> Vec<String> {
    let threads = world.instances.iter().flat_map(|i| i.status.view().into_values());
    let tasks = threads.flat_map(|thread| thread.tasks);
    tasks.filter_map(|task| task.blocked).filter(|reason| reason.contains("stopped")).collect()
}

/// The marker of a commit into one changelog partition never comes, and the client does not hear
/// of the commit either.
///
/// Epochs do not overlap: where a younger transaction of the same id has written there already and
/// is aborted now, the marker of its abort stands for the missing one and destroys the committed
/// epoch (facts 9.6). Then there is no missing marker any more for which a task could stop.
fn with_missing_marker(mutant: Mutant) -> (World, TopicPartition) {
    let mut world = World::new(Scenario { pipelining: false, ..scenario(mutant) });
    world.run_until(|w| {
        w.instances.iter().map(|i| i.thread.counters().epochs_committed).sum::<u64>() > 20
    });
    let changelog = TopicPartition::new(CHANGELOG, 1);
    world.cluster().lose_marker(&changelog);
    world.run_until(|w| w.cluster().fault_counts().contains_key(&FaultKind::LostMarker));
    for lane in Lane::ALL {
        for name in ["i0", "i1"] {
            world.cluster().lose_answer(name, lane, LaneRequest::Commit, Fate::NotApplied);
        }
    }
    (world, changelog)
}

#[test]
fn a_task_whose_commit_has_no_marker_stops_with_that_reason_and_writes_nothing_more() {
    let (mut world, changelog) = with_missing_marker(Mutant::None);
    world.run_until(|w| !stopped(w).is_empty());
    let reasons = stopped(&world);
    assert!(reasons.iter().all(|r| r.contains("marker is missing")), "{reasons:?}");
    let before = world.cluster().written_over_missing_marker(&changelog);
    let until = world.cluster().now().mono + Duration::from_secs(20);
    world.run_until(|w| w.cluster().now().mono > until);
    assert_eq!(world.cluster().written_over_missing_marker(&changelog), before);
    let others = world.instances.iter().map(|i| i.thread.running_tasks().len()).sum::<usize>();
    assert_eq!(others, 4 + 3 - 1, "the other tasks go on");
    // An operator writes the marker: the task starts again by itself, and nothing was lost.
    world.cluster().write_lost_markers();
    world.run_until(World::is_done);
    let verdict =
        oracle::check(200, &world.seen(topology::POSTINGS), &world.seen(topology::BALANCES));
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(world.problems(), &[] as &[String]);
}

#[cfg(feature = "mutants")]
#[test]
fn writing_over_a_missing_marker_is_seen() {
    let (mut world, changelog) = with_missing_marker(Mutant::MissingMarkerIgnored);
    let before = world.cluster().written_over_missing_marker(&changelog);
    let until = world.cluster().now().mono + Duration::from_secs(30);
    world.run_until(|w| {
        w.cluster().now().mono > until
            || w.cluster().written_over_missing_marker(&changelog) > before
    });
    assert!(world.cluster().written_over_missing_marker(&changelog) > before);
    assert!(stopped(&world).is_empty());
}

#[test]
fn an_end_of_a_transaction_that_arrives_twice_hits_no_other_one() {
    let mut met = 0;
    for seed in 0..20 {
        let often = Scenario { seed, duplicates: 0.5, ..scenario(Mutant::None) };
        let mut world = World::new(often);
        world.run_until(World::is_done);
        met += world.cluster().fault_counts()[&FaultKind::DuplicatedEnd];
        let verdict =
            oracle::check(200, &world.seen(topology::POSTINGS), &world.seen(topology::BALANCES));
        assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
        assert_eq!(world.problems(), &[] as &[String], "seed {seed}");
        assert_eq!(world.cluster().violations(), [] as [String; 0], "seed {seed}");
    }
    assert!(met > 200, "only {met} ends of transactions arrived twice");
}
