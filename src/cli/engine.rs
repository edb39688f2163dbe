//! The seam between the command line and what executes: Kafka's client, threads, the embedded log.

use std::sync::Arc;

use crate::{
    cli::{DevJob, DevRecord},
    error::{Error, ErrorKind},
    runtime::{
        ApplicationAdmin, StatusBoard,
        epoch::EpochLimits,
        memory::{MemoryError, MemoryPlan},
        mutants::Mutant,
        plan::InstancePlan,
        stream_thread::ThreadSettings,
        supervisor::{Connections, Instance, Outcome, StopSignal},
    },
    settings::{self, Settings},
    state::{StateBackend, StateDirectory},
};

/// What executes. The command line's tests have one without a broker.
pub trait Engine: Send + Sync {
    /// Prepares to ask the cluster; need not reach it yet.
    fn admin(&self, settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error>;

    /// Runs one application until it is drained (`Ok`) or fails.
    fn run(&self, job: Job) -> Result<(), Error>;

    /// Runs a topology on the embedded log until all records are processed; hands over every
    /// record of its output topics.
    fn dev(&self, job: DevJob, emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error>;
}

/// One application of this process, ready to run: topics are checked, the directory is locked.
pub struct Job {
    /// The resolved topology.
    pub plan: InstancePlan,
    /// All settings.
    pub settings: Settings,
    /// The process's memory, shared out.
    pub memory: MemoryPlan,
    /// The state directory.
    pub directory: Arc<StateDirectory>,
    /// Where it publishes.
    pub status: StatusBoard,
    /// Where a stop is asked for; shared by all applications of the process.
    pub stop: StopSignal,
}

/// Settings of stream thread 0. `incarnation` is a random number of the process.
pub fn thread_settings(
    settings: &Settings,
    memory: &MemoryPlan,
    incarnation: u64,
    mutant: Mutant,
) -> ThreadSettings {
    let epoch = &settings.epoch;
    ThreadSettings {
        thread: 0,
        epoch: EpochLimits {
            interval: epoch.interval,
            min_pause: epoch.min_pause,
            max_records: epoch.max_records,
            max_bytes: epoch.max_bytes.as_u64().min(memory.epoch_bytes()),
            timeout: epoch.timeout,
            pipelining: epoch.pipelining,
            tolerated_failures: epoch.tolerated_failures,
        },
        guarantee: epoch.guarantee,
        state: settings.state.runtime(memory),
        time: settings.time.clone(),
        incarnation,
        session_timeout: settings.kafka.session_timeout,
        mutant,
    }
}

/// A limit that does not hold what is set; settings are checked for one application when they are
/// loaded, so this is about several.
pub(super) fn memory_error(error: MemoryError) -> Error {
    Error::from_source(ErrorKind::Invalid, error)
}

impl Job {
    /// The byte stores' backend.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`]: this build has no such backend.
    pub fn backend(&self) -> Result<StateBackend, Error> {
        match self.settings.state.backend {
            settings::StateBackend::Memory => Ok(StateBackend::Memory),
            #[cfg(feature = "rocksdb")]
            settings::StateBackend::Rocksdb => {
                Ok(StateBackend::RocksDb(self.settings.state.rocksdb(&self.memory)))
            }
            #[cfg(not(feature = "rocksdb"))]
            settings::StateBackend::Rocksdb => Err(Error::new(
                crate::error::ErrorKind::Invalid,
                "setting state.backend is \"rocksdb\", which this build does not have \
                 (feature `rocksdb`); set it to \"memory\"",
            )),
        }
    }

    /// Runs the instance on `connections`, which `connect` makes of the job.
    ///
    /// # Errors
    /// Why a thread failed; the others are drained first.
    pub fn run<C: Connections + 'static>(
        self,
        incarnation: u64,
        mutant: Mutant,
        connect: impl FnOnce(&Self) -> Result<C, Error>,
    ) -> Result<(), Error> {
        let connections = Arc::new(connect(&self)?);
        let settings = thread_settings(&self.settings, &self.memory, incarnation, mutant);
        // The lock is held to the end; connections that open stores hold it longer.
        let Self { plan, settings: all, memory: _, directory: _held, status, stop } = self;
        let instance = Instance {
            plan: Arc::new(plan),
            settings,
            threads: all.threads,
            leave: all.leave_on_shutdown(),
            connections,
            status,
            stop,
        };
        match instance.run() {
            Outcome::Drained => Ok(()),
            Outcome::Failed(failure) => Err(failure.into()),
        }
    }
}

/// What this build has: Kafka's client by the feature `kafka`, the embedded log by `testing`.
#[derive(Debug, Default)]
pub(super) struct BuiltIn;

#[cfg(not(feature = "kafka"))]
fn no_client() -> Error {
    Error::new(crate::error::ErrorKind::Invalid, "this build has no Kafka client (feature `kafka`)")
}

impl Engine for BuiltIn {
    #[cfg(not(feature = "kafka"))]
    fn admin(&self, _settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
        Err(no_client())
    }

    #[cfg(feature = "kafka")]
    fn admin(&self, settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
        crate::cli::on_kafka::admin(settings)
    }

    #[cfg(not(feature = "kafka"))]
    fn run(&self, _job: Job) -> Result<(), Error> {
        Err(no_client())
    }

    #[cfg(feature = "kafka")]
    fn run(&self, job: Job) -> Result<(), Error> {
        crate::cli::on_kafka::run(job)
    }

    #[cfg(not(feature = "testing"))]
    fn dev(&self, _job: DevJob, _emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error> {
        Err(Error::new(
            crate::error::ErrorKind::Invalid,
            "this build has no embedded log (feature `testing`)",
        ))
    }

    #[cfg(feature = "testing")]
    fn dev(&self, job: DevJob, emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error> {
        crate::cli::embedded::run(job, emit)
    }
}
