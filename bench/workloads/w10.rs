//! W10: the restore of all state from the changelog, against a consumer that only reads it.

use std::{fs, time::Duration};

use anyhow::Result;

use super::workload::{EPOCH_MS, UNIFORM, Workload};
use crate::{
    changelog, clock,
    input::PARTITIONS,
    limits, load, report, run,
    session::{Session, entry},
    systems::{Job, Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload = Workload { name: "W10", about: "restore", run };

/// How long a restore may take.
const LIMIT: Duration = Duration::from_secs(600);

fn run(session: &mut Session) -> Result<()> {
    load::preload(&session.cluster, UNIFORM, session.size.records)?;
    let job = session.job(entry(System::Tidemill, EPOCH_MS), Operation::Count, UNIFORM);
    let filled = run::Run::start(&session.place, &session.cluster, &job)?;
    filled.fill(session.size.records)?;
    let topic = job.changelog().unwrap_or_default();
    let mut ratios = Vec::new();
    let megabytes = changelog::disk_bytes(&session.place.broker_data, &topic)? as f64 / 1e6;
    let mut records = session.size.records;
    for _ in 0..if session.size.quick { 2 } else { 5 } {
        let raw = limits::read_all(&session.place.bootstrap, &topic, PARTITIONS)?;
        records +=
            load::extend(&session.cluster, UNIFORM, records, u64::from(PARTITIONS.unsigned_abs()))?;
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
    session.targets.push(Target::at_least(
        "W10",
        format!("restore of {megabytes:.0} MB against a raw consumer, MB/s, start included"),
        ratio,
        0.8,
        "x",
    ));
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
