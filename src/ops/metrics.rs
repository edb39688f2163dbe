//! Every metric: its name, type, unit, help, labels, and how it is filled from the status boards.
//!
//! `docs/METRICS.md` lists the same; a test compares them. Gauges and counters are written afresh
//! for each scrape, so that a task that moved away leaves no stale series; only histograms
//! gather over time.

use std::{collections::BTreeMap, sync::Mutex, sync::PoisonError};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::{
    ops::{Board, process::ProcessUsage},
    runtime::{
        Counters, EpochSample, TaskPhase, ThreadStatus,
        memory::{Held, SharedMemory},
    },
};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the thread starts again.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How values are distributed.
    Histogram,
}

/// One metric's definition.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name: `<product>_<noun>_<unit>[_total]`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All, in the order of the documentation.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    RECORDS_IN = "tidemill_records_in_total", Counter, Count, ["application", "thread"],
        "Input records processed; a record that is processed again after an abort counts again.";
    RECORDS_OUT = "tidemill_records_out_total", Counter, Count, ["application", "thread"],
        "Output records emitted to user topics and repartition topics.";
    CHANGELOG_RECORDS = "tidemill_changelog_records_total", Counter, Count, ["application", "thread"],
        "Changelog records written, epoch markers included.";
    SKIPPED_RECORDS = "tidemill_skipped_records_total", Counter, Count, ["application", "thread", "operator"],
        "Elements dropped under the error policy skip (ERR-1).";
    TIMERS_FIRED = "tidemill_timers_fired_total", Counter, Count, ["application", "thread"],
        "Timers fired.";
    EPOCHS = "tidemill_epochs_total", Counter, Count, ["application", "thread", "outcome"],
        "Epochs by outcome: committed, aborted, or resolved after an unknown outcome (EOS-4).";
    EPOCH_PHASE_SECONDS = "tidemill_epoch_phase_seconds", Histogram, Seconds, ["application", "phase"],
        "How long epochs spend in each phase: run, seal, flush, offsets, commit, apply.";
    EPOCH_NUMBER = "tidemill_epoch_number", Gauge, Count, ["application", "thread"],
        "The number of the running epoch.";
    FENCED = "tidemill_fenced_total", Counter, Count, ["application", "thread"],
        "Times that the broker refused this thread as a zombie.";
    TAKEOVERS = "tidemill_takeovers_total", Counter, Count, ["application", "thread"],
        "Producers of dead owners that this thread fenced.";
    REBALANCES = "tidemill_rebalances_total", Counter, Count, ["application", "thread"],
        "Assignments and revocations of partitions.";
    PARTITIONS_LOST = "tidemill_partitions_lost_total", Counter, Count, ["application", "thread"],
        "Partitions lost without having been revoked (EOS-7).";
    MEMBERSHIPS_LOST = "tidemill_memberships_lost_total", Counter, Count, ["application", "thread"],
        "Times that a thread lost its group membership; from the second time in a row on it waits before it joins again, twice as long each time, up to 32 s.";
    MEMBERSHIPS_RENEWED = "tidemill_memberships_renewed_total", Counter, Count, ["application", "thread"],
        "Times that a thread joined anew with a fresh client, after its instance id was fenced by an older membership.";
    REBALANCES_FORCED = "tidemill_rebalances_forced_total", Counter, Count, ["application", "thread"],
        "Rebalances that a thread asked for because a partition had no owner; the same one is asked for ever more rarely.";
    REJOIN_PAUSE = "tidemill_rejoin_pause_seconds", Gauge, Seconds, ["application", "thread"],
        "How long this thread waited, or waits, before it joins again after its last lost membership.";
    TASK_STALLS = "tidemill_task_stalls_total", Counter, Count, ["application", "thread"],
        "Times that a task made no progress for a minute although it should have; the log says why, and it is started anew where that helps.";
    RESTORED_RECORDS = "tidemill_restored_records_total", Counter, Count, ["application", "thread"],
        "Changelog records read by restores.";
    SPILLS = "tidemill_spills_total", Counter, Count, ["application", "thread"],
        "Times that a task's committed layer was written to its byte store.";
    THREADS = "tidemill_threads", Gauge, Count, ["application", "state"],
        "Stream threads by state: starting, joined, ended.";
    TASKS = "tidemill_tasks", Gauge, Count, ["application", "phase"],
        "Tasks by phase: created, restoring, starting, running.";
    TASK_LAG_RECORDS = "tidemill_task_lag_records", Gauge, Count, ["application", "task"],
        "Records between a task's position and the end of its inputs.";
    TASK_BLOCKED = "tidemill_task_blocked", Gauge, Count, ["application", "task"],
        "1 while something keeps a task from advancing; /status says what.";
    RESTORE_REMAINING = "tidemill_restore_remaining_records", Gauge, Count, ["application", "task"],
        "Changelog records that a task still has to restore.";
    STATE_BYTES = "tidemill_state_bytes", Gauge, Bytes, ["application", "task"],
        "Bytes in a task's committed layer and byte store.";
    RESIDENT_BYTES = "tidemill_resident_bytes", Gauge, Bytes, ["application", "task"],
        "Bytes of a task's decoded state entries.";
    MEMORY_BYTES = "tidemill_memory_bytes", Gauge, Bytes, ["application", "thread", "part", "held"],
        "Who holds what of the memory limit (MEM-1), roughly: cache (entries, timers), epochs (overlays running and sealed, outputs), layers (committed, frozen while they are written), fetch and produce (records in the client's queues, and taken by the thread), restore (queue, changes), and of the process, without application and thread, byte-store (blocks, write-buffers).";
    MEMORY_LIMIT_BYTES = "tidemill_memory_limit_bytes", Gauge, Bytes, ["application", "thread", "part"],
        "What each part may hold; all series of a process together are memory.limit. Without application and thread: byte-store, and the reserve for code, stacks and the allocator.";
    MEMORY_WAITS = "tidemill_memory_waits_total", Counter, Count, ["application", "thread"],
        "Steps in which records waited for memory: spills or commits were behind (MEM-1).";
    BUILD_INFO = "tidemill_build_info", Gauge, Count, ["version"],
        "Always 1; the label names the version.";
    PROCESS_CPU = "process_cpu_seconds_total", Counter, Seconds, [],
        "User and system CPU time of the process, in whole seconds.";
    PROCESS_RESIDENT = "process_resident_memory_bytes", Gauge, Bytes, [],
        "Resident memory of the process.";
    PROCESS_FILES = "process_open_fds", Gauge, Count, [],
        "Open file descriptors of the process.";
    PROCESS_THREADS = "process_threads", Gauge, Count, [],
        "Operating system threads of the process.";
}

