//! The world of `event_time`: a cluster, instances that come and go, and input that is out of
//! order within its bound.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use tidemill::{
    record::{Timestamp, TopicName},
    runtime::{
        Guarantee, Lane, Now, StateSettings, StatusBoard, TimeSettings, TopicInfo,
        epoch::EpochLimits,
        hooks::NoHooks,
        mutants::Mutant,
        plan::InstancePlan,
        restore::Restorer,
        stream_thread::{Failure, Step, StreamThread, ThreadSettings},
    },
    testing::{ClientSettings, Fate, LaneRequest, SimCluster, SimDisk, SimLog, SimSettings},
};

use crate::{
    event_time::{
        APP, BOUND_MS, EVENTS, LAST, Outcome, WINDOWS, expected, fired, topology,
        watermarks_that_went_back,
    },
    instances::SharedRestorer,
    topics::make_topics,
};

pub(crate) const PARTITIONS: i32 = 4;
const MS: Duration = Duration::from_millis(1);
/// How long input is fed, and how many records.
const FEEDING_MS: u64 = 4_000;
const RECORDS: u64 = 600;
/// Faults while it is.
const FAULTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a run goes on after its last window: what fires twice shows.
const AFTER: Duration = Duration::from_secs(3);

struct Instance {
    name: String,
    thread: StreamThread<SimLog, SharedRestorer>,
    restorer: SharedRestorer,
}

/// The world.
pub(crate) struct EventWorld {
    pub(crate) cluster: SimCluster,
    /// Of an epoch, timers too.
    pub(crate) max_records: u64,
    interval: Duration,
    watermark_interval: Duration,
    pipelining: bool,
    mutant: Mutant,
    rng: fastrand::Rng,
    /// Of its own, so that it is the same whatever else is drawn.
    input: fastrand::Rng,
    plan: BTreeMap<TopicName, TopicInfo>,
    instances: Vec<Instance>,
    disks: BTreeMap<String, SimDisk>,
    restarts: Vec<(Duration, String)>,
    incarnation: u64,
    fed: Vec<(String, i64)>,
    outcome: Outcome,
}

