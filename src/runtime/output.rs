//! What an epoch has to send: records gathered in an arena until its producer may take them.
//!
//! The younger of two epochs must not send before the older is flushed (EOS-6), so every record
//! goes through here. Nothing is decided here but partition and refusal (ERR-1); records leave in
//! the order in which they were emitted (ORD-1).

use std::collections::BTreeMap;

use crate::{
    operators::{EmitRefused, Emitted, Output, SinkIndex},
    record::{Header, Offset, OutputRecord, PartitionId, Timestamp, TopicName},
    runtime::{
        Lane, Log,
        plan::{SinkPlan, TaskId, TopicSlot},
    },
    state::partition_of,
};

/// Bytes that Kafka adds to a record alone in a batch, at most (record batch v2).
const RECORD_OVERHEAD: usize = 61 + 21;

/// What a record costs here beside its bytes.
const QUEUED_OVERHEAD: usize = size_of::<Queued>() + size_of::<PackedOrigin>();

/// The input record that led to an output, as far as there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The task.
    pub task: TaskId,
    /// The source's index and the record's offset; `None` for timers, hooks and changelogs.
    pub input: Option<(usize, Offset)>,
}

/// What Kafka gives for a record without a timestamp.
const NO_TIMESTAMP: Timestamp = Timestamp(-1);

/// The arena's first size, and what it keeps when it is empty.
const ARENA_MIN: usize = 4 << 10;
const ARENA_KEPT: usize = 256 << 10;

/// An origin in 16 bytes: there is one for every record of an epoch.
#[derive(Debug, Clone, Copy)]
struct PackedOrigin {
    offset: Offset,
    partition: PartitionId,
    subtopology: u16,
    /// [`NO_INPUT`] where there was none.
    source: u16,
}

const NO_INPUT: u16 = u16::MAX;

impl PackedOrigin {
    fn pack(origin: Origin) -> Self {
        let narrow = |number: usize| u16::try_from(number).unwrap_or(NO_INPUT);
        let (source, offset) = origin.input.unwrap_or((usize::from(NO_INPUT), Offset(0)));
        let TaskId { subtopology, partition } = origin.task;
        Self { offset, partition, subtopology: narrow(subtopology), source: narrow(source) }
    }

    fn unpack(self) -> Origin {
        let Self { offset, partition, subtopology, source } = self;
        let task = TaskId { subtopology: subtopology.into(), partition };
        Origin { task, input: (source != NO_INPUT).then_some((source.into(), offset)) }
    }
}

/// A length that is none: the record has no key, or no value.
const NULL: u32 = u32::MAX;

#[derive(Debug)]
struct Queued {
    start: usize,
    /// [`NO_TIMESTAMP`] leaves it to the client.
    timestamp: Timestamp,
    topic: TopicSlot,
    partition: PartitionId,
    key_len: u32,
    value_len: u32,
}

/// The unsent records of one epoch, in emit order.
#[derive(Debug, Default)]
pub struct EpochBuffer {
    arena: Vec<u8>,
    queue: Vec<Queued>,
    /// Of those records in the queue that have any, by their place in it.
    headers: BTreeMap<usize, Box<[Header]>>,
    sent: usize,
    origins: Vec<PackedOrigin>,
    bytes: u64,
}

impl EpochBuffer {
    /// Queues a record; its tag is its number within the epoch.
    pub fn push(&mut self, topic: TopicSlot, record: Emitted<'_>, origin: Origin, stamped: bool) {
        let start = self.arena.len();
        let needed = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if self.arena.capacity() - start < needed {
            // By a quarter, not by doubling: what is reserved counts (MEM-1).
            self.arena.reserve_exact(needed.max(start / 4).max(ARENA_MIN));
        }
        self.arena.extend_from_slice(record.key.unwrap_or_default());
        self.arena.extend_from_slice(record.value.unwrap_or_default());
        if !record.headers.is_empty() {
            self.bytes += record.headers.iter().map(header_bytes).sum::<usize>() as u64;
            self.headers.insert(self.queue.len(), record.headers.into());
        }
        self.bytes += (needed + QUEUED_OVERHEAD.max(RECORD_OVERHEAD)) as u64;
        let len = |bytes: Option<&[u8]>| {
            bytes.map_or(NULL, |bytes| u32::try_from(bytes.len()).unwrap_or(NULL - 1))
        };
        self.queue.push(Queued {
            start,
            timestamp: if stamped { record.timestamp } else { NO_TIMESTAMP },
            topic,
            partition: record.partition.unwrap_or_default(),
            key_len: len(record.key),
            value_len: len(record.value),
        });
        self.origins.push(PackedOrigin::pack(origin));
    }

