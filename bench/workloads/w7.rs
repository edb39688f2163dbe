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
    Workload { name: "W7", about: "1 to 480 partitions, mostly idle", run };

/// Keys, and so at most as many partitions with records.
const KEYS: u64 = 8;

/// Records per second: a few per key and epoch.
const RATE: f64 = 400.0;

/// How much more an epoch may cost with all idle partitions beside the active ones.
const GROWTH: f64 = 1.5;

fn run(session: &mut Session) -> Result<()> {
    let mut found = Vec::new();
    // 500 does not divide the key groups, so state cannot be kept by it; 480 is the nearest below.
    for partitions in [1, 8, 100, 480] {
        let input = Input { keys: Keys::Uniform, cardinality: KEYS, partitions };
        load::preload(&session.cluster, input, 0)?;
        let job = session.job(entry(System::Tidemill, EPOCH_MS), Operation::Count, input);
        let seconds = if session.size.quick { 8.0 } else { 30.0 };
        let running = run::Run::start(&session.place, &session.cluster, &job)?;
        let (latency, broker) = running.steady(RATE, seconds)?;
        let per_epoch_ms = broker * EPOCH_MS as f64;
        report::line(format_args!(
            "{partitions:>3} partitions: broker {per_epoch_ms:.1} CPU-ms per epoch, latency p50 \
             {:.0} ms, p99 {:.0} ms",
            latency.p50, latency.p99
        ));
        found.push((per_epoch_ms, latency.p50));
        run::clean(&session.place, &session.cluster, &job)?;
        session.cluster.delete_topic(&input.topic())?;
    }
    if let [_, few, .., many] = found.as_slice() {
        session.targets.extend([
            Target::at_most(
                "W7",
                "broker CPU per epoch, 480 against 8",
                many.0 / few.0,
                GROWTH,
                "x",
            ),
            Target::at_most(
                "W7",
                "latency p50, 480 partitions against 8",
                many.1 / few.1,
                GROWTH,
                "x",
            ),
        ]);
    }
    Ok(())
}
