//! How a source partition's records make a watermark.
//!
//! A watermark of `w` says: no record with a timestamp of `w` or less comes any more.

use std::time::Duration;

use crate::record::Timestamp;

/// What a source promises about the order of timestamps within one of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatermarkStrategy {
    /// They never go back; several records may share one.
    Monotonic,
    /// A record may be this much older than the newest before it, to the millisecond.
    BoundedOutOfOrderness(Duration),
}

impl WatermarkStrategy {
    /// The watermark once `newest` is the newest timestamp of the partition.
    pub fn watermark(self, newest: Timestamp) -> Timestamp {
        let bound = match self {
            Self::Monotonic => 0,
            Self::BoundedOutOfOrderness(bound) => {
                i64::try_from(bound.as_millis()).unwrap_or(i64::MAX)
            }
        };
        Timestamp(newest.0.saturating_sub(bound).saturating_sub(1))
    }
}

/// The watermark of one source partition. Its state is the newest timestamp, so that another
/// strategy may be declared later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generator {
    strategy: WatermarkStrategy,
    newest: Option<Timestamp>,
}

impl Generator {
    /// A generator that goes on from the newest timestamp seen so far.
    pub fn new(strategy: WatermarkStrategy, newest: Option<Timestamp>) -> Self {
        Self { strategy, newest }
    }

    /// Takes a record's timestamp in milliseconds; whether it is the newest. A negative one is
    /// none: the producer set no timestamp.
    pub fn advance(&mut self, timestamp: Timestamp) -> bool {
        let newer = timestamp.0 >= 0 && self.newest.is_none_or(|newest| timestamp > newest);
        if newer {
            self.newest = Some(timestamp);
        }
        newer
    }

    /// The newest timestamp so far.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// The watermark; `None` before the first timestamp.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.newest.map(|newest| self.strategy.watermark(newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(strategy: WatermarkStrategy, timestamps: &[i64]) -> Vec<Option<i64>> {
        let mut generator = Generator::new(strategy, None);
        let step = |timestamp: &i64| {
            generator.advance(Timestamp(*timestamp));
            generator.watermark().map(|watermark| watermark.0)
        };
        timestamps.iter().map(step).collect()
    }

    #[test]
    fn a_monotonic_source_may_still_bring_the_newest_timestamp_again() {
        assert_eq!(after(WatermarkStrategy::Monotonic, &[5, 5, 9]), [Some(4), Some(4), Some(8)]);
    }

    #[test]
    fn a_bound_holds_the_watermark_back_and_late_records_do_not_move_it() {
        let bound = WatermarkStrategy::BoundedOutOfOrderness(Duration::from_millis(10));
        assert_eq!(after(bound, &[100, 90, 95, 120, 0]), [89, 89, 89, 109, 109].map(Some));
    }

    #[test]
    fn no_timestamp_is_no_progress_and_extremes_do_not_overflow() {
        assert_eq!(after(WatermarkStrategy::Monotonic, &[-1, i64::MIN]), [None, None]);
        let forever = WatermarkStrategy::BoundedOutOfOrderness(Duration::MAX);
        assert_eq!(after(forever, &[0, i64::MAX]), [Some(-i64::MAX - 1), Some(-1)]);
    }
}
