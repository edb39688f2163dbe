//! Many seeds: each one run, checked, and its faults counted by the phase that they met.

use std::collections::BTreeMap;

use crate::{
    faults::{Fault, PHASES},
    scenario::{Report, Scenario},
    tracer::traced,
    world::World,
};

fn seeds() -> u64 {
    std::env::var("TIDEMILL_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

fn check(seed: u64, report: &Report) {
    let replay = format!("replay: ./dev sim --seed {seed}");
    assert!(report.problems.is_empty(), "seed {seed}: {:#?}\n{replay}", report.problems);
    assert!(report.verdict.is_clean(), "seed {seed}: {:#?}\n{replay}", report.verdict);
    let faults: u64 = report.met.values().sum();
    assert!(faults >= 3, "seed {seed}: only {faults} faults took effect\n{replay}");
    assert!(report.epochs >= 3, "seed {seed}: only {} epochs\n{replay}", report.epochs);
}

#[test]
fn every_seed_is_exactly_once() {
    if let Some(seed) = std::env::var("TIDEMILL_SIM_SEED").ok().and_then(|n| n.parse().ok()) {
        let scenario = Scenario { trace: true, ..Scenario::of_seed(seed) };
        let report = traced(|| World::new(scenario).run());
        println!("{report:#?}");
        return check(seed, &report);
    }
    let mut table: BTreeMap<(Fault, &'static str), u64> = BTreeMap::new();
    let mut total = [0_u64; 4];
    for seed in 0..seeds() {
        let report = World::new(Scenario::of_seed(seed)).run();
        check(seed, &report);
        for (cell, count) in &report.met {
            *table.entry(*cell).or_default() += count;
        }
        let counters = [report.epochs, report.aborted, report.resolved, report.takeovers];
        for (sum, count) in total.iter_mut().zip(counters) {
            *sum += count;
        }
    }
    let [epochs, aborted, resolved, takeovers] = total;
    println!(
        "{} seeds: {epochs} epochs, {aborted} aborted, {resolved} resolved, {takeovers} takeovers",
        seeds()
    );
    print_table(&table);
}

fn print_table(table: &BTreeMap<(Fault, &'static str), u64>) {
    print!("{:<14}", "fault\\phase");
    for phase in PHASES {
        print!("{phase:>10}");
    }
    println!();
    let mut empty = vec![];
    for fault in Fault::ALL {
        print!("{:<14}", format!("{fault:?}"));
        for phase in PHASES {
            let count = table.get(&(fault, phase)).copied().unwrap_or_default();
            print!("{count:>10}");
            if count == 0 {
                empty.push((fault, phase));
            }
        }
        println!();
    }
    if seeds() >= 2_000 {
        assert!(empty.is_empty(), "no fault met these cells: {empty:?}");
    }
}

#[test]
fn a_seed_run_twice_is_identical() {
    for seed in 0..20 {
        let first = World::new(Scenario::of_seed(seed)).run();
        let second = World::new(Scenario::of_seed(seed)).run();
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(first.virtual_time, second.virtual_time, "seed {seed}");
    }
}
