//! A cluster, a few instances of the real runtime, their disks, and a seed that decides everything.
//!
//! The files beside it are its parts: `instances` starts processes, `striking` makes faults,
//! `ending` tells when it is over.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use tidemill::{
    record::{Offset, Timestamp, TopicName},
    runtime::{
        Guarantee, Now, TopicAdmin, TopicInfo, TopicSpec,
        stream_thread::{Failure, Step},
    },
    testing::{FaultChances, SimCluster, SimDisk, SimSettings},
    topology::plan_topics,
};

use crate::{
    faults::Crashed,
    following::Following,
    instances::Instance,
    oracle::Seen,
    scenario::{Report, Scenario},
    topology,
    tracer::stepping,
};

/// The world.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) cluster: SimCluster,
    pub(crate) rng: fastrand::Rng,
    pub(crate) plan_infos: BTreeMap<TopicName, TopicInfo>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) disks: BTreeMap<String, SimDisk>,
    pub(crate) restarts: Vec<(Duration, String)>,
    pub(crate) next_incarnation: u64,
    pub(crate) report: Report,
    pub(crate) fed: u64,
    /// See [`crate::purge`].
    pub(crate) postings: Vec<(Offset, Vec<Seen>)>,
    pub(crate) following: RefCell<Following>,
    /// Instances that end once a request of theirs is held back, and until when they may.
    pub(crate) zombies: Vec<(String, Duration)>,
}

/// A millisecond.
pub(crate) const MS: Duration = Duration::from_millis(1);

