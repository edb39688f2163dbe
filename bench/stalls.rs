//! How long a thread that has work does not get to a record: the longest gaps between records.
//!
//! Counted inside the process, by the same rule in every system under test: the clock is read once
//! in 64 records, which take microseconds, and every gap of a millisecond or more is counted.

use std::{
    cell::Cell, collections::BTreeMap, fmt::Write, fs, path::Path, sync::Mutex, time::Instant,
};

use anyhow::{Context, Result};

use crate::clock;

/// The clock is read once in this many records.
const RECORDS_PER_LOOK: u64 = 64;

thread_local! {
    static LAST: Cell<(u64, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// Gaps by whole milliseconds, of all threads.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<BTreeMap<u64, u64>>);

impl Stalls {
    /// For a `static`.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// A record is about to be processed by this thread.
    pub(crate) fn record(&self) {
        LAST.with(|last| {
            let (count, at) = last.get();
            if count % RECORDS_PER_LOOK != 0 {
                last.set((count + 1, at));
                return;
            }
            let now = clock::now();
            last.set((count + 1, Some(now)));
            let gap = at.map_or(0, |at| now.duration_since(at).as_millis());
            if gap > 0
                && let Ok(mut gaps) = self.0.lock()
            {
                *gaps.entry(gap as u64).or_default() += 1;
            }
        });
    }

    /// Writes a line `milliseconds count` per length.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        if let Ok(gaps) = self.0.lock() {
            for (gap, count) in &*gaps {
                writeln!(text, "{gap} {count}")?;
            }
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Reads what [`Stalls::write`] wrote: (milliseconds, count), ascending.
pub(crate) fn read(path: &Path) -> Result<Vec<(u64, u64)>> {
    let text = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
    let line = |line: &str| {
        let (gap, count) = line.split_once(' ')?;
        Some((gap.parse().ok()?, count.parse().ok()?))
    };
    text.lines().map(|text| line(text).with_context(|| format!("stalls: {text:?}"))).collect()
}
