//! Whether the machine is idle before a run: what others do then, they also do to the run.

use std::time::Duration;

use serde::Serialize;

use crate::{clock, process};

/// A machine that is less idle than this disturbs.
const IDLE: f64 = 0.95;

/// How it is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// For this long it has to be idle.
    pub(crate) window: Duration,
    /// So many times; then the run is made all the same.
    pub(crate) tries: u32,
}

impl Look {
    /// Four seconds, with `quick` one; for up to `patience_s` seconds, but once at least.
    pub(crate) fn new(quick: bool, patience_s: u64) -> Self {
        let window_s = if quick { 1 } else { 4 };
        let tries = u32::try_from(patience_s / window_s).unwrap_or(u32::MAX).max(1);
        Self { window: Duration::from_secs(window_s), tries }
    }
}

/// What was seen before a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Quiet {
    /// The part of all processors' time that was idle, in the last window.
    pub(crate) idle: f64,
}

impl Quiet {
    /// Looks at the machine until it is idle, or as often as `look` says.
    pub(crate) fn wait(look: Look) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::until_idle(look, || {
            let (busy, began) = (process::machine_busy_s(), clock::now());
            clock::pause(look.window);
            idle(process::machine_busy_s() - busy, began.elapsed().as_secs_f64(), cpus)
        })
    }

    /// [`Quiet::wait`] with what is seen of the machine as an argument.
    pub(crate) fn until_idle(look: Look, mut see: impl FnMut() -> f64) -> Self {
        let mut seen = Self { idle: see() };
        for _ in 1..look.tries {
            if !seen.disturbed() {
                break;
            }
            seen = Self { idle: see() };
        }
        seen
    }

    /// Whether something else was at work.
    pub(crate) fn disturbed(self) -> bool {
        self.idle < IDLE
    }
}

/// The idle part of `cpus` processors that were busy for `busy_s` together within `wall_s`.
pub(crate) fn idle(busy_s: f64, wall_s: f64, cpus: usize) -> f64 {
    (1.0 - busy_s / (wall_s * cpus as f64).max(1e-9)).clamp(0.0, 1.0)
}
