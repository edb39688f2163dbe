//! The engine on Kafka: connects stream threads, restore threads and commands to the brokers.

use std::sync::Arc;
#[cfg(feature = "mutants")]
use std::{env, path::PathBuf};

use crate::{
    cli::engine::Job,
    error::{Error, ErrorKind},
    kafka::{
        ConnectError, ConnectionSettings, KafkaLog, KafkaRestoreLog, KafkaTopicAdmin,
        Settings as ClientSettings,
    },
    runtime::{
        ApplicationAdmin,
        hooks::{Hooks, NoHooks},
        mutants::Mutant,
        supervisor::{Connections, SystemClock},
    },
    settings::{Settings, SettingsError},
    state::{ByteStores, StateBackend, StateDirectory},
};

/// An admin; connects when it is asked something.
pub(super) fn admin(settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
    Ok(Box::new(KafkaTopicAdmin::new(&client(settings)?)?))
}

/// Runs an application until it is drained.
pub(super) fn run(job: Job) -> Result<(), Error> {
    let (incarnation, _) = uuid::Uuid::new_v4().as_u64_pair();
    let mutant = mutant()?;
    job.run(incarnation, mutant, |job| {
        Ok(OnKafka {
            client: ClientSettings { memory: job.memory.client(), ..client(&job.settings)? },
            application: job.plan.application.clone(),
            instance: job.plan.instance.clone(),
            epoch_interval: job.settings.epoch.interval,
            restore_read_uncommitted: mutant.changelog_read_uncommitted(),
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
            ConnectError::Settings(_) => ErrorKind::Invalid,
            ConnectError::Client(_) => ErrorKind::Kafka,
        };
        Self::from_source(kind, error)
    }
}

fn client(settings: &Settings) -> Result<ClientSettings, Error> {
    let unreadable = |problem| SettingsError::Invalid(vec![problem]);
    Ok(settings.kafka.client().map_err(unreadable)?)
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
    client: ClientSettings,
    application: String,
    instance: String,
    epoch_interval: std::time::Duration,
    restore_read_uncommitted: bool,
    directory: Arc<StateDirectory>,
    backend: StateBackend,
    restore_bytes: u64,
    #[cfg(feature = "mutants")]
    failpoints: Option<PathBuf>,
}

impl OnKafka {
    fn connection(&self, thread: usize) -> ConnectionSettings {
        ConnectionSettings {
            settings: self.client.clone(),
            application: self.application.clone(),
            instance: self.instance.clone(),
            thread,
            epoch_interval: self.epoch_interval,
            restore_read_uncommitted: self.restore_read_uncommitted,
        }
    }
}

impl Connections for OnKafka {
    type Log = KafkaLog;
    type RestoreLog = KafkaRestoreLog;

    fn log(&self, thread: usize, clock: SystemClock) -> Result<KafkaLog, String> {
        KafkaLog::new(&self.connection(thread), clock).map_err(|error| error.to_string())
    }

    fn restore_log(&self, thread: usize, clock: SystemClock) -> Result<KafkaRestoreLog, String> {
        KafkaRestoreLog::new(&self.connection(thread), clock).map_err(|error| error.to_string())
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