/// Bucket bounds of the histogram, in seconds: an epoch is 100 ms by default, its phases less.
const PHASE_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

const RECORDED: Metadata<'static> = Metadata::new("tidemill", Level::INFO, None);

/// Renders the boards in Prometheus' text format.
pub(super) struct Exporter {
    /// Lives as long as the process: samples are taken from the boards once.
    histograms: Mutex<PrometheusRecorder>,
}

impl Exporter {
    /// An exporter with empty histograms.
    ///
    /// # Errors
    /// The bucket bounds are refused (a test shows that they are not).
    pub(super) fn new() -> Result<Self, BuildError> {
        let phases = Matcher::Full(EPOCH_PHASE_SECONDS.name.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(phases, &PHASE_BUCKETS)?
            .build_recorder();
        describe(&recorder, &EPOCH_PHASE_SECONDS);
        Ok(Self { histograms: Mutex::new(recorder) })
    }

    /// One scrape.
    pub(super) fn render(&self, boards: &[Board]) -> String {
        let fresh = PrometheusBuilder::new().build_recorder();
        for metric in ALL.iter().filter(|metric| metric.kind != Kind::Histogram) {
            describe(&fresh, metric);
        }
        let fresh = Fill { recorder: &fresh };
        let histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(board) = boards.first() {
            fresh.limits(["", ""], &board.memory.shared_parts());
        }
        for board in boards {
            let threads = board.status.take();
            for (number, thread) in &threads {
                fresh.thread(&board.application, *number, thread);
                let gathered = Fill { recorder: &histograms };
                thread.epochs.iter().for_each(|e| gathered.epoch(&board.application, e));
            }
            fresh.application(board, &threads);
        }
        fresh.process();
        format!("{}{}", fresh.recorder.handle().render(), histograms.handle().render())
    }
}

fn describe(recorder: &PrometheusRecorder, metric: &Metric) {
    let (name, help) = (KeyName::from_const_str(metric.name), metric.help.into());
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name, Some(metric.unit), help),
        Kind::Gauge => recorder.describe_gauge(name, Some(metric.unit), help),
        Kind::Histogram => recorder.describe_histogram(name, Some(metric.unit), help),
    }
}

/// Writes values into a recorder, with label values in the order of the definition.
struct Fill<'a> {
    recorder: &'a PrometheusRecorder,
}

