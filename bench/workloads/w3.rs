//! W3: counts of a million keys, 75 % of the records on a thousand of them; and the changelog that
//! comes of it.

use anyhow::Result;

use super::workload::{EPOCH_MS, HOT, Workload};
use crate::{
    changelog::Changelog,
    run::Measured,
    session::{Session, entry},
    systems::{Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload =
    Workload { name: "W3", about: "count, 75 % on 1,000 keys; changelog", run };

/// Kafka Streams' on a quiet machine, without cache.
const KNOWN_STREAMS: f64 = 7.2;

fn run(session: &mut Session) -> Result<()> {
    let uncached = System::Streams { cache_mib: 0 };
    let mut entries = vec![entry(System::Tidemill, EPOCH_MS), entry(uncached, EPOCH_MS)];
    // The caches are within 5 % of each other with these keys; the full run shows it again.
    if !session.size.quick {
        entries.push(entry(System::L3, EPOCH_MS));
        entries.extend([10, 256].map(|cache_mib| entry(System::Streams { cache_mib }, EPOCH_MS)));
    }
    let mut backlog = session.backlog(Operation::Count, HOT);
    if session.size.quick {
        // Hot keys are faster, so that the JVM is warm after more of them.
        backlog.records = backlog.records * 4 / 3;
    }
    let found = session.compare("W3 count, hot keys", backlog, &entries)?;
    let (best, theirs) = found.best_streams(EPOCH_MS);
    session.check_not_slowed(&found, &[(entry(best, EPOCH_MS), KNOWN_STREAMS)]);
    let ours = found.speed(System::Tidemill, EPOCH_MS);
    let changelog = |system, value: fn(&Changelog) -> u64| {
        found.median(system, EPOCH_MS, |run: &Measured| {
            run.changelog.as_ref().map_or(f64::NAN, |changelog| value(changelog) as f64)
        })
    };
    let ratio = |value| changelog(System::Tidemill, value) / changelog(uncached, value);
    session.targets.extend([
        Target::at_least(
            "W3",
            format!("records per CPU-s against {best}"),
            ours / theirs,
            5.0,
            "x",
        ),
        Target::at_most(
            "W3",
            "changelog records of a key that stands in the epoch already",
            changelog(System::Tidemill, |c| c.repeated),
            0.0,
            "",
        ),
        Target::at_most(
            "W3",
            "changelog bytes (on disk) against Kafka Streams, cache 0 MB",
            ratio(|c| c.disk_bytes),
            0.35,
            "x",
        ),
        Target::at_most(
            "W3",
            "changelog bytes (uncompressed) against Kafka Streams, cache 0 MB",
            ratio(|c| c.payload_bytes),
            0.35,
            "x",
        ),
    ]);
    Ok(())
}
