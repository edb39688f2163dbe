//! `run`: reaches the brokers, checks topics, locks the state directory, runs, drains.
//!
//! The operators' port and the signals work from the first moment, also while no broker answers.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{
    cli::{
        arguments::RunArguments,
        cluster::{Patience, Subject, create, sleep, survey, until_reached},
        engine::{Engine, Job, memory_error},
        entry::Context,
        logging,
    },
    error::{Error, ErrorKind},
    ops::{Board, Service},
    runtime::{StatusBoard, memory::MemoryPlan, plan::InstancePlan, supervisor::StopSignal},
    settings::Settings,
    state::StateDirectory,
    topology::Topology,
};

/// How often a drain's time is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Runs the command. `Ok`: drained.
pub(super) fn run(arguments: &RunArguments, context: &Context<'_>) -> Result<(), Error> {
    let settings = context.settings(&arguments.settings)?;
    let topologies = context.catalog.find_all(&arguments.topologies)?;
    check_names(&topologies, &settings)?;
    logging::start(&settings.log);
    let stop = StopSignal::default();
    let memory = settings.memory_plan(topologies.len()).map_err(memory_error)?;
    let board = |topology| board(topology, &settings, memory);
    let boards: Vec<Board> = topologies.iter().map(board).collect();
    // Before the port: of two processes on one directory, the second is told about the directory.
    let mut directories =
        boards.iter().map(|board| lock(board, &settings)).collect::<Result<Vec<_>, _>>()?;
    StateDirectory::share_memory(&mut directories);
    let service = Service::start(settings.http.bind, boards.clone(), Some(stop.clone()))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %service.address(),
        brokers = settings.kafka.bootstrap_servers,
        "started"
    );
    tracing::info!(limit = memory.limit, parts = ?memory.parts(), "memory");
    let patience = Patience { fail_fast: arguments.fail_fast, stop: &stop, pause: &sleep };
    let mut jobs = Vec::new();
    for ((topology, board), directory) in topologies.iter().zip(&boards).zip(directories) {
        let part = Part { topology, board, directory, memory };
        match prepare(part, &settings, context.engine.as_ref(), &patience)? {
            Some(job) => jobs.push(job),
            // Stopped before it began.
            None => return Ok(()),
        }
    }
    let result = supervise(jobs, &context.engine, &stop, settings.shutdown.timeout);
    if result.is_ok() {
        tracing::info!("drained");
    }
    result
}

/// Two applications of one name would share a group and a state directory.
fn check_names(topologies: &[Topology], settings: &Settings) -> Result<(), Error> {
    for (index, topology) in topologies.iter().enumerate() {
        let name = settings.application_id(&topology.name);
        let before = topologies.iter().take(index);
        if before.into_iter().any(|other| settings.application_id(&other.name) == name) {
            let message = format!(
                "two topologies would run as application {name}: each needs a name of its own; \
                 run them in processes of their own, or without application-id"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    Ok(())
}

fn board(topology: &Topology, settings: &Settings, memory: MemoryPlan) -> Board {
    Board {
        application: settings.application_id(&topology.name).to_owned(),
        topology: topology.name.clone(),
        threads: settings.threads,
        memory,
        status: StatusBoard::default(),
    }
}

fn lock(board: &Board, settings: &Settings) -> Result<StateDirectory, Error> {
    let fresh = uuid::Uuid::new_v4().to_string();
    Ok(StateDirectory::open(&settings.state.dir, &board.application, &fresh)?)
}

/// One application of the process, before its topics are known.
struct Part<'a> {
    topology: &'a Topology,
    board: &'a Board,
    directory: StateDirectory,
    memory: MemoryPlan,
}

/// Makes an application ready to run. `None`: a stop was asked for while no broker answered.
fn prepare(
    part: Part<'_>,
    settings: &Settings,
    engine: &dyn Engine,
    patience: &Patience<'_>,
) -> Result<Option<Job>, Error> {
    let Part { topology, board, directory, memory } = part;
    let application = board.application.as_str();
    let mut admin = engine.admin(settings)?;
    if until_reached(patience, || admin.brokers())?.is_none() {
        return Ok(None);
    }
    let subject = Subject {
        topology,
        application,
        replication: settings.kafka.replication_factor,
        assumed: std::collections::BTreeMap::new(),
    };
    let survey = survey(&mut *admin, &subject)?;
    let mut topics = survey.existing;
    topics.extend(create(&mut *admin, &survey.missing, patience.pause)?);
    for topic in &survey.missing {
        tracing::info!(topic = %topic.name, partitions = topic.partitions, "created");
    }
    let instance = settings.instance_id.as_deref().unwrap_or_else(|| directory.instance_id());
    let plan = InstancePlan::resolve(topology, application, instance, &topics)?;
    tracing::info!(application, instance, threads = settings.threads, "running");
    Ok(Some(Job {
        plan,
        settings: settings.clone(),
        memory,
        directory: Arc::new(directory),
        status: board.status.clone(),
        stop: patience.stop.clone(),
    }))
}

/// Runs the jobs side by side. The first that fails stops the others; its error is the result.
/// A drain that takes longer than `drain_within` is given up: the process ends and its threads
/// with it, which is a crash, and crashes lose nothing.
fn supervise(
    jobs: Vec<Job>,
    engine: &Arc<dyn Engine>,
    stop: &StopSignal,
    drain_within: Duration,
) -> Result<(), Error> {
    let (sender, results) = mpsc::channel();
    let mut running = jobs.len();
    for job in jobs {
        let (engine, sender) = (engine.clone(), sender.clone());
        let application = job.plan.application.clone();
        thread::Builder::new().name(format!("app-{application}")).spawn(move || {
            // The receiver is gone only after a drain was given up.
            let _given_up = sender.send(engine.run(job));
        })?;
    }
    drop(sender);
    let (mut outcome, mut draining) = (Ok(()), Duration::ZERO);
    while running > 0 {
        match results.recv_timeout(TICK) {
            Ok(result) => {
                running -= 1;
                stop.stop();
                if outcome.is_ok() {
                    outcome = result;
                }
            }
            Err(RecvTimeoutError::Timeout) if stop.is_requested() => {
                draining += TICK;
                if draining >= drain_within {
                    let message = format!(
                        "the drain took longer than shutdown.timeout {drain_within:?}: ended \
                         without the last epoch, which the next start repeats"
                    );
                    return outcome.and(Err(Error::new(ErrorKind::Undrained, message)));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let message = "an application's thread has panicked; its message is above";
                return outcome.and(Err(Error::new(ErrorKind::Other, message)));
            }
        }
    }
    outcome
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