impl Fill<'_> {
    fn key(metric: &Metric, values: &[&str]) -> Key {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let label = |(name, value): (&&'static str, &&str)| Label::new(*name, (*value).to_owned());
        let labels: Vec<Label> = metric.labels.iter().zip(values).map(label).collect();
        Key::from_parts(metric.name, labels)
    }

    fn count(&self, metric: &Metric, labels: &[&str], value: u64) {
        self.recorder.register_counter(&Self::key(metric, labels), &RECORDED).absolute(value);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    fn gauge(&self, metric: &Metric, labels: &[&str], value: u64) {
        self.recorder.register_gauge(&Self::key(metric, labels), &RECORDED).set(value as f64);
    }

    fn thread(&self, application: &str, number: usize, status: &ThreadStatus) {
        let thread = number.to_string();
        let labels = [application, thread.as_str()];
        self.gauge(&EPOCH_NUMBER, &labels, status.epoch);
        self.gauge(&REJOIN_PAUSE, &labels, status.rejoin_pause.as_secs());
        self.counters(labels, &status.counters);
        self.held(labels, &status.memory.held());
        // The same of every thread that has stores open.
        if status.memory.byte_store != SharedMemory::default() {
            self.held(["", ""], &status.memory.shared());
        }
        for task in &status.tasks {
            let labels = [application, task.name.as_str()];
            let known = |value: i64| u64::try_from(value).unwrap_or(0);
            self.gauge(&TASK_LAG_RECORDS, &labels, known(task.lag));
            self.gauge(&RESTORE_REMAINING, &labels, known(task.restore_remaining));
            self.gauge(&TASK_BLOCKED, &labels, task.blocked.is_some().into());
            self.gauge(&STATE_BYTES, &labels, task.state_bytes);
            self.gauge(&RESIDENT_BYTES, &labels, task.resident_bytes);
        }
    }

    fn held(&self, [application, thread]: [&str; 2], parts: &[Held]) {
        for Held { part, what, bytes } in parts {
            self.gauge(&MEMORY_BYTES, &[application, thread, part, what], *bytes);
        }
    }

    fn limits(&self, [application, thread]: [&str; 2], parts: &[(&str, u64)]) {
        for (part, bytes) in parts {
            self.gauge(&MEMORY_LIMIT_BYTES, &[application, thread, part], *bytes);
        }
    }

    fn counters(&self, labels: [&str; 2], counters: &Counters) {
        let plain = [
            (&RECORDS_IN, counters.records_in),
            (&RECORDS_OUT, counters.records_out),
            (&CHANGELOG_RECORDS, counters.changelog_records),
            (&TIMERS_FIRED, counters.timers_fired),
            (&FENCED, counters.fenced),
            (&TAKEOVERS, counters.takeovers),
            (&REBALANCES, counters.rebalances),
            (&PARTITIONS_LOST, counters.partitions_lost),
            (&MEMBERSHIPS_LOST, counters.memberships_lost),
            (&MEMBERSHIPS_RENEWED, counters.memberships_renewed),
            (&REBALANCES_FORCED, counters.rebalances_forced),
            (&TASK_STALLS, counters.stalls),
            (&RESTORED_RECORDS, counters.restored_records),
            (&SPILLS, counters.spills),
            (&MEMORY_WAITS, counters.memory_waits),
        ];
        for (metric, value) in plain {
            self.count(metric, &labels, value);
        }
        let [application, thread] = labels;
        let outcomes = [
            ("committed", counters.epochs_committed),
            ("aborted", counters.epochs_aborted),
            ("resolved", counters.epochs_resolved),
        ];
        for (outcome, value) in outcomes {
            self.count(&EPOCHS, &[application, thread, outcome], value);
        }
        for (operator, value) in &counters.skipped {
            self.count(&SKIPPED_RECORDS, &[application, thread, operator], *value);
        }
    }

    fn application(&self, board: &Board, threads: &BTreeMap<usize, ThreadStatus>) {
        let application = board.application.as_str();
        for thread in 0..board.threads {
            self.limits([application, &thread.to_string()], &board.memory.thread_parts());
        }
        let count = |wanted: &dyn Fn(&ThreadStatus) -> bool| {
            threads.values().filter(|thread| wanted(thread)).count() as u64
        };
        let ended = count(&|thread| thread.ended.is_some());
        let joined = count(&|thread| thread.ended.is_none() && thread.joined);
        let starting = (board.threads as u64).saturating_sub(ended + joined);
        for (state, value) in [("starting", starting), ("joined", joined), ("ended", ended)] {
            self.gauge(&THREADS, &[application, state], value);
        }
        for phase in TaskPhase::ALL {
            let in_phase = threads.values().flat_map(|thread| &thread.tasks);
            let value = in_phase.filter(|task| task.phase == phase).count() as u64;
            self.gauge(&TASKS, &[application, phase.name()], value);
        }
    }

    fn epoch(&self, application: &str, sample: &EpochSample) {
        let EpochSample { run, seal, flush, offsets, commit, apply } = *sample;
        let phases = [
            ("run", run),
            ("seal", seal),
            ("flush", flush),
            ("offsets", offsets),
            ("commit", commit),
            ("apply", apply),
        ];
        for (phase, seconds) in phases {
            let key = Self::key(&EPOCH_PHASE_SECONDS, &[application, phase]);
            self.recorder.register_histogram(&key, &RECORDED).record(seconds);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the exporter's counters are whole numbers; CPU time is not negative"
    )]
    fn process(&self) {
        self.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        if let Some(usage) = ProcessUsage::read() {
            self.count(&PROCESS_CPU, &[], usage.cpu_seconds as u64);
            self.gauge(&PROCESS_RESIDENT, &[], usage.resident_bytes);
            self.gauge(&PROCESS_FILES, &[], usage.open_files);
            self.gauge(&PROCESS_THREADS, &[], usage.threads);
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
