//! How fast a thread's restores go, and when they will be done: for the log.

use std::time::Duration;

use crate::runtime::restore::active::Active;

/// How often progress is logged.
const INTERVAL: Duration = Duration::from_secs(5);

/// The restores of a thread, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Pace {
    looked: Option<(Duration, u64, i64)>,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Progress {
    pub(super) tasks: usize,
    /// Offsets still to be read.
    pub(super) remaining: i64,
    pub(super) mb_per_second: f64,
    /// `None` while nothing moves.
    pub(super) eta: Option<Duration>,
}

impl Pace {
    /// What there is to say now: at most every few seconds, and only while something is restored.
    /// `bytes` were read by all restores so far, those that have ended included.
    pub(super) fn look<'a>(
        &mut self,
        active: impl Iterator<Item = &'a Active>,
        bytes: u64,
        now: Duration,
    ) -> Option<Progress> {
        let (mut tasks, mut remaining) = (0, 0);
        for active in active {
            tasks += 1;
            remaining += active.bounds.map_or(0, |bounds| (bounds.end.0 - active.next.0).max(0));
        }
        if tasks == 0 {
            self.looked = None;
            return None;
        }
        self.progress(tasks, bytes, remaining, now)
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn progress(
        &mut self,
        tasks: usize,
        bytes: u64,
        remaining: i64,
        now: Duration,
    ) -> Option<Progress> {
        let Some((at, bytes_then, remaining_then)) = self.looked else {
            self.looked = Some((now, bytes, remaining));
            return None;
        };
        let span = now.saturating_sub(at);
        if span < INTERVAL {
            return None;
        }
        self.looked = Some((now, bytes, remaining));
        let mb_per_second = (bytes - bytes_then) as f64 / 1e6 / span.as_secs_f64();
        let read = (remaining_then - remaining) as f64 / span.as_secs_f64();
        let eta = (read > 0.0).then(|| remaining as f64 / read);
        let eta = eta.and_then(|seconds| Duration::try_from_secs_f64(seconds.round()).ok());
        Some(Progress { tasks, remaining, mb_per_second, eta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let mut pace = Pace::default();
        let second = Duration::from_secs;
        assert_eq!(pace.progress(2, 0, 1_000, second(0)), None);
        assert_eq!(pace.progress(2, 1, 900, second(3)), None);
        let progress = pace.progress(2, 50_000_000, 750, second(5)).unwrap();
        assert_eq!(progress.eta, Some(second(15)));
        assert!((progress.mb_per_second - 10.0).abs() < 1e-9);
        // Nothing moves: no promise.
        let stuck = pace.progress(2, 50_000_000, 750, second(10)).unwrap();
        assert_eq!((stuck.eta, stuck.remaining), (None, 750));
    }
}
