//! Where each partition of a consumer stands: what was asked of librdkafka, and what is wanted.
//!
//! Bookkeeping alone: it never calls librdkafka. One rule is kept here: a partition that librdkafka
//! still has is never handed to it a second time, whoever wants it again in the meantime.
//!
//! Pauses are ours alone here (`RD_KAFKA_TOPPAR_F_APP_PAUSE`). librdkafka pauses everything that is
//! assigned by a flag of its own (`F_LIB_PAUSE`) while a rebalance waits to be answered
//! (rdkafka_cgrp.c:1260), and takes that back when it is: for what stays assigned
//! (rdkafka_cgrp.c:4361, 4399), for what is unassigned (rdkafka_assignment.c:373) and for what is
//! started (rdkafka_assignment.c:503). Neither flag touches the other, and a resume that finds
//! nothing to resume is dropped when it is asked for, not when it is carried out
//! (rdkafka_partition.c:2384). No partition stays paused by that: pauses and answers lie in one
//! queue in the order in which they were asked for (rdkafka_partition.c:291, rdkafka.c:2245), and
//! every rebalance is answered (`membership`). What would show if this were wrong is a task that
//! makes no progress (`runtime::stream_thread::progress`).

use std::collections::{BTreeMap, BTreeSet};

use super::native::{PartitionError, code};
use crate::record::{Offset, PartitionId, TopicName, TopicPartition};

/// A partition that may be read.
#[derive(Debug, Default)]
struct Position {
    /// librdkafka has it.
    assigned: bool,
    /// Its fetcher has stopped after an error: it must be assigned anew.
    broken: bool,
    paused: bool,
    /// What is to be read from here on, not carried out yet.
    wanted: Option<i64>,
    /// The next offset to deliver; `None` while nothing of it may be delivered.
    next: Option<i64>,
}

/// What an error that came in a message's place means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It concerns no partition that is known here.
    Stranger,
    /// Nothing to tell: it is about a position that nobody wants any more.
    Past,
    /// The reader stands at the partition's end, this offset.
    End(Offset),
    /// The partition cannot be read.
    Unreadable,
}

/// What has to be asked of librdkafka, one call per kind, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// To be unassigned, since their fetchers have stopped by themselves.
    pub(super) broken: Vec<TopicPartition>,
    /// To be assigned at these offsets.
    pub(super) fresh: Vec<(TopicPartition, i64)>,
    /// To be moved to these offsets.
    pub(super) moved: Vec<(TopicPartition, i64)>,
}

/// All partitions of one consumer.
#[derive(Debug, Default)]
pub(super) struct Positions {
    table: BTreeMap<TopicName, BTreeMap<PartitionId, Position>>,
    /// Not read any more, but librdkafka still has them.
    leaving: BTreeSet<TopicPartition>,
    /// Some partition has a read that is not carried out.
    reads_waiting: bool,
}

impl Positions {
    /// Takes a partition; nothing of it is delivered before it is read.
    pub(super) fn accept(&mut self, partition: TopicPartition) {
        self.table.entry(partition.topic).or_default().entry(partition.partition).or_default();
    }

