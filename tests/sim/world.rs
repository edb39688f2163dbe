//! A cluster, a few instances of the real runtime, their disks, and a seed that decides everything.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tidemill::{
    record::{Timestamp, TopicName},
    runtime::{
        Guarantee, Lane, Now, StateSettings, StatusBoard, TopicAdmin, TopicSpec,
        epoch::EpochLimits,
        mutants::Mutant,
        plan::{InstancePlan, TaskId},
        restore::{RestoreJob, RestoreOutcome, RestoreService, Restorer},
        stream_thread::{Step, StreamThread, ThreadSettings},
    },
    testing::{
        ClientSettings, Fate, LaneRequest, SimCluster, SimDisk, SimLog, SimRestoreLog, SimSettings,
    },
    topology::plan_topics,
};

use crate::{
    faults::{Armed, Crashed, Fault, PHASES, SharedArm, SimHooks, phase_of, strike},
    oracle::{self, Seen, Verdict},
    topology,
};

/// How a run is set up.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Decides everything.
    pub(crate) seed: u64,
    /// Input records.
    pub(crate) transfers: u64,
    /// Faults to be made.
    pub(crate) faults: usize,
    /// Overlapping epochs.
    pub(crate) pipelining: bool,
    /// What is guaranteed.
    pub(crate) guarantee: Guarantee,
    /// A guarantee that is broken on purpose.
    pub(crate) mutant: Mutant,
    /// A readable trace.
    pub(crate) trace: bool,
    /// `max.message.bytes` of the output topic, which the instances do not know of.
    pub(crate) unknown_limit: Option<u32>,
}

