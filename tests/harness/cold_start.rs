//! Seconds from the start of a process to its first committed output: the very first start, a
//! start beside existing topics, and a restart after SIGKILL.

use std::time::Duration;

use anyhow::{Result, bail};
use rdkafka::consumer::BaseConsumer;

use crate::{
    clock,
    cluster::{Cluster, is_passing},
    instance::Instance,
    ledger_run::{self, BALANCES, Place, TRANSFERS, Topics},
    load::{Feed, Load},
    outcome::Outcome,
    report,
};

/// How long a first output may take.
const LIMIT: Duration = Duration::from_secs(60);

/// `cold-start`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// SIGKILLs and restarts.
    #[arg(long, default_value_t = 5)]
    restarts: usize,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let launch = arguments.place.launch("cold-start", "ledger")?;
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    Topics::make(&cluster, &launch.application)?;
    let feed = Feed::open(cluster.bootstrap(), TRANSFERS)?;
    // Load all the time, so that an output is always due.
    let load = Load::start(feed, ledger_run::inputs(2, 1_000), 1, 1_000)?;
    let mut instance = Instance::new(&launch, 0)?;
    let first = first_output(&cluster, &mut instance)?;
    report::line(format_args!("first start, internal topics made: {first:.2} s"));
    instance.wait_ready(5)?;
    instance.drain()?;
    instance.wipe()?;
    let cold = first_output(&cluster, &mut instance)?;
    report::line(format_args!("cold start, no local state: {cold:.2} s"));
    let mut restarts = Vec::new();
    for _ in 0..arguments.restarts {
        instance.wait_ready(5)?;
        instance.kill()?;
        restarts.push(first_output(&cluster, &mut instance)?);
    }
    restarts.sort_by(f64::total_cmp);
    let all: Vec<String> = restarts.iter().map(|seconds| format!("{seconds:.2}")).collect();
    let median = restarts.get(restarts.len() / 2).copied().unwrap_or_default();
    report::line(format_args!(
        "restart after SIGKILL: median {median:.2} s of {} [{}]",
        restarts.len(),
        all.join(", ")
    ));
    instance.drain()?;
    load.finish()?;
    Ok(Outcome::Pass)
}

/// Starts the instance; the seconds until something new is committed.
fn first_output(cluster: &Cluster, instance: &mut Instance) -> Result<f64> {
    let tail = cluster.tail(BALANCES)?;
    warm(&tail)?;
    let started = clock::now();
    instance.start()?;
    loop {
        match tail.poll(Duration::from_millis(20)) {
            Some(Ok(_)) => return Ok(started.elapsed().as_secs_f64()),
            Some(Err(error)) if !is_passing(&error) && !is_end(&error) => return Err(error.into()),
            _ => {}
        }
        if started.elapsed() > LIMIT {
            bail!("no output within {LIMIT:?}:\n    {}", instance.log_tail());
        }
    }
}

/// Lets the reader find its partitions before the clock starts: they are at their end.
fn warm(tail: &BaseConsumer) -> Result<()> {
    let mut ends = 0;
    clock::wait_for("the reader to be at the end", LIMIT, || {
        match tail.poll(Duration::from_millis(20)) {
            Some(Err(error)) if is_end(&error) => ends += 1,
            Some(Err(error)) if !is_passing(&error) => return Err(error.into()),
            Some(Ok(_)) => bail!("an output though no instance runs"),
            _ => {}
        }
        Ok((ends >= ledger_run::BALANCES_PARTITIONS).then_some(()))
    })
}

fn is_end(error: &rdkafka::error::KafkaError) -> bool {
    matches!(error, rdkafka::error::KafkaError::PartitionEOF(_))
}