impl EventWorld {
    pub(crate) fn new(seed: u64, mutant: Mutant) -> Self {
        let settings = SimSettings { watch_epochs: true, ..SimSettings::default() };
        let cluster = SimCluster::new(seed, settings);
        let external = [(EVENTS.to_owned(), PARTITIONS), (WINDOWS.to_owned(), PARTITIONS)];
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xe7e7);
        Self {
            plan: make_topics(&cluster, &topology(), APP, external),
            cluster,
            max_records: [2, 9, 50, 400][rng.usize(..4)],
            interval: MS * [20, 100, 400][rng.usize(..3)],
            watermark_interval: MS * [0, 50, 500][rng.usize(..3)],
            pipelining: seed % 2 == 1,
            mutant,
            rng,
            input: fastrand::Rng::with_seed(seed),
            instances: vec![],
            disks: BTreeMap::new(),
            restarts: vec![(Duration::ZERO, "i0".into()), (Duration::ZERO, "i1".into())],
            incarnation: 0,
            fed: vec![],
            outcome: Outcome::default(),
        }
    }

    /// Runs to the end and judges.
    pub(crate) fn run(mut self) -> Outcome {
        self.drive();
        self.outcome.problems.extend(watermarks_that_went_back(&self));
        self.outcome.problems.extend(self.cluster.violations());
        let (fired, complaints) = fired(&self);
        self.outcome.problems.extend(complaints);
        let expected = expected(&self.fed);
        self.outcome.windows = expected.len();
        for (window, count) in &expected {
            if fired.get(window) != Some(&vec![*count]) {
                let fired = fired.get(window);
                self.outcome.problems.push(format!("{window:?}: {fired:?} and not {count}"));
            }
        }
        let unknown = fired.keys().filter(|window| !expected.contains_key(window));
        self.outcome.problems.extend(unknown.map(|window| format!("{window:?} never was")));
        for topic in self.cluster.topics().iter().filter(|t| t.ends_with("-repartition")) {
            let records = self.cluster.committed_records(topic);
            let control = records.iter().flatten().filter(|record| record.key.is_none());
            self.outcome.control_records += control.count();
        }
        for instance in &self.instances {
            let counters = instance.thread.counters();
            self.outcome.epochs += counters.epochs_committed;
            self.outcome.aborted += counters.epochs_aborted;
        }
        self.outcome
    }

    /// Feeds, makes faults, and steps until every window is there, and a while longer.
    pub(crate) fn drive(&mut self) {
        let mut faults: Vec<u64> =
            (0..FAULTS).map(|_| self.rng.u64(300..FEEDING_MS + 1_000)).collect();
        faults.sort_unstable();
        let mut faults = faults.into_iter().peekable();
        let (mut done_at, mut looks) = (None, 0_u64);
        while self.outcome.problems.is_empty() {
            let now = self.cluster.now();
            if now.mono > PATIENCE {
                return self.outcome.problems.push(format!("stuck at {:?}", self.watermarks()));
            }
            if done_at.is_some_and(|at| now.mono > at) {
                return;
            }
            self.feed(now);
            if faults.next_if(|at| now.mono.as_millis() as u64 >= *at).is_some() {
                self.fault(now);
            }
            self.start_due(now);
            self.step(now);
            looks += 1;
            if done_at.is_none() && faults.peek().is_none() && looks % 50 == 0 && self.is_done() {
                done_at = Some(now.mono + AFTER);
            }
            let next = self.cluster.next_wakeup().unwrap_or(now.mono + 5 * MS);
            let next = next.max(now.mono + Duration::from_micros(200)).min(now.mono + 5 * MS);
            self.cluster.advance_to(next);
        }
    }

    fn watermarks(&self) -> Vec<String> {
        let of = |i: &Instance| format!("{} {:?}", i.name, i.thread.watermarks());
        self.instances.iter().map(of).collect()
    }

    fn is_done(&self) -> bool {
        let fired = fired(self).0;
        self.fed.len() as u64 > RECORDS && expected(&self.fed).keys().all(|w| fired.contains_key(w))
    }

    /// Records whose timestamps follow the clock, each up to the bound behind it, on partitions
    /// that are apart; at the end, one per partition that closes all windows.
    fn feed(&mut self, now: Now) {
        let due = (now.mono.as_millis() as u64 * RECORDS / FEEDING_MS).min(RECORDS);
        while (self.fed.len() as u64) < due {
            let partition = self.input.i32(0..PARTITIONS);
            let newest = 10_000 + self.fed.len() as i64 * 5 - i64::from(partition) * 170;
            let timestamp = newest - self.input.i64(0..=BOUND_MS);
            let key = format!("k{}", self.input.u8(..12));
            self.produce(partition, key, timestamp);
        }
        if self.fed.len() as u64 == RECORDS {
            (0..PARTITIONS).for_each(|p| self.produce(p, LAST.to_owned(), 1_000_000));
        }
    }

    fn produce(&mut self, partition: i32, key: String, timestamp: i64) {
        let value = format!("{key} {timestamp}");
        // The record's own timestamp must not matter.
        let produced =
            self.cluster.produce(EVENTS, partition, None, Some(value.as_bytes()), Timestamp(7));
        assert!(produced.is_some());
        self.fed.push((key, timestamp));
    }

    fn fault(&mut self, now: Now) {
        if self.instances.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.instances.len());
        let name = self.instances[index].name.clone();
        match self.rng.u8(..6) {
            0..=2 => self.crash(index, now),
            3 => self.instances[index].thread.stop(self.rng.bool()),
            4 => self.cluster.force_rebalance(APP),
            _ => {
                let fate = Fate::ALL[self.rng.usize(..Fate::ALL.len())];
                for lane in Lane::ALL {
                    self.cluster.lose_answer(&name, lane, LaneRequest::Commit, fate);
                }
            }
        }
        if self.rng.u8(..4) == 0 && self.disks.len() < 3 {
            self.restarts.push((now.mono, "i2".into()));
        }
    }

    fn crash(&mut self, index: usize, now: Now) {
        let instance = self.instances.remove(index);
        self.outcome.crashes += 1;
        self.note(&instance);
        self.cluster.crash(&instance.name);
        let name = instance.name.clone();
        if let Some(disk) = self.disks.get_mut(&name) {
            disk.crash(&mut self.rng);
        }
        drop(instance);
        if self.rng.u8(..4) == 0 {
            self.disks.insert(name.clone(), SimDisk::default());
        }
        self.restarts.push((now.mono + MS * self.rng.u32(10..3_000), name));
    }

    fn note(&mut self, instance: &Instance) {
        self.outcome.epochs += instance.thread.counters().epochs_committed;
        self.outcome.aborted += instance.thread.counters().epochs_aborted;
    }

    fn step(&mut self, now: Now) {
        let mut index = 0;
        while index < self.instances.len() {
            let instance = &mut self.instances[index];
            instance.restorer.0.borrow_mut().step(now, now.mono);
            match instance.thread.step(now, now.mono) {
                Step::Continue => {
                    index += 1;
                    continue;
                }
                Step::Failed(failure) if !matches!(failure, Failure::Twin(_)) => {
                    self.outcome.problems.push(format!("failed: {}", failure.message()));
                }
                Step::Stopped | Step::Failed(_) => {}
            }
            let instance = self.instances.remove(index);
            self.note(&instance);
            self.cluster.close(&instance.name);
            self.restarts.push((now.mono + MS * self.rng.u32(10..2_000), instance.name));
        }
    }

    fn start_due(&mut self, now: Now) {
        let (due, later) = self.restarts.drain(..).partition(|(at, _)| now.mono >= *at);
        self.restarts = later;
        let due: Vec<(Duration, String)> = due;
        for (_, name) in due {
            self.start(name);
        }
    }

    fn start(&mut self, name: String) {
        let plan = InstancePlan::resolve(&topology(), APP, &name, &self.plan).unwrap();
        let disk = self.disks.entry(name.clone()).or_default().clone();
        let restorer = Restorer::new(self.cluster.restore_log(&*name), Box::new(disk));
        let restorer = SharedRestorer(Rc::new(RefCell::new(restorer.with_mutant(self.mutant))));
        self.incarnation += 1;
        let settings = ThreadSettings {
            thread: 0,
            epoch: EpochLimits {
                interval: self.interval,
                min_pause: Duration::ZERO,
                max_records: self.max_records,
                max_bytes: 1 << 20,
                timeout: Duration::from_secs(30),
                pipelining: self.pipelining,
                tolerated_failures: 1_000,
            },
            guarantee: Guarantee::ExactlyOnce,
            state: StateSettings {
                spill_bytes: bytesize::ByteSize::kb(2),
                spill_interval: 500 * MS,
                cache_bytes: bytesize::ByteSize::kb(4),
                purge_repartition_topics: false,
                ..StateSettings::default()
            },
            time: TimeSettings { watermark_interval: self.watermark_interval },
            incarnation: self.incarnation,
            session_timeout: Duration::from_secs(6),
            mutant: self.mutant,
        };
        let thread = StreamThread::new(
            Arc::new(plan),
            settings,
            self.cluster.log(ClientSettings::new(APP, &*name, 0)),
            restorer.clone(),
            StatusBoard::default(),
            Box::new(NoHooks),
        );
        self.instances.push(Instance { name, thread, restorer });
    }
}
