//! W10: the restore of all state from the changelog, against a consumer that only reads it.

use std::{fs, time::Duration};

use anyhow::Result;

use super::workload::{EPOCH_MS, UNIFORM, Workload};
use crate::{
    changelog, clock,
    input::{Input, Keys, PARTITIONS},
    limits, load, report, run,
    session::{Session, entry},
    systems::{Job, Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload = Workload { name: "W10", about: "restore", run };

/// How long a restore may take.
const LIMIT: Duration = Duration::from_secs(600);

/// The full run's input.
const LARGE: Input = Input { keys: Keys::Uniform, cardinality: 10_000_000, partitions: PARTITIONS };

/// A changelog that is large enough for its restore to be judged.
const JUDGED_MB: f64 = 100.0;

fn run(session: &mut Session) -> Result<()> {
    let (input, mut records) =
        if session.size.quick { (UNIFORM, session.size.records / 3) } else { (LARGE, 12_000_000) };
    load::preload(&session.cluster, input, records)?;
    let job = session.job(entry(System::Tidemill, EPOCH_MS), Operation::Count, input);
    let filled = run::Run::start(&session.place, &session.cluster, &job)?;
    filled.fill(records)?;
    let topic = job.changelog().unwrap_or_default();
    let mut ratios = Vec::new();
    let megabytes = changelog::disk_bytes(&session.place.broker_data, &topic)? as f64 / 1e6;
    for _ in 0..if session.size.quick { 2 } else { 5 } {
        let raw = limits::read_all(&session.place.bootstrap, &topic, PARTITIONS)?;
        records +=
            load::extend(&session.cluster, input, records, u64::from(PARTITIONS.unsigned_abs()))?;
        session.settle();
        let restored = restore(session, &job, records)?;
        report::line(format_args!(
            "changelog of {megabytes:.0} MB: raw consumer {:.0} MB/s, restore {:.0} MB/s \
             ({restored:.2} s from process start to the next commit)",
            megabytes / raw,
            megabytes / restored
        ));
        ratios.push(raw / restored);
    }
    run::clean(&session.place, &session.cluster, &job)?;
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    if !session.size.quick {
        session.cluster.delete_topic(&input.topic())?;
    }
    let target = Target::at_least(
        "W10",
        format!("restore of {megabytes:.0} MB against a raw consumer, MB/s, start included"),
        ratio,
        0.8,
        "x",
    );
    // The start of a process outweighs the restore of a small changelog.
    session.targets.push(if megabytes < JUDGED_MB { target.not_judged() } else { target });
    Ok(())
}

/// Seconds from the start of a process without local state until it has committed `records`.
fn restore(session: &Session, job: &Job, records: u64) -> Result<f64> {
    fs::remove_dir_all(job.state(&session.place, 0))?;
    let progress = run::progress(&session.place, job)?;
    let began = clock::now();
    let mut process = job.start(&session.place, 0)?;
    clock::wait_for("a restore", LIMIT, || {
        process.check_alive()?;
        Ok((progress.records()? >= records).then_some(()))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    process.end()?;
    Ok(seconds)
}
