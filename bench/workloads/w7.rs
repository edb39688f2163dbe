//! W7: one instance with many partitions, of which at most eight have records: what an epoch costs
//! must follow those, not all.

use anyhow::Result;

use super::workload::{EPOCH_MS, Workload};
use crate::{
    input::{Input, Keys},
    load, report, run,
    session::{Session, entry},
    systems::{Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload =
    Workload { name: "W7", about: "1 to 500 partitions, mostly idle", run };

/// Keys, and so at most as many partitions with records.
const KEYS: u64 = 8;

/// Records per second: a few per key and epoch.
const RATE: f64 = 400.0;

/// How much more an epoch may cost with all idle partitions beside the active ones.
const GROWTH: f64 = 1.5;

/// Partitions with state. 500 does not divide the key groups; 480 is the nearest below.
const COUNTED: &[i32] = &[1, 8, 100, 480];
/// Partitions without state.
const COPIED: &[i32] = &[8, 500];

/// Broker CPU-milliseconds per epoch, and the median latency in milliseconds.
type Cost = (f64, f64);

fn run(session: &mut Session) -> Result<()> {
    if session.size.quick {
        return growth(session, Operation::Count, &[8, 100]);
    }
    growth(session, Operation::Count, COUNTED)?;
    growth(session, Operation::Map, COPIED)
}

/// Measures with these numbers of partitions, and compares the last one with eight.
fn growth(session: &mut Session, operation: Operation, partitions: &[i32]) -> Result<()> {
    let mut few: Option<Cost> = None;
    let mut many: Option<(i32, Cost)> = None;
    for &partitions in partitions {
        let cost = measure(session, operation, partitions)?;
        if partitions == 8 {
            few = Some(cost);
        }
        many = Some((partitions, cost));
    }
    let (Some(few), Some((partitions, many))) = (few, many) else { return Ok(()) };
    let operation = operation.name();
    let what = |what| format!("{what}, {partitions} partitions against 8 ({operation})");
    session.targets.extend([
        Target::at_most("W7", what("broker CPU per epoch"), many.0 / few.0, GROWTH, "x"),
        Target::at_most("W7", what("latency p50"), many.1 / few.1, GROWTH, "x"),
    ]);
    Ok(())
}

fn measure(session: &mut Session, operation: Operation, partitions: i32) -> Result<Cost> {
    let input = Input { keys: Keys::Uniform, cardinality: KEYS, partitions };
    load::preload(&session.cluster, input, 0)?;
    let job = session.job(entry(System::Tidemill, EPOCH_MS), operation, input);
    let seconds = if session.size.quick { 5.0 } else { 30.0 };
    session.settle();
    let running = run::Run::start(&session.place, &session.cluster, &job)?;
    let (latency, broker) = running.steady(RATE, seconds)?;
    let per_epoch_ms = broker * EPOCH_MS as f64;
    report::line(format_args!(
        "{}, {partitions:>3} partitions: broker {per_epoch_ms:.1} CPU-ms per epoch, latency p50 \
         {:.0} ms, p99 {:.0} ms",
        operation.name(),
        latency.p50,
        latency.p99
    ));
    run::clean(&session.place, &session.cluster, &job)?;
    session.cluster.delete_topic(&input.topic())?;
    Ok((per_epoch_ms, latency.p50))
}
