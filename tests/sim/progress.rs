//! A task that stands still: read again or started anew after a minute, with its reason; an idle
//! one is left alone.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use tidemill::{
    record::{OutputRecord, TopicPartition},
    runtime::{
        Event, GroupMetadata, Lane, Log, Request, StateSettings, StatusBoard, TimeSettings,
        epoch::EpochLimits,
        hooks::NoHooks,
        log::QueueFull,
        mutants::Mutant,
        plan::InstancePlan,
        restore::Restorer,
        stream_thread::{Step, StreamThread, ThreadSettings},
    },
    testing::{ClientSettings, SimDisk, SimLog},
};

use crate::{
    instances::SharedRestorer,
    scenario::Scenario,
    topology,
    world::{MS, World},
};

/// A log that swallows some of what it is asked.
struct Swallowing<F> {
    log: SimLog,
    swallow: F,
}

impl<F: FnMut(&Request) -> bool> Log for Swallowing<F> {
    type Batch = <SimLog as Log>::Batch;

    fn submit(&mut self, request: Request) {
        if !(self.swallow)(&request) {
            self.log.submit(request);
        }
    }

    fn produce(&mut self, lane: Lane, r: &OutputRecord<'_>, tag: u64) -> Result<(), QueueFull> {
        self.log.produce(lane, r, tag)
    }

    fn poll(&mut self, deadline: Duration, want_records: bool) -> Option<Event<Self::Batch>> {
        self.log.poll(deadline, want_records)
    }

    fn group(&self) -> Option<GroupMetadata> {
        self.log.group()
    }
}

/// A cluster with one thread, whose log swallows.
struct Stage<F: FnMut(&Request) -> bool> {
    world: World,
    thread: StreamThread<Swallowing<F>, SharedRestorer>,
    restorer: SharedRestorer,
    status: StatusBoard,
}

fn stage<F: FnMut(&Request) -> bool>(mutant: Mutant, swallow: F) -> Stage<F> {
    let scenario =
        Scenario { faults: 0, transfers: 0, slow_markers: 0.0, mutant, ..Scenario::of_seed(1) };
    let mut world = World::new(scenario);
    for instance in std::mem::take(&mut world.instances) {
        world.cluster.close(&instance.name);
    }
    let plan = InstancePlan::resolve(&topology::topology(), topology::APP, "s", &world.plan_infos);
    let restorer = Restorer::new(world.cluster.restore_log("s"), Box::new(SimDisk::default()));
    let restorer = SharedRestorer(Rc::new(RefCell::new(restorer)));
    let client = ClientSettings::new(topology::APP, "s", 0);
    let settings = ThreadSettings {
        thread: 0,
        epoch: EpochLimits {
            interval: 100 * MS,
            min_pause: Duration::ZERO,
            max_records: 200,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            pipelining: true,
            tolerated_failures: 10,
        },
        guarantee: tidemill::runtime::Guarantee::ExactlyOnce,
        state: StateSettings { purge_repartition_topics: false, ..StateSettings::default() },
        time: TimeSettings::default(),
        incarnation: 1,
        session_timeout: client.session_timeout,
        mutant,
    };
    let status = StatusBoard::default();
    let thread = StreamThread::new(
        Arc::new(plan.unwrap()),
        settings,
        Swallowing { log: world.cluster.log(client), swallow },
        restorer.clone(),
        status.clone(),
        Box::new(NoHooks),
    );
    Stage { world, thread, restorer, status }
}

impl<F: FnMut(&Request) -> bool> Stage<F> {
    /// Steps for `span`, or until `done`; says whether it was.
    fn run(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.world.cluster.now().mono + span;
        while self.world.cluster.now().mono < end {
            let now = self.world.cluster.now();
            self.restorer.0.borrow_mut().step(now, now.mono);
            assert_eq!(self.thread.step(now, now.mono), Step::Continue);
            if done(self) {
                return true;
            }
            let next = self.world.cluster.next_wakeup().unwrap_or(now.mono + 50 * MS);
            self.world.cluster.advance_to(next.clamp(now.mono + MS, now.mono + 50 * MS));
        }
        false
    }

    fn feed(&self, partition: i32, number: u64) {
        let value = format!("{number} acc1 acc2");
        let now = self.world.cluster.now().wall;
        self.world.cluster.produce(
            topology::TRANSFERS,
            partition,
            None,
            Some(value.as_bytes()),
            now,
        );
    }

