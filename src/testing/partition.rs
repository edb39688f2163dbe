//! One partition's log: records, control markers, open transactions, aborted ranges.
//!
//! Knows producer ids and epochs, nothing of coordinators or clients. Offsets are never
//! renumbered: compaction and deletion leave gaps.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use crate::{
    record::{Header, Offset, Timestamp},
    runtime::{Isolation, PartitionBounds},
    testing::codes::ErrorCode,
};

/// A record's content, shared between the log and those who read it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RecordData {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
}

impl RecordData {
    /// About the bytes it takes in a batch.
    pub(super) fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.as_ref().map_or(0, Vec::len))
            .sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}

/// Who wrote a transactional record or marker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) transactional_id: Rc<str>,
}

/// What stands at an offset.
#[derive(Debug, Clone, Hash)]
pub(super) enum Content {
    /// A record.
    Data(Rc<RecordData>),
    /// The end of a transaction.
    Marker,
}

/// An entry of the log.
#[derive(Debug, Clone, Hash)]
pub(super) struct Entry {
    pub(super) offset: i64,
    /// `None` for records written outside a transaction.
    pub(super) stamp: Option<Stamp>,
    pub(super) content: Content,
}

/// A record as it was read.
#[derive(Debug, Clone)]
pub(super) struct ReadRecord {
    pub(super) offset: Offset,
    pub(super) data: Rc<RecordData>,
    pub(super) stamp: Option<Stamp>,
}

/// One partition's log.
#[derive(Debug, Default, Hash)]
pub(super) struct Partition {
    entries: VecDeque<Entry>,
    start: i64,
    end: i64,
    /// First offset of the open transaction per producer id.
    open: BTreeMap<i64, i64>,
    /// (producer id, first offset) to last offset of what was aborted.
    aborted: BTreeMap<(i64, i64), i64>,
    /// Producers whose marker was never written (facts 9.6), and records that they wrote since.
    missing: BTreeMap<i64, u64>,
    /// The newest epoch seen per producer id.
    epochs: BTreeMap<i64, i16>,
}

impl Partition {
    /// Appends records outside any transaction; returns the last offset.
    pub(super) fn append_plain(&mut self, records: impl IntoIterator<Item = RecordData>) -> Offset {
        for record in records {
            self.push(None, Content::Data(Rc::new(record)));
        }
        Offset(self.end - 1)
    }

    /// Appends records of a transaction; returns the last offset. The partition compares epochs
    /// only (transactions V1).
    pub(super) fn append(
        &mut self,
        stamp: &Stamp,
        records: &[Rc<RecordData>],
    ) -> Result<Offset, ErrorCode> {
        self.check_epoch(stamp.producer_id, stamp.epoch)?;
        self.epochs.insert(stamp.producer_id, stamp.epoch);
        self.open.entry(stamp.producer_id).or_insert(self.end);
        if let Some(since) = self.missing.get_mut(&stamp.producer_id) {
            *since += records.len() as u64;
        }
        for record in records {
            self.push(Some(stamp.clone()), Content::Data(Rc::clone(record)));
        }
        Ok(Offset(self.end - 1))
    }

    /// Refuses a producer of which a newer epoch was seen.
    pub(super) fn check_epoch(&self, producer_id: i64, epoch: i16) -> Result<(), ErrorCode> {
        match self.epochs.get(&producer_id) {
            Some(newest) if *newest > epoch => Err(ErrorCode::InvalidProducerEpoch),
            _ => Ok(()),
        }
    }

    /// Writes the marker that ends a producer's transaction here.
    pub(super) fn end_transaction(&mut self, stamp: Stamp, commit: bool) {
        let producer_id = stamp.producer_id;
        self.epochs.insert(producer_id, stamp.epoch);
        self.missing.remove(&producer_id);
        if let Some(first) = self.open.remove(&producer_id)
            && !commit
        {
            self.aborted.insert((producer_id, first), self.end - 1);
        }
        self.push(Some(stamp), Content::Marker);
    }

    fn push(&mut self, stamp: Option<Stamp>, content: Content) {
        self.entries.push_back(Entry { offset: self.end, stamp, content });
        self.end += 1;
    }

    /// A marker of that producer's never comes.
    pub(super) fn marker_is_missing(&mut self, producer_id: i64) {
        self.missing.insert(producer_id, 0);
    }