    /// Hands queued records to the lane's producer; true when none is left.
    pub fn send<L: Log>(&mut self, log: &mut L, lane: Lane, topics: &[TopicName]) -> bool {
        let base = self.origins.len() - self.queue.len();
        let part = |len: u32| if len == NULL { 0 } else { len as usize };
        while let Some(queued) = self.queue.get(self.sent) {
            let key_end = queued.start + part(queued.key_len);
            let value_end = key_end + part(queued.value_len);
            let record = OutputRecord {
                topic: &topics[queued.topic as usize],
                partition: queued.partition,
                timestamp: (queued.timestamp != NO_TIMESTAMP).then_some(queued.timestamp),
                key: (queued.key_len != NULL).then(|| &self.arena[queued.start..key_end]),
                value: (queued.value_len != NULL).then(|| &self.arena[key_end..value_end]),
                headers: match self.headers.is_empty() {
                    true => &[],
                    false => self.headers.get(&self.sent).map_or(&[], |headers| headers),
                },
            };
            if log.produce(lane, &record, (base + self.sent) as u64).is_err() {
                return false;
            }
            self.sent += 1;
        }
        // The client has its copy: the arena is free for what comes.
        self.arena.clear();
        self.arena.shrink_to(ARENA_KEPT);
        self.queue.clear();
        self.headers.clear();
        self.sent = 0;
        true
    }

    /// Bytes held here: what the client has not taken, and what is kept of each record.
    pub fn held_bytes(&self) -> u64 {
        let held = self.arena.capacity()
            + self.queue.len() * size_of::<Queued>()
            + self.origins.len() * size_of::<PackedOrigin>();
        held as u64
    }

    /// What a record of this epoch weighs in the mean; `None` where there is none.
    pub fn mean_bytes(&self) -> Option<u64> {
        self.bytes.checked_div(self.origins.len() as u64)
    }

    /// Where the record with this tag came from.
    pub fn origin(&self, tag: u64) -> Option<Origin> {
        self.origins.get(usize::try_from(tag).ok()?).map(|origin| origin.unpack())
    }

    /// Bytes emitted in this epoch, sent or not.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records emitted in this epoch.
    pub fn records(&self) -> u64 {
        self.origins.len() as u64
    }
}

fn header_bytes(header: &Header) -> usize {
    size_of::<Header>() + header.name.len() + header.value.as_ref().map_or(0, |v| v.len())
}

/// Records that a broker refused in an earlier try: by origin, with the broker's words. They keep
/// their verdict across the abort, so that the replay does not abort for ever (ERR-1).
pub type Verdicts = BTreeMap<Origin, (TopicName, String)>;

/// Routes what one task emits: partition by key, refusal by the target's limits.
pub struct TaskOutput<'a> {
    /// The running epoch's buffer.
    pub buffer: &'a mut EpochBuffer,
    /// The task's sinks.
    pub sinks: &'a [SinkPlan],
    /// The record being processed.
    pub origin: Origin,
    /// Refusals of earlier tries.
    pub verdicts: &'a Verdicts,
    /// Processing time.
    pub now: Timestamp,
}

impl Output for TaskOutput<'_> {
    fn emit(&mut self, sink: SinkIndex, record: Emitted<'_>) -> Result<(), EmitRefused> {
        let Some(sink) = self.sinks.get(sink) else {
            debug_assert!(false, "a chain emits to a sink that its subtopology does not have");
            return Ok(());
        };
        self.check(sink, &record)?;
        let partition = record.partition.unwrap_or_else(|| match record.key {
            Some(key) => partition_of(key, sink.partitions),
            None => self.origin.task.partition % sink.partitions.max(1),
        });
        let record = Emitted { partition: Some(partition), ..record };
        // An input without a timestamp (-1) leaves the stamp to the log, as a producer would.
        self.buffer.push(sink.slot, record, self.origin, record.timestamp != NO_TIMESTAMP);
        Ok(())
    }
}

