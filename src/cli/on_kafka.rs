//! The engine on Kafka: connects stream threads, restore threads and commands to the brokers.

use std::sync::Arc;
#[cfg(feature = "mutants")]
use std::{env, path::PathBuf};

use crate::{
    cli::engine::Job,
    error::{Error, ErrorKind},
    kafka::{
        ClusterClients, ConnectError, ConnectionSettings, KafkaLog, KafkaRestoreLog,
        KafkaTopicAdmin, Settings as ClientSettings,
    },
    runtime::{
        ApplicationAdmin,
        hooks::{Hooks, NoHooks},
        mutants::Mutant,
        supervisor::{Connections, SystemClock},
    },
    settings::Settings,
    state::{ByteStores, StateBackend, StateDirectory},
};

/// An admin; connects when it is asked something.
pub(super) fn admin(settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
    Ok(Box::new(KafkaTopicAdmin::new(&settings.kafka)?))
}

/// Runs an application until it is drained.
pub(super) fn run(job: Job) -> Result<(), Error> {
    let (incarnation, _) = uuid::Uuid::new_v4().as_u64_pair();
    let mutant = mutant()?;
    job.run(incarnation, mutant, |job| {
        let connection = ConnectionSettings {
            settings: ClientSettings { memory: job.memory.client(), ..job.settings.kafka.clone() },
            application: job.plan.application.clone(),
            instance: job.plan.instance.clone(),
            thread: 0,
            epoch_interval: job.settings.epoch.interval,
            mutant,
        };
        Ok(OnKafka {
            clients: ClusterClients::new(&connection)?,
            connection,
            directory: job.directory.clone(),
            backend: job.backend()?,
            restore_bytes: job.memory.restore_bytes(),
            #[cfg(feature = "mutants")]
            failpoints: env::var_os("TIDEMILL_FAILPOINTS").map(PathBuf::from),
        })
    })
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        let kind = match &error {
            ConnectError::Settings(_) | ConnectError::Configuration(_) => ErrorKind::Invalid,
            ConnectError::Client(_) => ErrorKind::Kafka,
        };
        Self::from_source(kind, error)
    }
}

/// The guarantee that `TIDEMILL_MUTANT` breaks, for negative controls.
#[cfg(feature = "mutants")]
fn mutant() -> Result<Mutant, Error> {
    let name = env::var("TIDEMILL_MUTANT").unwrap_or_default();
    let mutant = Mutant::parse(&name).map_err(|reason| Error::new(ErrorKind::Invalid, reason))?;
    if mutant != Mutant::None {
        tracing::warn!(?mutant, "a guarantee is broken on purpose");
    }
    Ok(mutant)
}

#[cfg(not(feature = "mutants"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature `mutants` it can fail")]
fn mutant() -> Result<Mutant, Error> {
    Ok(Mutant::None)
}

/// What the threads of one application are made of. It holds the state directory, so that its
/// lock outlives every store that a thread has open.
struct OnKafka {
    /// Of stream thread 0.
    connection: ConnectionSettings,
    clients: ClusterClients,
    directory: Arc<StateDirectory>,
    backend: StateBackend,
    restore_bytes: u64,
    #[cfg(feature = "mutants")]
    failpoints: Option<PathBuf>,
}

impl OnKafka {
    fn connection(&self, thread: usize) -> ConnectionSettings {
        ConnectionSettings { thread, ..self.connection.clone() }
    }
}

impl Connections for OnKafka {
    type Log = KafkaLog;
    type RestoreLog = KafkaRestoreLog;

    fn log(&self, thread: usize, clock: SystemClock) -> Result<KafkaLog, String> {
        KafkaLog::sharing(&self.connection(thread), clock, &self.clients)
            .map_err(|error| error.to_string())
    }

    fn restore_log(&self, thread: usize, clock: SystemClock) -> Result<KafkaRestoreLog, String> {
        KafkaRestoreLog::sharing(&self.connection(thread), clock, &self.clients)
            .map_err(|error| error.to_string())
    }

    fn byte_stores(&self, _thread: usize) -> Box<dyn ByteStores> {
        self.directory.byte_stores(&self.backend)
    }

    fn restore_bytes(&self) -> u64 {
        self.restore_bytes
    }

    #[cfg(not(feature = "mutants"))]
    fn hooks(&self, _thread: usize) -> Box<dyn Hooks> {
        Box::new(NoHooks)
    }

    #[cfg(feature = "mutants")]
    fn hooks(&self, _thread: usize) -> Box<dyn Hooks> {
        let Some(directory) = &self.failpoints else { return Box::new(NoHooks) };
        match crate::ops::FileFailpoints::open(directory.clone()) {
            Ok(failpoints) => Box::new(failpoints),
            Err(error) => {
                tracing::error!(%error, directory = %directory.display(), "no failpoints");
                Box::new(NoHooks)
            }
        }
    }
}
