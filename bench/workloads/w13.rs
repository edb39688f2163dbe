//! W13: from the start of a process to its first committed output, for a group of one with one
//! record waiting; and the size of the binary.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::Message;

use super::workload::{EPOCH_MS, Workload};
use crate::{
    clock,
    cluster::is_passing,
    input::{Input, Keys, PARTITIONS},
    load,
    oracle::{self, Wrong},
    report, run,
    session::{Session, entry},
    systems::{Job, Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload = Workload { name: "W13", about: "cold start, size", run };

const LIMIT: Duration = Duration::from_secs(90);

/// One key: an input topic of its own.
const ONE: Input = Input { keys: Keys::Uniform, cardinality: 1, partitions: PARTITIONS };

fn run(session: &mut Session) -> Result<()> {
    let ours = cold_starts(session, System::Tidemill)?;
    let theirs = cold_starts(session, System::Streams { cache_mib: 0 })?;
    let size = stripped_bytes(session)? as f64 / 1e6;
    session.targets.extend([
        Target::at_most(
            "W13",
            format!("process start to first committed output (Kafka Streams: {theirs:.1} s)"),
            ours,
            1.0,
            "s",
        ),
        Target::at_most(
            "W13",
            "the measured binary, stripped (dev profile: optimized, no LTO)",
            size,
            50.0,
            "MB",
        ),
    ]);
    Ok(())
}

/// The median over starts without local state; the very first, which makes the internal topics,
/// is printed only.
fn cold_starts(session: &mut Session, system: System) -> Result<f64> {
    let starts = match (session.size.quick, system) {
        (true, System::Tidemill) => 2,
        (true, _) => 1,
        (false, _) => 9,
    };
    load::preload(&session.cluster, ONE, 0)?;
    let job = session.job(entry(system, EPOCH_MS), Operation::Count, ONE);
    session.cluster.make_topic(&job.output(), PARTITIONS)?;
    let mut seconds = Vec::new();
    session.settle();
    for start in 0..=starts {
        load::extend(&session.cluster, ONE, start, 1)?;
        let state = job.state(&session.place, 0);
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        seconds.push(first_output(session, &job)?);
    }
    let verdict = oracle::check(&session.cluster, &job, starts + 1)?;
    if !verdict.holds() {
        let wrong = Wrong::of(&verdict);
        return Err(match system {
            System::Tidemill => wrong.into(),
            _ => anyhow!("{system}: {wrong}"),
        });
    }
    run::clean(&session.place, &session.cluster, &job)?;
    let first = seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().context("no start")?;
    report::line(format_args!(
        "{system}: first start, internal topics made: {first:.2} s; cold starts {seconds:.2?}"
    ));
    Ok(median)
}

fn first_output(session: &Session, job: &Job) -> Result<f64> {
    let reader = session.cluster.tail(&job.output())?;
    settle(&reader)?;
    let began = clock::now();
    let mut process = job.start(&session.place, 0)?;
    loop {
        match reader.poll(Duration::from_millis(5)) {
            Some(Ok(message)) => {
                message.payload().context("an output without a value")?;
                break;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        process.check_alive()?;
        if began.elapsed() > LIMIT {
            bail!("{}: no output within {LIMIT:?}", job.system);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    process.end()?;
    Ok(seconds)
}

/// Waits until the reader stands at the end of all partitions, so that it costs nothing later.
fn settle(reader: &rdkafka::consumer::BaseConsumer) -> Result<()> {
    let mut ends = 0;
    clock::wait_for("a reader at the end of the output", LIMIT, || {
        match reader.poll(Duration::from_millis(20)) {
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) if !is_passing(&error) => return Err(error.into()),
            Some(Ok(_)) => bail!("an output though nothing runs"),
            _ => {}
        }
        Ok((ends >= PARTITIONS).then_some(()))
    })
}

/// The size of the measured binary without symbols. It is the dev profile's: a release build, with
/// link-time optimization, is a little smaller, and would compile RocksDB once more.
fn stripped_bytes(session: &Session) -> Result<u64> {
    let copy = session.place.directory.join("stripped");
    fs::copy(&session.place.tidemill, &copy).context("the tidemill binary")?;
    let stripped = Command::new("strip").arg(&copy).status().context("strip")?;
    if !stripped.success() {
        bail!("strip ended with {stripped}");
    }
    let bytes = fs::metadata(&copy)?.len();
    fs::remove_file(copy)?;
    Ok(bytes)
}
