//! Waiting: always on a condition, always with a deadline that names what was waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How often conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The time now; the harness is a driver, and the only place of it that asks the clock.
#[expect(clippy::disallowed_methods, reason = "the harness watches real processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass: between faults, or between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "the harness watches real processes")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

/// Looks at a condition until it gives something; fails, naming `what`, after `limit`.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        pause(LOOK_EVERY);
    }
}
