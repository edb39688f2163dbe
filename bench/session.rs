//! A session: what all workloads of one call share, and what they found.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    cgroup::MemoryCgroup,
    cluster::Cluster,
    input::Input,
    launch::Launch,
    load,
    quiet::{Look, Quiet},
    report,
    run::{self, Measured, PacedPart, Run},
    systems::{Job, Operation, Place, System},
    target::Target,
};

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Size {
    /// Whether everything has to be over within five minutes.
    pub(crate) quick: bool,
    /// Records of a backlog.
    pub(crate) records: u64,
    /// Runs of each system.
    pub(crate) repetitions: usize,
    /// Seconds of a paced load.
    pub(crate) paced_s: f64,
    /// Costs count from this part of a backlog on: groups have settled, and the JVM is warm.
    pub(crate) warm: f64,
    /// How long an idle machine is waited for before each run, in seconds.
    pub(crate) idle_wait_s: u64,
}

/// What a comparison works off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) operation: Operation,
    pub(crate) input: Input,
    pub(crate) records: u64,
    pub(crate) repetitions: usize,
}

/// See [`Session::warm`].
const WARM_COPIES: f64 = 0.1;

/// A group of runs on the same input, interleaved.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    pub(crate) title: String,
    /// Every run, in the order in which they were made.
    pub(crate) runs: Vec<Measured>,
}

/// The session.
pub(crate) struct Session {
    pub(crate) place: Place,
    pub(crate) cluster: Cluster,
    pub(crate) size: Size,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) targets: Vec<Target>,
    /// Why the session proves nothing.
    pub(crate) invalid: Vec<String>,
    /// Where Tidemill's output was wrong.
    pub(crate) wrong: Vec<String>,
    /// Runs and other measurements, and those before which the machine was not idle.
    pub(crate) runs: (usize, usize),
    number: usize,
}

/// One system within a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) system: System,
    pub(crate) epoch_ms: u64,
    pub(crate) paced: bool,
    /// What the process may take of memory in bytes.
    pub(crate) memory: Option<u64>,
}

/// A system with an epoch, without a paced load.
pub(crate) fn entry(system: System, epoch_ms: u64) -> Entry {
    Entry { system, epoch_ms, paced: false, memory: None }
}

impl Session {
    pub(crate) fn new(place: Place, size: Size) -> Result<Self> {
        let cluster = Cluster::connect(&place.bootstrap)?;
        Ok(Self {
            place,
            cluster,
            size,
            comparisons: vec![],
            targets: vec![],
            invalid: vec![],
            wrong: vec![],
            runs: (0, 0),
            number: 0,
        })
    }

    /// A job with an application of its own.
    pub(crate) fn job(&mut self, entry: Entry, operation: Operation, input: Input) -> Job {
        self.number += 1;
        Job {
            system: entry.system,
            operation,
            input,
            epoch_ms: entry.epoch_ms,
            application: format!("bench-{}-{}", std::process::id(), self.number),
            settings: vec![],
            memory: entry.memory,
            launch: Launch { pinned: self.place.pinned, entrance: None },
        }
    }

    /// What a comparison works off where a workload says nothing else.
    pub(crate) fn backlog(&self, operation: Operation, input: Input) -> Backlog {
        let Size { records, repetitions, .. } = self.size;
        Backlog { operation, input, records, repetitions }
    }

    /// Waits for an idle machine before something is measured.
    pub(crate) fn settle(&mut self) -> Quiet {
        let quiet = Quiet::wait(Look::new(self.size.quick, self.size.idle_wait_s));
        self.runs.0 += 1;
        self.runs.1 += usize::from(quiet.disturbed());
        quiet
    }

    /// Runs all entries on the same input, one after the other, as often as the backlog says.
    pub(crate) fn compare(
        &mut self,
        title: &str,
        backlog: Backlog,
        entries: &[Entry],
    ) -> Result<Comparison> {
        report::line(format_args!("\n{title}: {} records", backlog.records));
        report::line(HEADER);
        let mut runs = Vec::new();
        for _ in 0..backlog.repetitions {
            for entry in entries {
                let measured = self.measure(*entry, backlog)?;
                report::line(row(&measured));
                if !measured.verdict.holds() {
                    let example = measured.verdict.example.clone().unwrap_or_default();
                    let line = format!("{title}, {}: wrong output: {example}", measured.name);
                    report::line(format_args!("  WRONG: {line}"));
                    if entry.system == System::Tidemill {
                        self.wrong.push(line);
                    } else {
                        self.invalid.push(line);
                    }
                }
                runs.push(measured);
            }
        }
        let comparison = Comparison { title: title.to_owned(), runs };
        self.comparisons.push(comparison.clone());
        Ok(comparison)
    }

