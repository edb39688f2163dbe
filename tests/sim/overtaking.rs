//! Requests that arrive after their client has moved on (facts 3.1, trap 9): what the engine does
//! about them, and that it is needed.

use std::{collections::BTreeMap, time::Duration};

use tidemill::{
    runtime::mutants::Mutant,
    testing::{Awaits, CoordinatorRequest, FaultKind, MovedOn},
};

use crate::{
    oracle,
    scenario::Scenario,
    topology::{BALANCES, POSTINGS},
    world::{MS, World},
};

const TRANSFERS: u64 = 300;

/// Nothing goes wrong in it but what a test directs.
fn scenario(seed: u64, mutant: Mutant) -> Scenario {
    Scenario {
        faults: 0,
        transfers: TRANSFERS,
        slow_markers: 0.0,
        duplicates: 0.0,
        patience: Duration::from_secs(120),
        mutant,
        ..Scenario::of_seed(seed)
    }
}

/// All that the checks say of a world that is done.
fn findings(world: &World) -> Vec<String> {
    let verdict = oracle::check(TRANSFERS, &world.seen(POSTINGS), &world.seen(BALANCES));
    let mut all = world.problems().to_vec();
    all.extend(world.cluster().violations());
    all.extend([verdict.lost, verdict.duplicated, verdict.wrong].into_iter().flatten());
    all
}

/// Runs to the end with every tenth epoch's EndTxn held back until after its producer has gone on.
/// Gives how many arrived late, and what the checks found.
fn with_late_ends(seed: u64, mutant: Mutant, moved_on: MovedOn) -> (u64, Vec<String>) {
    let mut world = World::new(scenario(seed, mutant));
    let mut held = 0;
    let mut next = 0;
    // Broken, it may fail, or never end: both are found.
    while held < 6 && world.problems().is_empty() {
        next += 10;
        let committed = |w: &World| -> u64 {
            w.instances.iter().map(|i| i.thread.counters().epochs_committed).sum()
        };
        let late = world.cluster().now().mono + Duration::from_secs(10);
        world.run_until(|w| committed(w) >= next || w.cluster().now().mono > late);
        held += 1;
        let end = CoordinatorRequest::EndTransaction;
        world.cluster().hold("i0", end, Awaits::Successor, moved_on);
    }
    let until = world.cluster().now().mono + Duration::from_secs(60);
    world.run_until(|w| w.is_done() || w.cluster().now().mono > until);
    let late = FaultKind::HeldBack(CoordinatorRequest::EndTransaction, moved_on);
    let late = world.cluster().fault_counts().get(&late).copied().unwrap_or_default();
    world.cluster().release_held();
    (late, findings(&world))
}

#[test]
fn a_late_end_of_an_abandoned_producer_hits_no_later_transaction() {
    let mut late = 0;
    for seed in 0..20 {
        for moved_on in [MovedOn::GaveUp, MovedOn::SentAgain] {
            let (met, found) = with_late_ends(seed, Mutant::None, moved_on);
            assert_eq!(found, [] as [String; 0], "seed {seed}, {moved_on:?}");
            late += met;
        }
    }
    assert!(late > 100, "only {late} ends of transactions came late");
}

#[cfg(feature = "mutants")]
#[test]
fn an_abandoned_producer_that_goes_on_is_hit_by_its_late_end() {
    for moved_on in [MovedOn::GaveUp, MovedOn::SentAgain] {
        let found = (0..20).find_map(|seed| {
            let (_, found) = with_late_ends(seed, Mutant::KeepsDisturbedProducer, moved_on);
            found.into_iter().next()
        });
        println!("{moved_on:?}: {found:?}");
        assert!(found.is_some(), "{moved_on:?}: nothing was seen");
    }
}

/// The owner of a task dies while that request is on its way; it arrives after others have asked
/// for the offsets that it changes.
fn with_overtaken(seed: u64, mutant: Mutant, request: CoordinatorRequest) -> (u64, Vec<String>) {
    let mut world = World::new(scenario(seed, mutant));
    world.run_until(|w| {
        w.instances.iter().map(|i| i.thread.counters().epochs_committed).sum::<u64>() > 20
    });
    world.cluster().hold("i0", request, Awaits::OtherOwners, MovedOn::GaveUp);
    world.run_until(|w| w.cluster().holds_back("i0"));
    let now = world.cluster().now();
    let index = world.instances.iter().position(|i| i.name == "i0").unwrap();
    world.crash(index, now);
    // Longer than the session, so that the other one takes over.
    world.restarts = vec![(now.mono + 20_000 * MS, "i0".to_owned())];
    let until = now.mono + Duration::from_secs(60);
    world.run_until(|w| w.is_done() && w.restarts.is_empty() || w.cluster().now().mono > until);
    let gone = FaultKind::HeldBack(request, MovedOn::Gone);
    let met = world.cluster().fault_counts().get(&gone).copied().unwrap_or_default();
    (met, findings(&world))
}

#[test]
fn what_a_dead_owner_had_on_its_way_is_in_time_or_refused() {
    let requests = [CoordinatorRequest::SendOffsets, CoordinatorRequest::EndTransaction];
    let mut met = BTreeMap::new();
    for seed in 0..20 {
        for request in requests {
            let (count, found) = with_overtaken(seed, Mutant::None, request);
            assert_eq!(found, [] as [String; 0], "seed {seed}, {request:?}");
            *met.entry(request).or_insert(0) += count;
        }
    }
    assert_eq!(met, BTreeMap::from(requests.map(|request| (request, 20))));
}

#[cfg(feature = "mutants")]
#[test]
fn offsets_that_are_asked_for_before_a_dead_owners_end_arrives_must_be_stable() {
    let found = (0..20).find_map(|seed| {
        let end = CoordinatorRequest::EndTransaction;
        with_overtaken(seed, Mutant::UnstableOffsets, end).1.into_iter().next()
    });
    println!("{found:?}");
    assert!(found.is_some(), "offsets were read before they were stable, and nothing was seen");
}