impl Scenario {
    /// What a seed runs.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            transfers: 500,
            faults: 6,
            pipelining: seed % 2 == 1,
            guarantee: Guarantee::ExactlyOnce,
            mutant: Mutant::None,
            trace: false,
            unknown_limit: None,
        }
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Report {
    /// The oracle's verdict.
    pub(crate) verdict: Verdict,
    /// Faults that took effect, by kind and the phase that they met.
    pub(crate) met: BTreeMap<(Fault, &'static str), u64>,
    /// Epochs committed.
    pub(crate) epochs: u64,
    /// Epochs aborted.
    pub(crate) aborted: u64,
    /// Outcomes resolved.
    pub(crate) resolved: u64,
    /// Dead owners fenced.
    pub(crate) takeovers: u64,
    /// A number that differs when anything differed.
    pub(crate) fingerprint: u64,
    /// What went wrong besides the oracle's verdict.
    pub(crate) problems: Vec<String>,
    /// Virtual time that it took.
    pub(crate) virtual_time: Duration,
}

/// One restorer, shared by its thread (as a service) and the scheduler (which steps it).
#[derive(Clone)]
struct SharedRestorer(Rc<RefCell<Restorer<SimRestoreLog>>>);

impl RestoreService for SharedRestorer {
    fn submit(&mut self, job: RestoreJob) {
        self.0.borrow_mut().submit(job);
    }
    fn cancel(&mut self, task: TaskId) {
        self.0.borrow_mut().cancel(task);
    }
    fn poll(&mut self) -> Option<RestoreOutcome> {
        self.0.borrow_mut().poll()
    }
}

struct Instance {
    name: String,
    thread: StreamThread<SimLog, SharedRestorer>,
    restorer: SharedRestorer,
    frozen_until: Option<Duration>,
    aborted_seen: u64,
    armed: SharedArm,
    made: Rc<RefCell<Vec<(Fault, &'static str)>>>,
}

/// The world.
pub(crate) struct World {
    scenario: Scenario,
    cluster: SimCluster,
    rng: fastrand::Rng,
    plan_infos: BTreeMap<TopicName, tidemill::runtime::TopicInfo>,
    instances: Vec<Instance>,
    disks: BTreeMap<String, SimDisk>,
    restarts: Vec<(Duration, String)>,
    next_incarnation: u64,
    report: Report,
    fed: u64,
}

const MS: Duration = Duration::from_millis(1);

/// Virtual time after which a run counts as stuck.
const PATIENCE: Duration = Duration::from_secs(600);

impl World {
    /// A cluster with topics, and two instances.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let settings = SimSettings { trace: scenario.trace, ..SimSettings::default() };
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
                verdict: Verdict::default(),
                met: BTreeMap::new(),
                epochs: 0,
                aborted: 0,
                resolved: 0,
                takeovers: 0,
                fingerprint: 0,
                problems: vec![],
                virtual_time: Duration::ZERO,
            },
            fed: 0,
            scenario,
        };
        world.start("i0");
        world.start("i1");
        world
    }

    fn start(&mut self, name: &str) {
        let plan =
            InstancePlan::resolve(&topology::topology(), topology::APP, name, &self.plan_infos);
        let client = ClientSettings::new(topology::APP, name, 0);
        let disk = self.disks.entry(name.to_owned()).or_default().clone();
        let restorer = SharedRestorer(Rc::new(RefCell::new(Restorer::new(
            self.cluster.restore_log(name),
            Box::new(disk),
        ))));
        self.next_incarnation += 1;
        let settings = ThreadSettings {
            thread: 0,
            epoch: EpochLimits {
                interval: 100 * MS,
                min_pause: Duration::ZERO,
                max_records: 200,
                max_bytes: 1 << 20,
                timeout: Duration::from_secs(30),
                pipelining: self.scenario.pipelining,
                tolerated_failures: 1000,
            },
            guarantee: self.scenario.guarantee,
            state: StateSettings {
                spill_bytes: bytesize::ByteSize::kb(2),
                spill_interval: 500 * MS,
                cache_bytes: bytesize::ByteSize::kb(4),
                purge_repartition_topics: false,
            },
            incarnation: self.next_incarnation,
            mutant: self.scenario.mutant,
        };
        let log = self.cluster.log(client);
        let (armed, made) = (SharedArm::default(), Rc::default());
        let hooks = SimHooks {
            name: name.to_owned(),
            cluster: self.cluster.clone(),
            armed: Rc::clone(&armed),
            made: Rc::clone(&made),
        };
        let thread = StreamThread::new(
            Arc::new(plan.unwrap()),
            settings,
            log,
            restorer.clone(),
            StatusBoard::default(),
            Box::new(hooks),
        );
        self.instances.push(Instance {
            name: name.to_owned(),
            thread,
            restorer,
            frozen_until: None,
            aborted_seen: 0,
            armed,
            made,
        });
    }

    /// Runs to the end: all input fed, all faults made, everything committed and quiet.
    pub(crate) fn run(mut self) -> Report {
        let fault_times = self.fault_times();
        let mut faults = fault_times.into_iter().peekable();
        loop {
            let now = self.cluster.now();
            if now.mono > PATIENCE {
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
            assert!(now.mono < start + PATIENCE, "stuck: {}", self.describe());
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

    /// Faults are spread over the time in which input is fed.
    fn fault_times(&mut self) -> Vec<Duration> {
        let mut times: Vec<_> = (0..self.scenario.faults)
            .map(|_| Duration::from_micros(self.rng.u64(300_000..6_000_000)))
            .collect();
        times.sort();
        times
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

    /// Arms a fault for a phase. What is needed to reach a rare phase is provoked.
    fn fault(&mut self, now: Now) {
        if self.instances.is_empty() {
            return;
        }
        let fault = Fault::ALL[self.rng.usize(..Fault::ALL.len())];
        let phase = PHASES[self.rng.usize(..PHASES.len())];
        let free = |i: &usize| self.instances[*i].armed.borrow().is_none();
        let free: Vec<usize> = (0..self.instances.len()).filter(free).collect();
        if free.is_empty() {
            return;
        }
        let index = free[self.rng.usize(..free.len())];
        let name = self.instances[index].name.clone();
        match phase {
            "abort" => self.cluster.force_rebalance(topology::APP),
            "resolve" => {
                for lane in Lane::ALL {
                    let fate = Fate::ALL[self.rng.usize(..Fate::ALL.len())];
                    self.cluster.lose_answer(&name, lane, LaneRequest::Commit, fate);
                }
            }
            _ => {}
        }
        let until = now.mono + Duration::from_secs(3);
        let armed = Armed { fault, phase, until, skip: self.rng.u8(..3) };
        *self.instances[index].armed.borrow_mut() = Some(armed);
    }

    /// Armed faults whose phase is not inside a step, or does not come; and those made in a step.
    fn settle_faults(&mut self, now: Now) {
        let mut due = vec![];
        for (index, instance) in self.instances.iter().enumerate() {
            for (fault, phase) in instance.made.borrow_mut().drain(..) {
                *self.report.met.entry((fault, phase)).or_default() += 1;
                if fault == Fault::Leave {
                    due.push((index, None));
                }
            }
            let armed = *instance.armed.borrow();
            if let Some(armed) = armed
                && instance.frozen_until.is_none()
            {
                let shown = phase_of(instance.thread.phase());
                let between = matches!(armed.phase, "abort" | "resolve") && shown == armed.phase;
                if between || now.mono >= armed.until {
                    *instance.armed.borrow_mut() = None;
                    *self.report.met.entry((armed.fault, shown)).or_default() += 1;
                    due.push((index, Some(armed.fault)));
                }
            }
        }
        for (index, fault) in due.into_iter().rev() {
            match fault {
                None | Some(Fault::Leave) => {
                    let leave = self.rng.bool();
                    self.instances[index].thread.stop(leave);
                }
                Some(Fault::Crash) => self.crash(index, now),
                Some(Fault::Freeze) => {
                    self.cluster.freeze(&self.instances[index].name);
                    let until = now.mono + MS * self.rng.u32(50..15_000);
                    self.instances[index].frozen_until = Some(until);
                }
                Some(fault) => {
                    let draw = self.rng.usize(..30);
                    strike(&self.cluster, &self.instances[index].name, fault, draw);
                }
            }
        }
    }

    fn crash(&mut self, index: usize, now: Now) {
        let instance = self.instances.remove(index);
        self.note_counters(&instance);
        self.cluster.crash(&instance.name);
        let name = instance.name.clone();
        // Before its stores are dropped: a write in progress dies with the process.
        if let Some(disk) = self.disks.get_mut(&name) {
            disk.crash(&mut self.rng);
        }
        drop(instance);
        // Another one takes the name after a while; sometimes on a new disk.
        if self.rng.u8(..6) == 0 {
            self.disks.remove(&name);
        }
        self.restarts.push((now.mono + MS * self.rng.u32(10..9_000), name));
    }

    fn wake(&mut self, now: Now) {
        for instance in &mut self.instances {
            if instance.frozen_until.is_some_and(|until| now.mono >= until) {
                instance.frozen_until = None;
                self.cluster.thaw(&instance.name);
            }
        }
        let due: Vec<String> = self
            .restarts
            .iter()
            .filter(|(at, _)| now.mono >= *at)
            .map(|(_, n)| n.clone())
            .collect();
        self.restarts.retain(|(at, _)| now.mono < *at);
        for name in due {
            self.start(&name);
        }
    }

    fn step_all(&mut self, now: Now) {
        let mut order: Vec<usize> = (0..self.instances.len()).collect();
        self.rng.shuffle(&mut order);
        let (mut ended, mut crashed) = (BTreeSet::new(), BTreeSet::new());
        for index in order {
            let instance = &mut self.instances[index];
            if instance.frozen_until.is_some() {
                continue;
            }
            let restored_first = self.rng.bool();
            if restored_first {
                instance.restorer.0.borrow_mut().step(now, now.mono);
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
                    if !matches!(failure, tidemill::runtime::stream_thread::Failure::Twin(_)) {
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

    fn settle_crashes(&mut self, crashed: &BTreeSet<usize>, now: Now) {
        for index in crashed.iter().rev() {
            for (fault, phase) in self.instances[*index].made.borrow_mut().drain(..) {
                *self.report.met.entry((fault, phase)).or_default() += 1;
            }
            self.crash(*index, now);
        }
    }

    fn advance(&mut self, now: Now) {
        // Mostly to the next event; at times a little further, so that several are due at once.
        let next = self.cluster.next_wakeup().unwrap_or(now.mono + 5 * MS);
        let next = next.max(now.mono + Duration::from_micros(200)).min(now.mono + 5 * MS);
        let extra = if self.rng.u8(..4) == 0 { self.rng.u64(..3_000) } else { 0 };
        self.cluster.advance_to(next + Duration::from_micros(extra));
    }

    /// Everything fed is in committed outputs, and nothing is pending.
    pub(crate) fn is_done(&self) -> bool {
        let postings = self.cluster.committed_records(topology::POSTINGS);
        if (postings.iter().map(Vec::len).sum::<usize>() as u64) < 2 * self.scenario.transfers {
            return false;
        }
        let balances = self.seen(topology::BALANCES);
        let timers_set = count(&balances, |v| v.contains('+'));
        let timers_fired = count(&balances, |v| v.contains('T'));
        let outputs = count(&balances, |v| v.contains('P')) as u64;
        outputs >= 2 * self.scenario.transfers
            && timers_set == timers_fired
            && self.cluster.open_transactions().is_empty()
    }

    fn seen(&self, topic: &str) -> Vec<Vec<Seen>> {
        let text =
            |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap();
        let partitions = self.cluster.committed_records(topic);
        partitions
            .iter()
            .map(|records| {
                records.iter().map(|r| Seen { key: text(&r.key), value: text(&r.value) }).collect()
            })
            .collect()
    }

    fn note_counters(&mut self, instance: &Instance) {
        let counters = instance.thread.counters();
        self.report.epochs += counters.epochs_committed;
        self.report.aborted += counters.epochs_aborted;
        self.report.resolved += counters.epochs_resolved;
        self.report.takeovers += counters.takeovers;
    }

    fn describe(&self) -> String {
        let instances = self
            .instances
            .iter()
            .map(|i| format!("{} {} {:?}", i.name, i.thread.phase(), i.thread.running_tasks()));
        let balances = self.seen(topology::BALANCES);
        format!(
            "fed {}, postings {}, outputs {}, timers set {} fired {}, {:?}, open transactions {:?}",
            self.fed,
            count(&self.seen(topology::POSTINGS), |_| true),
            count(&balances, |v| v.contains('P')),
            count(&balances, |v| v.contains('+')),
            count(&balances, |v| v.contains('T')),
            instances.collect::<Vec<_>>(),
            self.cluster.open_transactions()
        )
    }

    fn finish(mut self) -> Report {
        for instance in std::mem::take(&mut self.instances) {
            self.note_counters(&instance);
        }
        self.report.verdict = oracle::check(
            self.scenario.transfers,
            &self.seen(topology::POSTINGS),
            &self.seen(topology::BALANCES),
        );
        if self.scenario.trace {
            for topic in self.cluster.topics() {
                for p in 0..6 {
                    let at = tidemill::record::TopicPartition::new(topic.clone(), p);
                    println!("{at} {:?}", self.cluster.bounds(&at));
                }
            }
            println!("{}", self.cluster.trace());
        }
        self.report.problems.extend(self.cluster.violations());
        self.report.fingerprint = self.cluster.fingerprint();
        self.report.virtual_time = self.cluster.now().mono;
        self.report
    }
}

fn count(partitions: &[Vec<Seen>], matches: impl Fn(&str) -> bool) -> usize {
    partitions.iter().flatten().filter(|seen| matches(&seen.value)).count()
}
