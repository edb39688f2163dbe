//! Many seeds: each one run twice, compared, checked, and its faults counted by the phase that
//! they met.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tidemill::testing::{CoordinatorRequest, FaultKind, MovedOn};

use crate::{
    faults::{Fault, PHASES},
    scenario::{Report, Scenario},
    tracer::traced,
    world::World,
};

/// After so many failures no further seed is run.
const FAILURES_MAX: usize = 10;
/// From so many seeds on, a table with an empty cell is a defect of the faults.
const SEEDS_FOR_ALL_CELLS: u64 = 2_000;

fn seeds() -> u64 {
    std::env::var("TIDEMILL_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// What is wrong with a run, and how to see it again.
fn check(seed: u64, report: &Report) -> Result<(), String> {
    let faults: u64 = report.met.values().sum();
    let problem = if !report.problems.is_empty() {
        format!("{:#?}", report.problems)
    } else if !report.verdict.is_clean() {
        format!("{:#?}", report.verdict)
    } else if faults < 3 {
        format!("only {faults} faults took effect")
    } else if report.epochs < 3 {
        format!("only {} epochs", report.epochs)
    } else {
        return Ok(());
    };
    Err(format!("seed {seed}: {problem}\nreplay: ./dev sim --seed {seed}"))
}

/// What has to be the same when a seed runs again: all that happened, in order and to the
/// nanosecond, and what the logs hold in the end.
type Trail = (u64, u64, Duration);

/// What is known of all runs so far.
#[derive(Default)]
struct Sum {
    met: BTreeMap<(Fault, &'static str), u64>,
    kinds: BTreeMap<FaultKind, u64>,
    totals: [u64; 5],
    /// Of seeds that ran once.
    trails: BTreeMap<u64, Trail>,
    compared: u64,
    failures: BTreeSet<(u64, String)>,
}

impl Sum {
    fn take(&mut self, seed: u64, report: &Report) {
        let trail = (report.fingerprint, report.logs, report.virtual_time);
        if let Some(other) = self.trails.remove(&seed) {
            self.compared += 1;
            if other != trail {
                let text = format!("seed {seed} ran twice, and differs: {other:?}, {trail:?}");
                self.failures.insert((seed, text));
            }
            return;
        }
        self.trails.insert(seed, trail);
        for (cell, count) in &report.met {
            *self.met.entry(*cell).or_default() += count;
        }
        for (kind, count) in &report.kinds {
            *self.kinds.entry(*kind).or_default() += count;
        }
        let counters =
            [report.epochs, report.aborted, report.resolved, report.takeovers, report.steps];
        for (sum, count) in self.totals.iter_mut().zip(counters) {
            *sum += count;
        }
    }
}

/// Runs each seed twice, on all cores, the two runs of a seed mostly on different threads.
fn run_all(seeds: u64) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let worker = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            let seed = run / 2;
            if seed >= seeds || sum.lock().unwrap().failures.len() >= FAILURES_MAX {
                return;
            }
            // Equal digests of all logs have equal verdicts.
            let scenario = Scenario { judged: run % 2 == 0, ..Scenario::of_seed(seed) };
            let report = catch_unwind(AssertUnwindSafe(|| World::new(scenario).run()));
            let mut sum = sum.lock().unwrap();
            match report {
                Ok(report) => {
                    sum.take(seed, &report);
                    if let Err(failure) = check(seed, &report) {
                        sum.failures.insert((seed, failure));
                    }
                }
                Err(_) => {
                    let text = format!("seed {seed} panicked\nreplay: ./dev sim --seed {seed}");
                    sum.failures.insert((seed, text));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(worker);
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn every_seed_is_exactly_once_and_the_same_again() {
    if let Some(seed) = std::env::var("TIDEMILL_SIM_SEED").ok().and_then(|n| n.parse().ok()) {
        let scenario = Scenario { trace: true, ..Scenario::of_seed(seed) };
        let report = traced(|| World::new(scenario).run());
        println!("{report:#?}");
        return check(seed, &report).unwrap();
    }
    #[allow(clippy::disallowed_methods, reason = "how long it took is for people to see")]
    let began = Instant::now();
    let sum = run_all(seeds());
    if let Some((_, failure)) = sum.failures.first() {
        let seeds: BTreeSet<u64> = sum.failures.iter().map(|(seed, _)| *seed).collect();
        panic!("seeds {seeds:?} failed; the first one:\n{failure}");
    }
    assert_eq!((sum.compared, sum.trails.len()), (seeds(), 0));
    let [epochs, aborted, resolved, takeovers, steps] = sum.totals;
    println!(
        "{} seeds, each twice and the same, in {:.1} s: {epochs} epochs, {aborted} aborted, \
         {resolved} resolved, {takeovers} takeovers, {steps} steps",
        seeds(),
        began.elapsed().as_secs_f64()
    );
    let mut empty = print_phases(&sum.met);
    empty.extend(print_late(&sum.kinds));
    if seeds() >= SEEDS_FOR_ALL_CELLS {
        assert!(empty.is_empty(), "no fault met these cells: {empty:?}");
    }
}

/// Faults by the phase of the epoch that they met; gives the empty cells.
fn print_phases(met: &BTreeMap<(Fault, &'static str), u64>) -> Vec<String> {
    print!("{:<16}", "fault\\phase");
    for phase in PHASES {
        print!("{phase:>10}");
    }
    println!();
    let mut empty = vec![];
    for fault in Fault::ALL {
        print!("{:<16}", format!("{fault:?}"));
        for phase in PHASES {
            let count = met.get(&(fault, phase)).copied().unwrap_or_default();
            print!("{count:>10}");
            if count == 0 {
                empty.push(format!("{fault:?} in {phase}"));
            }
        }
        println!();
    }
    empty
}

/// Late requests to coordinators by how they were late; gives the empty cells.
fn print_late(kinds: &BTreeMap<FaultKind, u64>) -> Vec<String> {
    print!("{:<16}{:>10}{:>10}", "late\\how", "delayed", "overtaken");
    for moved_on in MovedOn::ALL {
        print!("{:>10}", format!("{moved_on:?}"));
    }
    println!();
    let mut empty = vec![];
    for request in CoordinatorRequest::ALL {
        print!("{:<16}", format!("{request:?}"));
        let held = MovedOn::ALL.map(|moved_on| FaultKind::HeldBack(request, moved_on));
        let columns = [FaultKind::Delayed(request), FaultKind::Overtaken(request)];
        for kind in columns.into_iter().chain(held) {
            let possible = match kind {
                // Only a producer's client repeats a request by itself.
                FaultKind::HeldBack(_, MovedOn::SentAgain) => request.is_of_producer(),
                // Who leaves is gone by the time.
                FaultKind::HeldBack(_, MovedOn::GaveUp) => request != CoordinatorRequest::Leave,
                _ => true,
            };
            match kinds.get(&kind) {
                Some(count) => print!("{count:>10}"),
                None if possible => {
                    print!("{:>10}", 0);
                    empty.push(format!("{kind:?}"));
                }
                None => print!("{:>10}", "-"),
            }
        }
        println!();
    }
    empty
}
