//! What was acknowledged and refused since a transaction began.

use std::collections::BTreeMap;

use super::{
    failure::caused_by_record,
    native::{Report, code_name},
};
use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{Delivery, RefusedRecord},
};

/// Refused records that are remembered.
const REFUSED_MAX: usize = 16;

/// The delivery reports of one transaction.
#[derive(Default)]
pub(super) struct Deliveries {
    /// By the topic handle's identity and the partition.
    last: BTreeMap<(usize, i32), i64>,
    /// Reports come in runs of one partition: the run's partition and highest offset.
    run: Option<((usize, i32), i64)>,
    refused: Vec<(RefusedKey, RefusedRecord)>,
}

/// Records that are themselves the cause go first.
type RefusedKey = bool;

impl Deliveries {
    /// A new transaction begins.
    pub(super) fn clear(&mut self) {
        self.last.clear();
        self.run = None;
        self.refused.clear();
    }

    /// Counts a report; `name` finds the topic's name by its identity.
    pub(super) fn add(&mut self, report: Report, name: impl FnOnce(usize) -> Option<TopicName>) {
        if report.error != 0 {
            let topic = name(report.topic).unwrap_or_else(|| "?".into());
            let partition = TopicPartition { topic, partition: report.partition };
            return self.refuse(report.tag, partition, report.error);
        }
        let key = (report.topic, report.partition);
        match &mut self.run {
            Some((current, highest)) if *current == key => {
                *highest = (*highest).max(report.offset);
            }
            _ => {
                self.end_run();
                self.run = Some((key, report.offset));
            }
        }
    }

    /// Notes a record that was not taken.
    pub(super) fn refuse(&mut self, tag: u64, partition: TopicPartition, error: i32) {
        let caused_by_record = caused_by_record(error);
        let reason = format!("{}: {}", code_name(error), super::native::code_text(error));
        let record = RefusedRecord { tag, partition, caused_by_record, reason };
        if self.refused.len() < REFUSED_MAX {
            self.refused.push((caused_by_record, record));
        } else if caused_by_record
            && let Some(other) = self.refused.iter_mut().find(|(cause, _)| !cause)
        {
            // A culprit matters more than one of the many that fell with it.
            *other = (true, record);
        }
    }

    fn end_run(&mut self) {
        if let Some((key, highest)) = self.run.take() {
            let last = self.last.entry(key).or_insert(highest);
            *last = (*last).max(highest);
        }
    }

    /// What there is so far; `name` finds a topic's name by its identity.
    pub(super) fn delivery(&mut self, name: impl Fn(usize) -> Option<TopicName>) -> Delivery {
        self.end_run();
        let mut last_offsets: Vec<_> = self
            .last
            .iter()
            .filter_map(|((topic, partition), offset)| {
                let topic = name(*topic)?;
                Some((TopicPartition { topic, partition: *partition }, Offset(*offset)))
            })
            .collect();
        last_offsets.sort();
        let mut refused: Vec<_> = self.refused.clone();
        refused.sort_by_key(|(cause, _)| !cause);
        Delivery { last_offsets, refused: refused.into_iter().map(|(_, r)| r).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(identity: usize) -> Option<TopicName> {
        Some(if identity == 1 { "b".into() } else { "a".into() })
    }

    fn report(topic: usize, partition: i32, offset: i64, error: i32) -> Report {
        Report { topic, partition, offset, error, tag: 7 }
    }

    #[test]
    fn the_highest_offset_per_partition_is_kept() {
        let mut deliveries = Deliveries::default();
        for (topic, partition, offset) in [(1, 0, 5), (1, 0, 6), (2, 3, 9), (1, 0, 4), (2, 3, 8)] {
            deliveries.add(report(topic, partition, offset, 0), name);
        }
        let delivery = deliveries.delivery(name);
        assert_eq!(
            delivery.last_offsets,
            [(TopicPartition::new("a", 3), Offset(9)), (TopicPartition::new("b", 0), Offset(6)),]
        );
        assert_eq!(delivery.refused, []);
        deliveries.clear();
        assert_eq!(deliveries.delivery(name), Delivery::default());
    }

    #[test]
    fn the_culprit_is_named_first_even_when_many_fell_before_it() {
        let mut deliveries = Deliveries::default();
        for _ in 0..100 {
            deliveries.add(report(1, 0, -1001, -138), name);
        }
        deliveries.add(Report { tag: 42, ..report(1, 0, -1001, 32) }, name);
        let delivery = deliveries.delivery(name);
        assert_eq!(delivery.refused.len(), REFUSED_MAX);
        assert_eq!(delivery.refused[0].tag, 42);
        assert!(delivery.refused[0].caused_by_record);
        assert!(delivery.refused[0].reason.starts_with("INVALID_TIMESTAMP"));
        assert!(!delivery.refused[1].caused_by_record);
    }
}
