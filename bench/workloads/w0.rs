//! W0: pass-through, one to one, at epochs of 100 ms and 1 s.

use anyhow::Result;

use super::workload::{EPOCH_MS, UNIFORM, Workload};
use crate::{
    session::{Session, entry},
    systems::{Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload = Workload { name: "W0", about: "pass-through", run };

const LONG_EPOCH_MS: u64 = 1_000;

/// CPU-seconds per million records on a quiet machine.
const KNOWN_L2: f64 = 1.26;
const KNOWN_L2_LONG: f64 = 0.94;
const KNOWN_STREAMS: f64 = 2.1;

fn run(session: &mut Session) -> Result<()> {
    let streams = System::Streams { cache_mib: 0 };
    let mut entries = vec![
        entry(System::L1, EPOCH_MS),
        entry(System::L2, EPOCH_MS),
        entry(System::L2, LONG_EPOCH_MS),
        entry(System::Tidemill, EPOCH_MS),
        entry(System::Tidemill, LONG_EPOCH_MS),
    ];
    let mut known = vec![
        (entry(System::L2, EPOCH_MS), KNOWN_L2),
        (entry(System::L2, LONG_EPOCH_MS), KNOWN_L2_LONG),
    ];
    // It copies a small input within the time that its JVM takes to warm up, and no target of W0
    // is about it.
    if !session.size.quick {
        entries.push(entry(streams, EPOCH_MS));
        known.push((entry(streams, EPOCH_MS), KNOWN_STREAMS));
    }
    let backlog = session.backlog(Operation::Map, UNIFORM);
    let found = session.compare("W0 pass-through", backlog, &entries)?;
    session.check_not_slowed(&found, &known);
    for (epoch_ms, bound) in [(EPOCH_MS, 0.75), (LONG_EPOCH_MS, 0.9)] {
        let ratio = found.speed(System::Tidemill, epoch_ms) / found.speed(System::L2, epoch_ms);
        let what = format!("records per CPU-s against L2({epoch_ms} ms)");
        session.targets.push(Target::at_least("W0", what, ratio, bound, "x"));
    }
    Ok(())
}
