//! A session: what all workloads of one call share, and what they found.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    cluster::Cluster,
    input::Input,
    load, report,
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
}

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
    number: usize,
}

/// One system within a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) system: System,
    pub(crate) epoch_ms: u64,
    pub(crate) paced: bool,
}

/// A system with an epoch, without a paced load.
pub(crate) fn entry(system: System, epoch_ms: u64) -> Entry {
    Entry { system, epoch_ms, paced: false }
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
        }
    }

    /// Runs all entries on the same input, one after the other, as often as the size says.
    pub(crate) fn compare(
        &mut self,
        title: &str,
        operation: Operation,
        input: Input,
        entries: &[Entry],
    ) -> Result<Comparison> {
        report::line(format_args!("\n{title}: {} records", self.size.records));
        report::line(HEADER);
        let mut runs = Vec::new();
        for _ in 0..self.size.repetitions {
            for entry in entries {
                if let Ok(only) = std::env::var("BENCH_ONLY")
                    && !entry.system.to_string().contains(&only)
                {
                    continue;
                }
                let measured = self.measure(*entry, operation, input)?;
                report::line(row(&measured));
                if !measured.verdict.holds() {
                    let example = measured.verdict.example.clone().unwrap_or_default();
                    let line = format!("{title}, {}: wrong output: {example}", measured.name);
                    report::line(format_args!("  WRONG: {line}"));
                    if entry.system != System::Tidemill {
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

    fn measure(&mut self, entry: Entry, operation: Operation, input: Input) -> Result<Measured> {
        load::preload(&self.cluster, input, self.size.records)?;
        let job = self.job(entry, operation, input);
        let paced = PacedPart { load: 0.5, seconds: self.size.paced_s };
        let measured = Run::start(&self.place, &self.cluster, &job)
            .and_then(|run| run.measure(self.size.records, entry.paced.then_some(paced)))
            .with_context(|| {
                format!("{} (logs in {})", job.system, job.directory(&self.place).display())
            })?;
        run::clean(&self.place, &self.cluster, &job)?;
        Ok(measured)
    }

    /// A peer that comes out more than 30 % worse than measured on a quiet machine says nothing.
    pub(crate) fn check_not_slowed(&mut self, comparison: &Comparison, known: &[(Entry, f64)]) {
        for (entry, best) in known {
            let cost = comparison.cost(entry.system, entry.epoch_ms);
            if cost > best * 1.3 {
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
                      p50/p99 ms    stall p99   foreign  check";

fn row(run: &Measured) -> String {
    let latency = run.latency.as_ref();
    let latency = latency.map_or_else(String::new, |l| format!("{:.0}/{:.0}", l.p50, l.p99));
    let check = if run.verdict.holds() { "ok" } else { "WRONG" };
    format!(
        "{:<28} {:>5} {:>9.0} {:>8.2} {:>8.2} {:>7.2} {:>7.0} {latency:>13} {:>9.0} ms {:>8.1}  {check}",
        run.name,
        run.epoch_ms,
        run.records_per_s / 1e3,
        run.cost,
        run.cost_total,
        run.broker_cost,
        run.peak_rss_bytes as f64 / 1e6,
        run.stall_ms(0.99),
        run.foreign_cores,
    )
}