    /// Reads a partition no more. If librdkafka has it, it is leaving from now on.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        let Some(numbers) = self.table.get_mut(&partition.topic) else { return };
        let known = numbers.remove(&partition.partition);
        if numbers.is_empty() {
            self.table.remove(&partition.topic);
        }
        if known.is_some_and(|known| known.assigned) {
            self.leaving.insert(partition.clone());
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// What librdkafka has and should not have any more.
    pub(super) fn leaving(&self) -> &BTreeSet<TopicPartition> {
        &self.leaving
    }

    /// librdkafka has given up what was leaving.
    pub(super) fn left(&mut self) {
        self.leaving.clear();
    }

    /// Wants a partition from an offset on; `false` if it was not accepted.
    pub(super) fn read(&mut self, partition: &TopicPartition, offset: Offset) -> bool {
        let Some(position) = self.position(partition) else { return false };
        position.wanted = Some(offset.0);
        position.next = None;
        self.reads_waiting = true;
        true
    }

    /// Delivers nothing of a partition until it is read again. Says whether it is to be paused.
    pub(super) fn hold(&mut self, partition: &TopicPartition) -> bool {
        let Some(position) = self.position(partition) else { return false };
        position.wanted = None;
        position.next = None;
        position.assigned && !std::mem::replace(&mut position.paused, position.assigned)
    }

    /// Whether some read is not carried out.
    pub(super) fn reads_wait(&self) -> bool {
        self.reads_waiting
    }

    /// What is to be asked of librdkafka now. A partition that is leaving is not assigned before
    /// it has left.
    pub(super) fn steps(&self) -> Steps {
        let mut steps = Steps::default();
        for (topic, numbers) in &self.table {
            for (number, position) in numbers {
                let Some(offset) = position.wanted else { continue };
                let partition = TopicPartition { topic: topic.clone(), partition: *number };
                match position {
                    Position { assigned: false, .. } if self.leaving.contains(&partition) => {}
                    Position { assigned: false, .. } => steps.fresh.push((partition, offset)),
                    Position { broken: true, .. } => steps.broken.push(partition),
                    _ => steps.moved.push((partition, offset)),
                }
            }
        }
        steps
    }

    /// Steps were carried out; others may still wait.
    pub(super) fn stepped(&mut self) {
        let mut positions = self.table.values().flat_map(BTreeMap::values);
        self.reads_waiting = positions.any(|position| position.wanted.is_some());
    }

    /// librdkafka has given these up, to be assigned anew.
    pub(super) fn unassigned(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(position) = self.position(partition) {
                position.assigned = false;
                position.broken = false;
                position.paused = false;
            }
        }
    }

    /// librdkafka has taken these.
    pub(super) fn assigned(&mut self, partitions: &[(TopicPartition, i64)]) {
        for (partition, offset) in partitions {
            if let Some(position) = self.position(partition) {
                position.assigned = true;
                position.wanted = None;
                position.next = Some(*offset);
            }
        }
    }

    /// librdkafka reads on from that offset. Says whether it is to be resumed.
    pub(super) fn moved(&mut self, partition: &TopicPartition, offset: i64) -> bool {
        let Some(position) = self.position(partition) else { return false };
        position.wanted = None;
        position.next = Some(offset);
        std::mem::take(&mut position.paused)
    }

    /// Pauses or resumes whatever is delivered. Says what is to be changed.
    pub(super) fn throttle(&mut self, paused: bool) -> Vec<TopicPartition> {
        let mut changed = vec![];
        for (topic, numbers) in &mut self.table {
            for (number, position) in numbers {
                if position.next.is_some() && position.paused != paused {
                    position.paused = paused;
                    changed.push(TopicPartition { topic: topic.clone(), partition: *number });
                }
            }
        }
        changed
    }

    /// From where on a partition's records are delivered, with the topic's shared name; `None`
    /// where nothing is.
    pub(super) fn next_of(&self, topic: &str, partition: PartitionId) -> Option<(TopicName, i64)> {
        let (name, numbers) = self.table.get_key_value(topic)?;
        Some((name.clone(), numbers.get(&partition)?.next?))
    }

    /// Records up to `last` are delivered.
    pub(super) fn delivered(&mut self, topic: &TopicName, partition: PartitionId, last: i64) {
        if let Some(position) = self.table.get_mut(topic).and_then(|n| n.get_mut(&partition)) {
            position.next = Some(last + 1);
        }
    }

    /// Takes note of an error, and says what it means.
    pub(super) fn fault(&mut self, error: &PartitionError) -> Fault {
        let numbers = self.table.get_mut(error.topic.as_str());
        let position = numbers.and_then(|numbers| numbers.get_mut(&error.partition));
        let Some(position) = position else { return Fault::Stranger };
        let stops = stops_the_fetcher(error.code);
        position.broken |= stops;
        // Without a next offset it is about a position that nobody wants any more.
        let Some(next) = position.next else { return Fault::Past };
        if error.code == code::PARTITION_EOF {
            if error.offset < next {
                return Fault::Past;
            }
            position.next = Some(error.offset);
            return Fault::End(Offset(error.offset));
        }
        if stops {
            position.next = None;
            if error.offset >= 0 && error.offset < next {
                // About a position before a rewind or an earlier one: read on.
                position.wanted = Some(next);
                self.reads_waiting = true;
                return Fault::Past;
            }
        }
        Fault::Unreadable
    }

