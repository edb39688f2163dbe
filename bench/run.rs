//! One measured run: a system works off a backlog, then (if asked) keeps up with a paced load in
//! the same process; then its output is checked.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    changelog::{self, Changelog},
    clock,
    cluster::Cluster,
    latency::{Quantiles, Reader},
    load::{self, Paced, Sent},
    oracle::{self, Verdict, Wrong},
    process::{self, Process, Usage},
    progress::Progress,
    stalls,
    systems::{Job, Place, System},
};

/// How often progress is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Without any progress for this long, a run has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of a paced load, this part is not counted.
const PACED_WARM: f64 = 0.25;

/// A paced load at a part of what the backlog showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacedPart {
    pub(crate) load: f64,
    pub(crate) seconds: f64,
}

/// What a run gave. Cost is in CPU-seconds per million input records.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) system: System,
    pub(crate) name: String,
    pub(crate) epoch_ms: u64,
    pub(crate) records: u64,
    /// From the first to the last commit.
    pub(crate) wall_s: f64,
    /// Records per second of wall time after the first commit.
    pub(crate) records_per_s: f64,
    /// The process from its start on.
    pub(crate) cost_total: f64,
    /// The process while it is warm: the last part of the input.
    pub(crate) cost: f64,
    /// The broker in the same time.
    pub(crate) broker_cost: f64,
    pub(crate) peak_rss_bytes: u64,
    /// Processors that neither the system nor the broker kept busy, on average: the neighbors,
    /// and this program.
    pub(crate) foreign_cores: f64,
    /// The idle part of the machine before the run.
    pub(crate) idle_before: f64,
    /// Whether something else was at work before the run.
    pub(crate) disturbed: bool,
    /// What the process could take of memory, where that was bounded.
    pub(crate) memory_cap_bytes: Option<u64>,
    /// Whether a cgroup saw to it.
    pub(crate) in_cgroup: bool,
    pub(crate) latency: Option<Quantiles>,
    /// Records per second of the paced load.
    pub(crate) paced_per_s: Option<f64>,
    /// How far the load itself was behind its schedule at worst, in milliseconds.
    pub(crate) load_late_ms: Option<f64>,
    /// Pauses between records in milliseconds: (length, how many). L1 does not look.
    pub(crate) stalls: Option<Vec<(u64, u64)>>,
    pub(crate) changelog: Option<Changelog>,
    pub(crate) verdict: Verdict,
}

impl Measured {
    /// Records per CPU-second; zero for a wrong run, not a number without a figure.
    pub(crate) fn records_per_cpu_s(&self) -> f64 {
        match self.verdict.holds() {
            true if self.cost > 0.0 => 1e6 / self.cost,
            true => f64::NAN,
            false => 0.0,
        }
    }

    /// The q-quantile of the pause at an epoch: as many pauses are looked at as there were epochs,
    /// the longest ones. Not a number where nobody looked.
    pub(crate) fn stall_ms(&self, q: f64) -> f64 {
        let epochs = (self.wall_s * 1e3 / self.epoch_ms.max(1) as f64).max(1.0);
        let mut left = ((1.0 - q) * epochs).floor() as u64;
        let Some(stalls) = &self.stalls else { return f64::NAN };
        for (length, count) in stalls.iter().rev() {
            if *count > left {
                return *length as f64;
            }
            left -= count;
        }
        0.0
    }
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    records: u64,
    system: Usage,
    broker: Usage,
    busy_s: f64,
}

/// A run in progress.
pub(crate) struct Run<'a> {
    place: &'a Place,
    cluster: &'a Cluster,
    job: &'a Job,
    process: Process,
    progress: Progress,
    started: Sample,
}

impl<'a> Run<'a> {
    /// Makes the job's topics and starts it.
    pub(crate) fn start(place: &'a Place, cluster: &'a Cluster, job: &'a Job) -> Result<Self> {
        cluster.make_topic(&job.output(), job.input.partitions)?;
        if let (Some(changelog), System::L3 | System::L4) = (job.changelog(), job.system) {
            cluster.make_topic(&changelog, job.input.partitions)?;
        }
        let progress = progress(place, job)?;
        let broker = process::usage(place.broker_pid)?;
        let started = Sample {
            at: clock::now(),
            records: 0,
            system: Usage::default(),
            broker,
            busy_s: process::machine_busy_s(),
        };
        let process = job.start(place, 0)?;
        Ok(Self { place, cluster, job, process, progress, started })
    }

    fn sample(&mut self, records: u64) -> Result<Sample> {
        Ok(Sample {
            at: clock::now(),
            records,
            system: self.process.usage()?,
            broker: process::usage(self.place.broker_pid)?,
            busy_s: process::machine_busy_s(),
        })
    }

