//! W2: counts of a million uniform keys; and from the same runs W8 (latency), W9 (stall) and W12
//! (memory).

use anyhow::Result;

use super::workload::{EPOCH_MS, UNIFORM, Workload};
use crate::{
    run::Measured,
    session::{Comparison, Entry, Session, entry},
    systems::{Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload =
    Workload { name: "W2", about: "count, 1 M uniform keys (with W8, W9, W12)", run };

/// Kafka Streams' best on a quiet machine, with L2 as the ladder's witness.
const KNOWN_STREAMS: f64 = 9.4;
const KNOWN_L2: f64 = 1.26;

fn run(session: &mut Session) -> Result<()> {
    let paced = |system| Entry { paced: true, ..entry(system, EPOCH_MS) };
    let mut entries = vec![
        entry(System::L2, EPOCH_MS),
        entry(System::L3, EPOCH_MS),
        paced(System::Tidemill),
        paced(System::Streams { cache_mib: 0 }),
    ];
    if !session.size.quick {
        entries.push(entry(System::L4, EPOCH_MS));
        // Known to be slower with uniform keys; the full run shows it again.
        entries.extend([10, 256].map(|cache_mib| entry(System::Streams { cache_mib }, EPOCH_MS)));
    }
    // L2 copies: it takes part as the witness that this machine is not slowed.
    let (copies, counts): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.system == System::L2);
    let copied = session.backlog(Operation::Map, UNIFORM);
    let witness = session.compare("L2 on W2's input", copied, &copies)?;
    session.check_not_slowed(&witness, &[(entry(System::L2, EPOCH_MS), KNOWN_L2)]);
    let counted = session.backlog(Operation::Count, UNIFORM);
    let found = session.compare("W2 count, 1 M uniform keys", counted, &counts)?;
    let streams = System::Streams { cache_mib: 0 };
    session.check_not_slowed(&found, &[(entry(streams, EPOCH_MS), KNOWN_STREAMS)]);
    targets(session, &found);
    Ok(())
}

fn targets(session: &mut Session, found: &Comparison) {
    let ours = found.speed(System::Tidemill, EPOCH_MS);
    let (best, theirs) = found.best_streams(EPOCH_MS);
    let floor = found.speed(System::L3, EPOCH_MS);
    let tidemill = |value: fn(&Measured) -> f64| found.median(System::Tidemill, EPOCH_MS, value);
    let rss = |system| found.median(system, EPOCH_MS, |run| run.peak_rss_bytes as f64);
    let p99 = |run: &Measured| run.latency.as_ref().map_or(f64::NAN, |latency| latency.p99);
    let their_p99 = found.median(System::Streams { cache_mib: 0 }, EPOCH_MS, p99);
    session.targets.extend([
        Target::at_least(
            "W2",
            format!("records per CPU-s against {best}"),
            ours / theirs,
            4.0,
            "x",
        ),
        Target::at_least("W2", "records per CPU-s against L3", ours / floor, 0.7, "x"),
        Target::at_most(
            "W8",
            format!("p99 at half load, E = 100 ms (Kafka Streams: {their_p99:.0} ms)"),
            tidemill(p99),
            2.0 * EPOCH_MS as f64,
            "ms",
        ),
        Target::at_most(
            "W9",
            "p99 of the stall at an epoch",
            tidemill(|r| r.stall_ms(0.99)),
            50.0,
            "ms",
        ),
        Target::at_most(
            "W12",
            format!("peak memory against {best}"),
            rss(System::Tidemill) / rss(best),
            0.2,
            "x",
        ),
    ]);
}