    /// Records written by producers over their own missing marker.
    pub(super) fn written_over(&self) -> u64 {
        self.missing.values().sum()
    }

    /// Whether that producer has a transaction open here.
    pub(super) fn is_open(&self, producer_id: i64) -> bool {
        self.open.contains_key(&producer_id)
    }

    /// Producers with an open transaction here and their epochs, oldest transaction first.
    pub(super) fn open_producers(&self) -> Vec<(i64, i16, Offset)> {
        let mut producers: Vec<_> = self.open.iter().map(|(id, first)| (*first, *id)).collect();
        producers.sort_unstable();
        producers
            .into_iter()
            .map(|(first, id)| (id, self.epochs.get(&id).copied().unwrap_or(-1), Offset(first)))
            .collect()
    }

    /// Start, last stable offset, high watermark.
    pub(super) fn bounds(&self) -> PartitionBounds {
        let last_stable = self.open.values().copied().min().unwrap_or(self.end);
        PartitionBounds {
            start: Offset(self.start),
            last_stable: Offset(last_stable.max(self.start)),
            end: Offset(self.end),
        }
    }

    /// The offset where a reader of that isolation stops.
    pub(super) fn readable_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadCommitted => self.bounds().last_stable,
            Isolation::ReadUncommitted => self.bounds().end,
        }
    }

    /// Up to `max` records from `from` on, and the position behind them (behind control records
    /// and aborted ones too, where nothing else comes before the end).
    pub(super) fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max: usize,
    ) -> (Vec<ReadRecord>, Offset) {
        let end = self.readable_end(isolation);
        let first = self.entries.partition_point(|entry| entry.offset < from.0);
        let mut records = Vec::new();
        for entry in self.entries.range(first..) {
            if entry.offset >= end.0 {
                break;
            }
            if records.len() == max {
                return (records, Offset(entry.offset));
            }
            let Content::Data(data) = &entry.content else { continue };
            if isolation == Isolation::ReadCommitted && self.is_aborted(entry) {
                continue;
            }
            records.push(ReadRecord {
                offset: Offset(entry.offset),
                data: Rc::clone(data),
                stamp: entry.stamp.clone(),
            });
        }
        (records, end.max(from))
    }

    /// What a read_committed reader finds from `from` on, and the position behind it.
    pub(super) fn visit_committed(
        &self,
        from: Offset,
        mut visit: impl FnMut(Offset, &RecordData),
    ) -> Offset {
        let end = self.readable_end(Isolation::ReadCommitted);
        let first = self.entries.partition_point(|entry| entry.offset < from.0);
        for entry in self.entries.range(first..).take_while(|entry| entry.offset < end.0) {
            if let Content::Data(data) = &entry.content
                && !self.is_aborted(entry)
            {
                visit(Offset(entry.offset), data);
            }
        }
        end.max(from)
    }

    fn is_aborted(&self, entry: &Entry) -> bool {
        let Some(stamp) = &entry.stamp else { return false };
        self.aborted
            .range((stamp.producer_id, i64::MIN)..=(stamp.producer_id, entry.offset))
            .next_back()
            .is_some_and(|(_, last)| entry.offset <= *last)
    }

    /// Deletes everything below `before` (but never beyond the end).
    pub(super) fn delete_before(&mut self, before: Offset) {
        self.start = self.start.max(before.0.min(self.end));
        while self.entries.front().is_some_and(|entry| entry.offset < self.start) {
            self.entries.pop_front();
        }
    }

    /// Keeps, below the last stable offset, the last committed record of each key; drops aborted
    /// records. Markers and records without a key stay.
    pub(super) fn compact(&mut self) {
        let stable = self.bounds().last_stable.0;
        let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for entry in &self.entries {
            if entry.offset < stable
                && !self.is_aborted(entry)
                && let Content::Data(data) = &entry.content
                && let Some(key) = &data.key
            {
                last.insert(key.clone(), entry.offset);
            }
        }
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries
            .into_iter()
            .filter(|entry| match &entry.content {
                Content::Data(data) if entry.offset < stable => {
                    !self.is_aborted(entry)
                        && data.key.as_ref().is_none_or(|key| last.get(key) == Some(&entry.offset))
                }
                _ => true,
            })
            .collect();
    }
}
