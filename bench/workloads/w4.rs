//! W4: counts with more state than memory, under one memory cap for all: in a cgroup where one is
//! to be had, else by the systems' own settings alone.

use anyhow::Result;

use super::workload::{EPOCH_MS, Workload};
use crate::{
    cgroup::MemoryCgroup,
    input::{Input, Keys, PARTITIONS},
    launch, report,
    run::Measured,
    session::{Backlog, Entry, Session, entry},
    systems::{Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload =
    Workload { name: "W4", about: "count, state larger than memory", run };

/// About the least that the JVM of Kafka Streams, its heap and RocksDB can live with.
const CAP: u64 = 256 << 20;

/// What a key of 16 bytes and a count take in memory (PERFORMANCE: 1 M keys are 100 MB).
const BYTES_PER_KEY: f64 = 100.0;

/// How much state a full run makes, in caps.
const ASKED_FOR: f64 = 10.0;

fn run(session: &mut Session) -> Result<()> {
    let (cardinality, records) =
        if session.size.quick { (2_000_000, 700_000) } else { (72_000_000, 36_000_000) };
    let input = Input { keys: Keys::Uniform, cardinality, partitions: PARTITIONS };
    let times = input.distinct(records) * BYTES_PER_KEY / CAP as f64;
    let witness = MemoryCgroup::make(CAP);
    let watched = match &witness {
        Ok(_) => "each in a cgroup of that size".to_owned(),
        Err(reason) => format!("by their own settings only, no cgroup is to be had: {reason:#}"),
    };
    drop(witness);
    let (heap, stores) = launch::streams_split(CAP);
    report::line(format_args!(
        "{times:.1} x {} MiB of state, {watched}; memory.limit {} MiB; the JVM's heap {} MiB and \
         its RocksDB {} MiB",
        CAP >> 20,
        launch::tidemill_limit(CAP) >> 20,
        heap >> 20,
        stores >> 20
    ));
    let streams = System::Streams { cache_mib: 0 };
    let capped = |system| Entry { memory: Some(CAP), ..entry(system, EPOCH_MS) };
    let entries = [capped(System::Tidemill), capped(streams)];
    // Its inputs are large: once is what a session has time for.
    let backlog = Backlog { operation: Operation::Count, input, records, repetitions: 1 };
    let title = format!("W4 count, {:.0} M keys under {} MiB", cardinality as f64 / 1e6, CAP >> 20);
    let found = session.compare(&title, backlog, &entries)?;
    session.cluster.delete_topic(&input.topic())?;
    let ratio = found.speed(System::Tidemill, EPOCH_MS) / found.speed(streams, EPOCH_MS);
    let rss = |system| {
        found.median(system, EPOCH_MS, |run: &Measured| {
            run.peak_rss_bytes as f64 / f64::from(1 << 20)
        })
    };
    let (ours, theirs) = (rss(System::Tidemill), rss(streams));
    let what = format!(
        "records per CPU-s, state {times:.1} x {} MiB (peak RSS {ours:.0} and {theirs:.0} MiB)",
        CAP >> 20
    );
    let target = Target::at_least("W4", what, ratio, 1.5, "x");
    let large_enough = times >= ASKED_FOR;
    session.targets.push(if large_enough { target } else { target.not_judged() });
    Ok(())
}