impl World {
    /// A cluster with topics, and two instances.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let settings = SimSettings {
            trace: scenario.trace,
            watch_epochs: scenario.guarantee == Guarantee::ExactlyOnce,
            chances: FaultChances {
                slow_marker: scenario.slow_markers,
                duplicated_end: scenario.duplicates,
                ..FaultChances::NONE
            },
            ..SimSettings::default()
        };
        let cluster = SimCluster::new(scenario.seed, settings);
        let mut admin = cluster.admin();
        let topic = |name: &str, partitions, config: BTreeMap<String, String>| TopicSpec {
            name: name.into(),
            partitions,
            replication: 1,
            config,
        };
        let mut specs = vec![
            topic(topology::TRANSFERS, 4, BTreeMap::new()),
            topic(
                topology::BALANCES,
                4,
                scenario
                    .unknown_limit
                    .map(|bytes| ("max.message.bytes".to_owned(), bytes.to_string()))
                    .into_iter()
                    .collect(),
            ),
        ];
        let external = [(topology::TRANSFERS.to_owned(), 4), (topology::BALANCES.to_owned(), 4)];
        let internal =
            plan_topics(&topology::topology(), topology::APP, &external.into_iter().collect(), 1)
                .unwrap();
        specs.extend(
            internal.internal.into_iter().map(|t| topic(&t.name, t.partitions, t.config.clone())),
        );
        admin.create(&specs).unwrap();
        let names: Vec<TopicName> = specs.iter().map(|s| s.name.clone()).collect();
        let infos = admin.describe(&names).unwrap();
        let plan_infos = infos
            .into_iter()
            .flatten()
            .map(|mut info| {
                info.config.remove("max.message.bytes");
                (info.name.clone(), info)
            })
            .collect();
        let mut world = Self {
            rng: fastrand::Rng::with_seed(scenario.seed ^ 0x5eed),
            cluster,
            plan_infos,
            instances: vec![],
            disks: BTreeMap::new(),
            restarts: vec![],
            next_incarnation: 1,
            report: Report {
                verdict: crate::oracle::Verdict::default(),
                met: BTreeMap::new(),
                epochs: 0,
                aborted: 0,
                resolved: 0,
                takeovers: 0,
                fingerprint: 0,
                logs: 0,
                kinds: BTreeMap::new(),
                problems: vec![],
                virtual_time: Duration::ZERO,
                purged: 0,
                steps: 0,
            },
            fed: 0,
            postings: vec![],
            following: RefCell::default(),
            zombies: vec![],
            scenario,
        };
        world.start("i0");
        world.start("i1");
        world
    }

    /// Runs to the end: all input fed, all faults made, everything committed and quiet.
    pub(crate) fn run(mut self) -> Report {
        let fault_times = self.fault_times();
        let mut faults = fault_times.into_iter().peekable();
        loop {
            let now = self.cluster.now();
            if !self.report.problems.is_empty() {
                break;
            }
            if now.mono > self.scenario.patience {
                self.report.problems.push(format!("stuck: {}", self.describe()));
                break;
            }
            self.feed(now);
            let made: u64 = self.report.met.values().sum();
            let armed = self.instances.iter().any(|i| i.armed.borrow().is_some());
            let short = faults.peek().is_none() && !armed && made < 3;
            if faults.next_if(|at| now.mono >= *at).is_some() || short {
                self.fault(now);
            }
            self.wake(now);
            self.watch_postings();
            self.step_all(now);
            self.settle_faults(self.cluster.now());
            let armed = self.instances.iter().any(|i| i.armed.borrow().is_some());
            let quiet = self.fed == self.scenario.transfers && faults.peek().is_none() && !armed;
            if quiet && self.restarts.is_empty() && self.rng.u8(..8) == 0 && self.is_done() {
                break;
            }
            self.advance(now);
        }
        self.finish()
    }

    /// Feeds and steps, without faults, until `done` or a failure; panics when it takes too long.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let start = self.cluster.now().mono;
        while !done(self) && self.report.problems.is_empty() {
            let now = self.cluster.now();
            assert!(now.mono < start + self.scenario.patience, "stuck: {}", self.describe());
            self.feed(now);
            self.wake(now);
            self.step_all(now);
            self.advance(now);
        }
    }

    /// Drains all instances and leaves them stopped.
    pub(crate) fn stop_all(&mut self) {
        for instance in &mut self.instances {
            instance.thread.stop(false);
        }
        self.run_until(|world| world.instances.is_empty());
        self.restarts.clear();
    }

    /// Starts an instance on the topics as they are now.
    pub(crate) fn restart(&mut self, name: &str) {
        let names: Vec<TopicName> = self.plan_infos.keys().cloned().collect();
        let infos = self.cluster.admin().describe(&names).unwrap();
        self.plan_infos =
            infos.into_iter().flatten().map(|info| (info.name.clone(), info)).collect();
        self.start(name);
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &SimCluster {
        &self.cluster
    }

    /// What has gone wrong so far.
    pub(crate) fn problems(&self) -> &[String] {
        &self.report.problems
    }

    fn feed(&mut self, now: Now) {
        let due = (now.mono.as_millis() as u64 * self.scenario.transfers / 6_000)
            .min(self.scenario.transfers);
        while self.fed < due {
            let account = |n: u64| format!("acc{n}");
            let (from, to) = (self.rng.u64(..20), self.rng.u64(..20));
            let value = format!("{} {} {}", self.fed, account(from), account(to));
            self.cluster.produce(
                topology::TRANSFERS,
                self.rng.i32(0..4),
                None,
                Some(value.as_bytes()),
                Timestamp(now.wall.0),
            );
            self.fed += 1;
        }
    }

    pub(crate) fn step_all(&mut self, now: Now) {
        let mut order: Vec<usize> = (0..self.instances.len()).collect();
        self.rng.shuffle(&mut order);
        let (mut ended, mut crashed) = (BTreeSet::new(), BTreeSet::new());
        for index in order {
            let instance = &mut self.instances[index];
            if instance.frozen_until.is_some() {
                continue;
            }
            // Now and then the machine has no time for it.
            if self.rng.u8(..4) == 0 {
                continue;
            }
            let restored_first = self.rng.bool();
            if restored_first {
                instance.restorer.0.borrow_mut().step(now, now.mono);
            }
            if self.scenario.trace {
                stepping(&self.cluster, &instance.name);
            }
            let thread = &mut instance.thread;
            let step = match catch_unwind(AssertUnwindSafe(|| thread.step(now, now.mono))) {
                Ok(step) => step,
                Err(thrown) if thrown.is::<Crashed>() => {
                    crashed.insert(index);
                    continue;
                }
                Err(thrown) => resume_unwind(thrown),
            };
            if !restored_first {
                instance.restorer.0.borrow_mut().step(now, now.mono);
            }
            let aborted = instance.thread.counters().epochs_aborted;
            if aborted != instance.aborted_seen {
                instance.aborted_seen = aborted;
                if let Err(difference) = instance.thread.verify() {
                    self.report.problems.push(format!("resident after an abort: {difference}"));
                }
            }
            match step {
                Step::Continue => {}
                Step::Stopped => {
                    ended.insert(index);
                }
                Step::Failed(failure) => {
                    ended.insert(index);
                    // A twin's or a fenced membership's end is a restart, as in production; any
                    // other failure is a defect.
                    if !matches!(failure, Failure::Twin(_)) {
                        self.report.problems.push(format!("failed: {}", failure.message()));
                    }
                }
            }
        }
        self.settle_crashes(&crashed, now);
        // A crash in the middle of a step shifts the indices of those behind it.
        let ended = ended.into_iter().map(|i| i - crashed.iter().filter(|c| **c < i).count());
        for index in ended.collect::<Vec<_>>().into_iter().rev() {
            let instance = self.instances.remove(index);
            self.note_counters(&instance);
            let name = instance.name.clone();
            drop(instance);
            self.cluster.close(&name);
            self.restarts.push((now.mono + MS * self.rng.u32(10..3_000), name));
        }
    }

    fn advance(&mut self, now: Now) {
        self.report.steps += 1;
        // Mostly to the next event; at times a little further, so that several are due at once.
        let input_is_fed = self.fed == self.scenario.transfers;
        let longest = now.mono + if input_is_fed { 25 * MS } else { 5 * MS };
        let next = self.cluster.next_wakeup().unwrap_or(longest);
        let next = next.max(now.mono + Duration::from_micros(200)).min(longest);
        let extra = if self.rng.u8(..4) == 0 { self.rng.u64(..3_000) } else { 0 };
        self.cluster.advance_to(next + Duration::from_micros(extra));
    }
}