    fn measure(&mut self, entry: Entry, backlog: Backlog) -> Result<Measured> {
        let Backlog { operation, input, records, .. } = backlog;
        load::preload(&self.cluster, input, records)?;
        let mut job = self.job(entry, operation, input);
        // A group per run: what the one before left in the page cache is not this one's.
        let group = entry.memory.and_then(|bytes| MemoryCgroup::make(bytes).ok());
        job.launch.entrance = group.as_ref().map(MemoryCgroup::entrance);
        let quiet = self.settle();
        let paced = PacedPart { load: 0.5, seconds: self.size.paced_s };
        let warm = self.warm(entry.system, operation);
        let mut measured = Run::start(&self.place, &self.cluster, &job)
            .and_then(|run| run.measure(records, warm, entry.paced.then_some(paced)))
            .with_context(|| {
                let killed = group.as_ref().and_then(|group| group.kills().ok()).unwrap_or(0);
                let killed =
                    if killed > 0 { "killed by the kernel at its memory cap; " } else { "" };
                let logs = job.directory(&self.place);
                format!("{} ({killed}logs in {})", job.system, logs.display())
            })?;
        measured.idle_before = quiet.idle;
        measured.disturbed = quiet.disturbed();
        run::clean(&self.place, &self.cluster, &job)?;
        Ok(measured)
    }

    /// From which part of a backlog on costs count. What only copies has no state to grow and, but
    /// for the JVM, nothing to warm up; epochs of a second need the rest for themselves.
    fn warm(&self, system: System, operation: Operation) -> f64 {
        match (system, operation) {
            (System::Streams { .. }, _) | (_, Operation::Count) => self.size.warm,
            (_, Operation::Map) => WARM_COPIES,
        }
    }

    /// A peer that comes out more than 30 % worse than measured on a quiet machine says nothing.
    pub(crate) fn check_not_slowed(&mut self, comparison: &Comparison, known: &[(Entry, f64)]) {
        for (entry, best) in known {
            let cost = comparison.cost(entry.system, entry.epoch_ms);
            if cost.is_nan() {
                let line = format!("{}: {} has no figure", comparison.title, entry.system);
                self.invalid.push(line);
            } else if cost > best * 1.3 {
                self.invalid.push(format!(
                    "{}: {} took {cost:.2} CPU-s per million records, more than 1.3 x {best}",
                    comparison.title, entry.system
                ));
            }
        }
    }
}

impl Comparison {
    /// The runs of a system at an epoch.
    pub(crate) fn of(&self, system: System, epoch_ms: u64) -> impl Iterator<Item = &Measured> {
        self.runs.iter().filter(move |run| run.system == system && run.epoch_ms == epoch_ms)
    }

    /// The median over the runs of a system; not a number without any.
    pub(crate) fn median(
        &self,
        system: System,
        epoch_ms: u64,
        value: impl Fn(&Measured) -> f64,
    ) -> f64 {
        let mut values: Vec<f64> = self.of(system, epoch_ms).map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The median cost of a system, in CPU-seconds per million records.
    pub(crate) fn cost(&self, system: System, epoch_ms: u64) -> f64 {
        self.median(system, epoch_ms, |run| run.cost)
    }

    /// The median of records per CPU-second; a wrong run counts as zero.
    pub(crate) fn speed(&self, system: System, epoch_ms: u64) -> f64 {
        self.median(system, epoch_ms, Measured::records_per_cpu_s)
    }

    /// The fastest of the Kafka Streams that took part, and its records per CPU-second.
    pub(crate) fn best_streams(&self, epoch_ms: u64) -> (System, f64) {
        let mut speeds: BTreeMap<System, f64> = BTreeMap::new();
        for run in &self.runs {
            if let System::Streams { .. } = run.system {
                speeds.entry(run.system).or_insert_with(|| self.speed(run.system, epoch_ms));
            }
        }
        let best = speeds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        best.unwrap_or((System::Streams { cache_mib: 0 }, f64::NAN))
    }
}

const HEADER: &str = "system                       epoch   k rec/s  CPU-s/M  (total)  broker  RSS MB   \
                      p50/p99 ms    stall p99   foreign  idle before  output";

/// A load that is later than this is named beside the latency that it is part of.
const LATE_MS: f64 = 20.0;

fn row(run: &Measured) -> String {
    let latency = run.latency.as_ref();
    let latency = latency.map_or_else(String::new, |l| format!("{:.0}/{:.0}", l.p50, l.p99));
    let check = if run.verdict.holds() { "right" } else { "WRONG" };
    let disturbed = if run.disturbed { " (disturbed)" } else { "" };
    let stall = run.stall_ms(0.99);
    let stall = if stall.is_nan() { "-".to_owned() } else { format!("{stall:.0} ms") };
    let late = run.load_late_ms.filter(|late| *late > LATE_MS);
    let late = late.map_or_else(String::new, |late| format!(" (load late by {late:.0} ms)"));
    format!(
        "{:<28} {:>5} {:>9.0} {:>8.2} {:>8.2} {:>7.2} {:>7.0} {latency:>13} {stall:>12} {:>8.1} {:>10.0} %  \
         {check}{disturbed}{late}",
        run.name,
        run.epoch_ms,
        run.records_per_s / 1e3,
        run.cost,
        run.cost_total,
        run.broker_cost,
        run.peak_rss_bytes as f64 / 1e6,
        run.foreign_cores,
        run.idle_before * 1e2,
    )
}