impl TaskOutput<'_> {
    fn check(&self, sink: &SinkPlan, record: &Emitted<'_>) -> Result<(), EmitRefused> {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize =
            record.headers.iter().map(|h| h.name.len() + len(h.value.as_deref()) + 10).sum();
        let size = len(record.key) + len(record.value) + headers + RECORD_OVERHEAD;
        if size > sink.limits.max_message_bytes {
            let limit = sink.limits.max_message_bytes;
            return Err(EmitRefused::TooLarge { topic: sink.topic.clone(), size, limit });
        }
        let refused = |reason: &str| EmitRefused::Timestamp {
            topic: sink.topic.clone(),
            timestamp: record.timestamp,
            reason: reason.to_owned(),
        };
        let age = self.now.0.saturating_sub(record.timestamp.0);
        let stamped = record.timestamp != NO_TIMESTAMP;
        if stamped && record.timestamp.0 < 0 {
            return Err(refused("negative"));
        }
        if stamped && sink.limits.before_max_ms.is_some_and(|max| age > max) {
            return Err(refused("older than message.timestamp.before.max.ms"));
        }
        if stamped && sink.limits.after_max_ms.is_some_and(|max| age < max.saturating_neg()) {
            return Err(refused("further ahead than message.timestamp.after.max.ms"));
        }
        match self.verdicts.get(&self.origin) {
            Some((topic, reason)) if *topic == sink.topic => {
                Err(EmitRefused::Verdict { topic: topic.clone(), reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::plan::TopicLimits, topology::ErrorPolicy};

    const NOW: Timestamp = Timestamp(10_000_000);

    fn sink() -> SinkPlan {
        SinkPlan {
            slot: 0,
            topic: "out".into(),
            partitions: 4,
            limits: TopicLimits {
                max_message_bytes: 200,
                before_max_ms: Some(5_000),
                after_max_ms: Some(1_000),
            },
            on_error: ErrorPolicy::Fail,
        }
    }

    fn origin() -> Origin {
        let task = TaskId { subtopology: 0, partition: 2 };
        Origin { task, input: Some((0, Offset(7))) }
    }

    fn emit(value: &[u8], timestamp: i64, verdicts: &Verdicts) -> Result<u64, EmitRefused> {
        let (sinks, mut buffer) = ([sink()], EpochBuffer::default());
        let mut output =
            TaskOutput { buffer: &mut buffer, sinks: &sinks, origin: origin(), verdicts, now: NOW };
        let record = Emitted {
            key: Some(b"k"),
            value: Some(value),
            timestamp: Timestamp(timestamp),
            headers: &[],
            partition: None,
        };
        output.emit(0, record)?;
        Ok(buffer.records())
    }

    #[test]
    fn what_the_topic_would_refuse_is_refused_when_it_is_emitted() {
        let none = Verdicts::new();
        assert_eq!(emit(&[0; 117], NOW.0, &none), Ok(1));
        let refused = emit(&[0; 118], NOW.0, &none).unwrap_err().to_string();
        assert_eq!(refused, "record of 201 bytes is larger than topic out takes (200 bytes)");
        for (timestamp, taken) in [
            (NOW.0 - 5_000, true),
            (NOW.0 - 5_001, false),
            (NOW.0 + 1_000, true),
            (NOW.0 + 1_001, false),
            (i64::MAX, false),
            (i64::MIN, false),
            (-2, false),
            (-1, true), // no timestamp: the log stamps it
        ] {
            assert_eq!(emit(b"v", timestamp, &none).is_ok(), taken, "timestamp {timestamp}");
        }
    }

    #[test]
    fn a_record_is_traced_to_its_origin_by_its_tag() {
        let task = TaskId { subtopology: 3, partition: 7 };
        let origins = [
            origin(),
            Origin { task, input: None },
            Origin { task, input: Some((2, Offset(i64::MAX))) },
        ];
        let record =
            Emitted { key: None, value: None, timestamp: NOW, headers: &[], partition: Some(0) };
        let mut buffer = EpochBuffer::default();
        for origin in origins {
            buffer.push(0, record, origin, true);
        }
        for (tag, origin) in (0..).zip(origins) {
            assert_eq!(buffer.origin(tag), Some(origin));
        }
        assert_eq!(buffer.origin(3), None);
    }

    #[test]
    fn a_record_that_the_broker_refused_keeps_its_verdict() {
        let verdicts = Verdicts::from([(origin(), ("out".into(), "INVALID_RECORD".to_owned()))]);
        let refused = emit(b"v", NOW.0, &verdicts).unwrap_err().to_string();
        assert_eq!(refused, "topic out refused the record: INVALID_RECORD");
    }

    #[test]
    fn a_key_goes_where_javas_partitioner_sends_it_and_none_stays_in_its_partition() {
        let (sinks, mut buffer) = ([sink()], EpochBuffer::default());
        let verdicts = Verdicts::new();
        let mut output = TaskOutput {
            buffer: &mut buffer,
            sinks: &sinks,
            origin: origin(),
            verdicts: &verdicts,
            now: NOW,
        };
        let record =
            Emitted { key: None, value: None, timestamp: NOW, headers: &[], partition: None };
        output.emit(0, record).unwrap();
        output.emit(0, Emitted { key: Some(b"kafka"), ..record }).unwrap();
        output.emit(0, Emitted { partition: Some(3), ..record }).unwrap();
        let partitions: Vec<_> = buffer.queue.iter().map(|queued| queued.partition).collect();
        // murmur2("kafka") is 0xd067cf64 (Kafka's own test vector).
        assert_eq!(partitions, [2, (0x5067_cf64 % 4), 3]);
    }
}