    fn postings(&self) -> usize {
        self.world.seen(topology::POSTINGS).iter().map(Vec::len).sum()
    }

    fn stalls(&self) -> u64 {
        self.thread.counters().stalls
    }
}

/// Whether it is the read of an input partition, to be swallowed `times` often.
fn reads_of(partition: i32, mut times: u32) -> impl FnMut(&Request) -> bool {
    let deaf = TopicPartition::new(topology::TRANSFERS, partition);
    move |request| match request {
        Request::Read { partition, .. } if *partition == deaf && times > 0 => {
            times -= 1;
            true
        }
        _ => false,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_task_that_is_not_given_its_records_is_read_again_after_a_minute() {
    let mut stage = stage(Mutant::None, reads_of(1, 1));
    stage.run(10 * MINUTE, |s| s.thread.running_tasks().len() == 7);
    (0..4).for_each(|partition| stage.feed(partition, partition as u64));
    stage.run(MINUTE / 2, |_| false);
    assert_eq!((stage.postings(), stage.stalls()), (6, 0), "three of four, two postings each");
    assert!(stage.run(2 * MINUTE, |s| s.postings() == 8), "never read again");
    assert_eq!(stage.stalls(), 1);
    stage.feed(1, 9);
    assert!(stage.run(MINUTE, |s| s.postings() == 10));
    assert_eq!(stage.stalls(), 1);
}

#[cfg(feature = "mutants")]
#[test]
fn without_anybody_looking_a_task_stands_still_for_ever() {
    let mut stage = stage(Mutant::StallsIgnored, reads_of(1, 1));
    stage.run(10 * MINUTE, |s| s.thread.running_tasks().len() == 7);
    (0..4).for_each(|partition| stage.feed(partition, partition as u64));
    assert!(!stage.run(10 * MINUTE, |s| s.postings() > 6));
    assert_eq!(stage.stalls(), 0);
}

#[test]
fn a_task_that_reading_again_does_not_help_is_reported_and_started_anew() {
    let mut stage = stage(Mutant::None, reads_of(1, u32::MAX));
    stage.run(10 * MINUTE, |s| s.thread.running_tasks().len() == 7);
    // More comes all the time.
    for fed in 0..10 {
        stage.feed(1, fed);
        stage.run(MINUTE, |s| s.stalls() > 0);
    }
    assert!(stage.stalls() > 0);
    assert_eq!(stage.postings(), 0);
}

#[test]
fn a_task_whose_offsets_are_never_told_is_asked_for_again_after_a_minute() {
    let mut swallowed = 0;
    let mut stage = stage(Mutant::None, move |request| match request {
        Request::CommittedOffsets { partitions, .. }
            if partitions.iter().any(|p| p.partition == 2) && swallowed < 2 =>
        {
            swallowed += 1;
            true
        }
        _ => false,
    });
    assert!(!stage.run(MINUTE - 10 * 1_000 * MS, |s| s.thread.running_tasks().len() == 7));
    assert_eq!(stage.thread.running_tasks().len(), 5);
    let reasons = |s: &Stage<_>| -> Vec<String> {
        let tasks = s.status.view().into_values().flat_map(|thread| thread.tasks);
        tasks.filter_map(|task| task.blocked).collect()
    };
    assert_eq!(reasons(&stage), [] as [String; 0]);
    assert!(stage.run(MINUTE, |s| s.thread.running_tasks().len() == 7), "never asked again");
    assert_eq!(stage.stalls(), 2, "one for each task");
}

#[test]
fn idle_tasks_are_left_alone_also_where_markers_are_all_that_is_behind_them() {
    let mut stage = stage(Mutant::None, |_: &Request| false);
    (0..4).for_each(|partition| stage.feed(partition, partition as u64));
    assert!(stage.run(MINUTE, |s| s.postings() == 8));
    stage.run(30 * MINUTE, |_| false);
    assert_eq!(stage.stalls(), 0);
    // One that comes after a long while is no late one.
    for round in 10..20 {
        stage.feed(0, round);
        stage.run(MINUTE + 10 * 1_000 * MS, |_| false);
    }
    assert_eq!((stage.postings(), stage.stalls()), (28, 0));
}