    fn position(&mut self, partition: &TopicPartition) -> Option<&mut Position> {
        self.table.get_mut(&partition.topic)?.get_mut(&partition.partition)
    }
}

fn stops_the_fetcher(error: i32) -> bool {
    matches!(error, code::AUTO_OFFSET_RESET | code::OFFSET_OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: PartitionId) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn error(code: i32, offset: i64) -> PartitionError {
        let (topic, reason) = ("t".to_owned(), String::new());
        PartitionError { topic, partition: 0, offset, code, reason }
    }

    fn read(positions: &mut Positions, partition: PartitionId, offset: i64) {
        positions.accept(at(partition));
        assert!(positions.read(&at(partition), Offset(offset)));
    }

    /// Partition 0, assigned at offset 5.
    fn reading() -> Positions {
        let mut positions = Positions::default();
        read(&mut positions, 0, 5);
        positions.assigned(&[(at(0), 5)]);
        positions.stepped();
        positions
    }

    #[test]
    fn a_partition_that_leaves_is_not_assigned_before_it_has_left() {
        let mut positions = reading();
        positions.forget(&at(0));
        read(&mut positions, 0, 9);
        read(&mut positions, 1, 2);
        assert_eq!(positions.steps().fresh, [(at(1), 2)], "only what librdkafka has not");
        positions.assigned(&[(at(1), 2)]);
        positions.stepped();
        assert!(positions.reads_wait());
        positions.left();
        assert_eq!(positions.steps().fresh, [(at(0), 9)]);
        // What was never assigned has nothing to leave.
        positions.forget(&at(0));
        assert!(positions.leaving().is_empty());
    }

    #[test]
    fn a_partition_is_assigned_once_then_moved_and_assigned_anew_after_its_fetcher_stopped() {
        let mut positions = reading();
        assert!(!positions.reads_wait());
        read(&mut positions, 0, 3);
        assert_eq!(positions.steps(), Steps { moved: vec![(at(0), 3)], ..Steps::default() });
        assert!(!positions.moved(&at(0), 3));
        assert_eq!(positions.fault(&error(code::OFFSET_OUT_OF_RANGE, 3)), Fault::Unreadable);
        assert_eq!(positions.next_of("t", 0), None);
        read(&mut positions, 0, 7);
        assert_eq!(positions.steps(), Steps { broken: vec![at(0)], ..Steps::default() });
        positions.unassigned(&[at(0)]);
        assert_eq!(positions.steps(), Steps { fresh: vec![(at(0), 7)], ..Steps::default() });
    }

    #[test]
    fn a_held_partition_delivers_nothing_and_is_resumed_by_its_next_read() {
        let mut positions = reading();
        assert!(positions.hold(&at(0)));
        assert!(!positions.hold(&at(0)), "paused already");
        assert_eq!(positions.next_of("t", 0), None);
        read(&mut positions, 0, 6);
        assert!(positions.moved(&at(0), 6));
        assert_eq!(positions.next_of("t", 0).map(|(_, next)| next), Some(6));
        positions.accept(at(1));
        assert!(!positions.hold(&at(1)), "librdkafka does not have it");
    }

    #[test]
    fn throttling_changes_only_what_is_delivered() {
        let mut positions = reading();
        positions.accept(at(1));
        assert_eq!(positions.throttle(true), [at(0)]);
        assert_eq!(positions.throttle(true), []);
        assert_eq!(positions.throttle(false), [at(0)]);
    }

    #[test]
    fn an_error_about_an_earlier_position_is_read_over() {
        let mut positions = reading();
        positions.delivered(&"t".into(), 0, 9);
        assert_eq!(positions.fault(&error(code::PARTITION_EOF, 8)), Fault::Past);
        assert_eq!(positions.fault(&error(code::PARTITION_EOF, 12)), Fault::End(Offset(12)));
        assert_eq!(positions.fault(&error(code::OFFSET_OUT_OF_RANGE, 4)), Fault::Past);
        assert_eq!(positions.steps().broken, [at(0)]);
        positions.unassigned(&[at(0)]);
        assert_eq!(positions.steps().fresh, [(at(0), 12)]);
        let stranger = PartitionError { partition: 4, ..error(code::PARTITION_EOF, 0) };
        assert_eq!(positions.fault(&stranger), Fault::Stranger);
    }
}