    /// Waits until `target` records are committed; samples at the given counts on the way.
    fn until(&mut self, marks: &[u64]) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut last = (0, clock::now());
        while let Some(mark) = marks.get(samples.len()) {
            let records = self.progress.records()?;
            if records != last.0 {
                last = (records, clock::now());
            }
            if records >= *mark {
                let sample = self.sample(records)?;
                samples.push(sample);
                continue;
            }
            if last.1.elapsed() > PATIENCE {
                bail!("{}: stands at {records} of {mark} records", self.job.system);
            }
            self.process.check_alive().with_context(|| self.job.system.to_string())?;
            clock::pause(LOOK_EVERY);
        }
        Ok(samples)
    }

    /// Works off `records` records of backlog, then the paced load; ends the process and checks.
    /// Costs count from the part `warm` of the backlog on.
    pub(crate) fn measure(
        mut self,
        records: u64,
        warm: f64,
        paced: Option<PacedPart>,
    ) -> Result<Measured> {
        let warm = (records as f64 * warm) as u64;
        let samples = self.until(&[1, warm, records])?;
        let [first, warm, done] = samples.as_slice() else { bail!("no samples") };
        let (first, warm, done) = (*first, *warm, *done);
        let wall_s = (done.at - first.at).as_secs_f64();
        let records_per_s = (done.records - first.records) as f64 / wall_s.max(1e-3);
        let kept_up = match paced {
            Some(paced) => {
                Some(self.keep_up(records, records_per_s * paced.load, paced.seconds)?)
            }
            None => None,
        };
        let last = self.process.usage()?;
        self.process.end()?;
        let total = records + kept_up.as_ref().map_or(0, |(_, sent)| sent.records);
        let verdict = oracle::check(self.cluster, self.job, total)?;
        let changelog = changelog::read(self.cluster, self.job, &self.place.broker_data)?;
        let report = self.job.report(self.place);
        let stalls = if report.exists() { Some(stalls::read(&report)?) } else { None };
        let million = |records: u64| records as f64 / 1e6;
        // Not a number where all was committed at once: then nothing is known of the steady part.
        let steady = match done.records - warm.records {
            0 => f64::NAN,
            records => million(records),
        };
        let used = (done.system.cpu_s - warm.system.cpu_s, done.broker.cpu_s - warm.broker.cpu_s);
        let busy = done.busy_s - warm.busy_s - used.0 - used.1;
        Ok(Measured {
            system: self.job.system,
            name: self.job.system.to_string(),
            epoch_ms: self.job.epoch_ms,
            records,
            wall_s,
            records_per_s,
            cost_total: (done.system.cpu_s - self.started.system.cpu_s) / million(done.records),
            cost: used.0 / steady,
            broker_cost: used.1 / steady,
            peak_rss_bytes: last.peak_rss_bytes,
            foreign_cores: busy / (done.at - warm.at).as_secs_f64().max(1e-3),
            idle_before: 1.0,
            disturbed: false,
            memory_cap_bytes: self.job.memory,
            in_cgroup: self.job.launch.entrance.is_some(),
            paced_per_s: paced.map(|paced| records_per_s * paced.load),
            load_late_ms: kept_up.as_ref().map(|(_, sent)| sent.late_ms),
            latency: kept_up.map(|(latency, _)| latency),
            stalls,
            changelog,
            verdict,
        })
    }

    /// Works off `records` records, and ends the process: a measurement of something else follows.
    pub(crate) fn fill(mut self, records: u64) -> Result<()> {
        self.until(&[records])?;
        self.process.end()
    }

    /// A steady load from the first record on: latencies, and the broker's CPU-seconds per second,
    /// once everything runs.
    pub(crate) fn steady(mut self, per_second: f64, seconds: f64) -> Result<(Quantiles, f64)> {
        let input = self.job.input;
        let load = Paced::start(&self.place.bootstrap, input, 0, u64::MAX, per_second)?;
        self.until(&[per_second as u64])?;
        clock::pause(Duration::from_secs(3));
        let reader = Reader::start(self.cluster, &self.job.output(), load::wall_ms())?;
        let before = self.sample(0)?;
        clock::pause(Duration::from_secs_f64(seconds));
        let after = self.sample(0)?;
        let latency = Quantiles::of(&reader.finish()?);
        let sent = load.stop()?.records;
        self.until(&[sent])?;
        self.process.end()?;
        let verdict = oracle::check(self.cluster, self.job, sent)?;
        if !verdict.holds() {
            return Err(Wrong::of(&verdict).into());
        }
        let used = after.broker.cpu_s - before.broker.cpu_s;
        Ok((latency, used / (after.at - before.at).as_secs_f64()))
    }

    /// A paced load beside the running process: latencies, and what was sent.
    fn keep_up(&mut self, from: u64, per_second: f64, seconds: f64) -> Result<(Quantiles, Sent)> {
        let records = (per_second * seconds) as u64;
        let counted_from = load::wall_ms() + seconds * PACED_WARM * 1e3;
        let reader = Reader::start(self.cluster, &self.job.output(), counted_from)?;
        let load = Paced::start(&self.place.bootstrap, self.job.input, from, records, per_second)?;
        let sent = load.finish()?;
        self.until(&[from + sent.records])?;
        // The last records are committed; the reader has them a fetch later.
        clock::pause(Duration::from_millis(500));
        Ok((Quantiles::of(&reader.finish()?), sent))
    }
}

/// The progress of a job.
pub(crate) fn progress(place: &Place, job: &Job) -> Result<Progress> {
    Progress::of(&place.bootstrap, &job.application, job.input)
}

/// Deletes what a job left: topics and directory.
pub(crate) fn clean(place: &Place, cluster: &Cluster, job: &Job) -> Result<()> {
    for topic in cluster.topics(&format!("{}-", job.application))? {
        cluster.delete_topic(&topic)?;
    }
    fs::remove_dir_all(job.directory(place)).context("state directory")
}
