//! The instances of a run: the real runtime on the simulated cluster, and their disks.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use tidemill::{
    runtime::{
        StateSettings, StatusBoard, TimeSettings,
        epoch::EpochLimits,
        mutants::Mutant,
        plan::{InstancePlan, TaskId},
        restore::{RestoreJob, RestoreOutcome, RestoreService, Restorer},
        stream_thread::{StreamThread, ThreadSettings},
    },
    testing::{ClientSettings, SimLog, SimRestoreLog},
};

use crate::{
    faults::{Fault, SharedArm, SimHooks},
    topology,
    world::{MS, World},
};

/// One restorer, shared by its thread (as a service) and the scheduler (which steps it).
#[derive(Clone)]
pub(crate) struct SharedRestorer(pub(crate) Rc<RefCell<Restorer<SimRestoreLog>>>);

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

/// One process.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) thread: StreamThread<SimLog, SharedRestorer>,
    pub(crate) status: StatusBoard,
    pub(crate) restorer: SharedRestorer,
    pub(crate) frozen_until: Option<Duration>,
    pub(crate) aborted_seen: u64,
    pub(crate) armed: SharedArm,
    pub(crate) made: Rc<RefCell<Vec<(Fault, &'static str)>>>,
}

impl World {
    pub(crate) fn start(&mut self, name: &str) {
        let plan =
            InstancePlan::resolve(&topology::topology(), topology::APP, name, &self.plan_infos);
        let mutant = self.scenario.mutant;
        let client = ClientSettings {
            stable_offsets: !mutant.is(Mutant::UnstableOffsets),
            replaces_disturbed: !mutant.is(Mutant::KeepsDisturbedProducer),
            id_suffix: mutant
                .is(Mutant::RandomTransactionalIds)
                .then(|| format!("-{:x}", self.rng.u32(..))),
            ..ClientSettings::new(topology::APP, name, 0)
        };
        let disk = self.disks.entry(name.to_owned()).or_default().clone();
        let uncommitted = mutant.is(Mutant::ChangelogReadUncommitted);
        let log = self.cluster.restore_log(name).read_uncommitted(uncommitted);
        let restorer = Restorer::new(log, Box::new(disk)).with_mutant(mutant);
        let restorer = SharedRestorer(Rc::new(RefCell::new(restorer)));
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
                purge_repartition_topics: self.scenario.purge.is_some(),
                purge_interval: self.scenario.purge.unwrap_or_default(),
            },
            time: TimeSettings::default(),
            incarnation: self.next_incarnation,
            session_timeout: ClientSettings::new(topology::APP, name, 0).session_timeout,
            mutant: self.scenario.mutant,
        };
        let log = self.cluster.log(client);
        let status = StatusBoard::default();
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
            status.clone(),
            Box::new(hooks),
        );
        self.instances.push(Instance {
            name: name.to_owned(),
            thread,
            status,
            restorer,
            frozen_until: None,
            aborted_seen: 0,
            armed,
            made,
        });
    }
}
