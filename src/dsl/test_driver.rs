//! Runs the chain of one subtopology on state in memory, with an output that collects. For tests
//! of operators and of the `dsl`. Event time is as in a task: what is due fires right behind the
//! record that moved the watermark.

use std::collections::VecDeque;

use crate::{
    operators::{
        EmitRefused, Emitted, OperatorChain, OperatorError, Output, Provenance, SinkIndex, Skipped,
        SourceIndex, TaskContext,
    },
    record::{Header, Offset, RecordRef, Timestamp, TopicName},
    state::{ByteStores, EpochId, EpochMarker, MemoryByteStores, TaskState},
    time::{Control, EventClock, InputKind, Progress, TimerDomain},
    topology::{Subtopology, Topology, has_watermark},
};

/// What was emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sink: SinkIndex,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
    pub(crate) headers: Vec<Header>,
}

impl Sent {
    /// `key=value@timestamp`, with `~` for null.
    pub(crate) fn text(&self) -> String {
        let show = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "~".to_owned(),
        };
        format!("{}={}@{}", show(&self.key), show(&self.value), self.timestamp)
    }
}

/// Collects what is emitted; refuses values of more than `limit` bytes.
#[derive(Debug)]
struct Collector {
    sent: Vec<Sent>,
    limit: usize,
}

impl Output for Collector {
    fn emit(&mut self, sink: SinkIndex, record: Emitted<'_>) -> Result<(), EmitRefused> {
        let size = record.value.map_or(0, <[u8]>::len);
        if size > self.limit {
            let (topic, limit) = ("target".into(), self.limit);
            return Err(EmitRefused::TooLarge { topic, size, limit });
        }
        self.sent.push(Sent {
            sink,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: record.timestamp.0,
            headers: record.headers.to_vec(),
        });
        Ok(())
    }
}

/// One task, driven by hand.
pub(crate) struct ChainDriver {
    chain: Box<dyn OperatorChain>,
    pub(crate) state: TaskState,
    output: Collector,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) now: Timestamp,
    topic: TopicName,
    offset: i64,
    epoch: u64,
    clock: Option<EventClock>,
    /// As of the last commit, and of each sealed epoch.
    clocks: VecDeque<Option<EventClock>>,
}

impl ChainDriver {
    /// A task of the subtopology of that name.
    pub(crate) fn new(topology: &Topology, subtopology: &str) -> Self {
        let part = topology.subtopologies.iter().find(|part| part.name == subtopology);
        Self::of(part.expect("the subtopology exists"))
    }

    /// A task of a topology's only subtopology.
    pub(crate) fn only(topology: &Topology) -> Self {
        assert_eq!(topology.subtopologies.len(), 1);
        Self::of(&topology.subtopologies[0])
    }

    fn of(part: &Subtopology) -> Self {
        let store = MemoryByteStores::default().open("t").unwrap();
        let kinds = part
            .sources
            .iter()
            .map(|source| source.watermarks.map_or(InputKind::Repartition, InputKind::Source));
        let clock = has_watermark(part).then(|| EventClock::new(kinds, None));
        let mut driver = Self {
            clocks: [clock.clone()].into(),
            clock,
            chain: (part.chain)(),
            state: TaskState::open(store).unwrap(),
            output: Collector { sent: Vec::new(), limit: usize::MAX },
            skipped: Vec::new(),
            now: Timestamp(0),
            topic: "input".into(),
            offset: 0,
            epoch: 0,
        };
        driver.call(None, |chain, ctx| chain.open(ctx)).unwrap();
        driver
    }

    /// Values of more bytes are refused from here on.
    pub(crate) fn limit_values(&mut self, bytes: usize) {
        self.output.limit = bytes;
    }

    fn call<R>(
        &mut self,
        provenance: Option<Provenance>,
        call: impl FnOnce(&mut dyn OperatorChain, &mut TaskContext<'_>) -> R,
    ) -> R {
        let mut ctx = TaskContext {
            state: &mut self.state,
            output: &mut self.output,
            now: self.now,
            watermark: self.clock.as_ref().and_then(EventClock::watermark),
            event_time: None,
            provenance,
            skipped: &mut self.skipped,
        };
        call(&mut *self.chain, &mut ctx)
    }

    /// Processes one record of source `source`.
    pub(crate) fn record(
        &mut self,
        source: SourceIndex,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: i64,
        headers: &[Header],
    ) -> Result<(), OperatorError> {
        let topic = self.topic.clone();
        let offset = Offset(self.offset);
        self.offset += 1;
        let record = RecordRef {
            topic: &topic,
            partition: 0,
            offset,
            timestamp: Timestamp(timestamp),
            key,
            value,
            headers,
        };
        let provenance = Provenance { topic: topic.clone(), partition: 0, offset };
        let stamp = self.call(Some(provenance), |chain, ctx| {
            chain.process(source, &record, ctx).map(|()| ctx.event_time)
        })?;
        if let (Some(clock), Some(stamp)) = (&mut self.clock, stamp) {
            clock.record(source, stamp);
        }
        self.fire()
    }

    /// Upstream tasks say how far they are.
    pub(crate) fn control(
        &mut self,
        source: SourceIndex,
        tasks: u32,
        progress: &[(u32, Progress)],
    ) -> Result<(), OperatorError> {
        let control = Control { tasks, progress: progress.iter().copied().collect() };
        if let Some(clock) = &mut self.clock {
            clock.control(source, &control);
        }
        self.fire()
    }

    /// Fires the timers that the watermark has reached.
    fn fire(&mut self) -> Result<(), OperatorError> {
        while let Some(clock) = &mut self.clock
            && let Some(reach) = clock.reach()
        {
            let Some(timer) = self.state.pop_due_timer(TimerDomain::EventTime, reach) else {
                clock.settle();
                break;
            };
            clock.firing(timer.time);
            self.call(None, |chain, ctx| chain.on_timer(&timer, ctx))?;
        }
        Ok(())
    }

    /// Processes a record of text; the timestamp is its offset.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> Result<(), OperatorError> {
        let timestamp = self.offset;
        self.record(0, Some(key.as_bytes()), Some(value.as_bytes()), timestamp, &[])
    }

    /// Fires the due processing-time timers and seals the epoch.
    pub(crate) fn seal(&mut self) -> Result<(), OperatorError> {
        while let Some(timer) = self.state.pop_due_timer(TimerDomain::ProcessingTime, self.now) {
            self.call(None, |chain, ctx| chain.on_timer(&timer, ctx))?;
        }
        self.call(None, |chain, ctx| chain.seal(ctx))?;
        self.state.seal();
        self.clocks.push_back(self.clock.clone());
        self.verify();
        Ok(())
    }

    /// Commits the oldest sealed epoch.
    pub(crate) fn commit(&mut self) {
        self.epoch += 1;
        let id = EpochId { epoch: self.epoch, incarnation: 1 };
        self.state.commit(
            EpochMarker { id, sources: Vec::new(), watermark: None },
            Offset(i64::try_from(self.epoch).unwrap()),
        );
        self.chain.committed();
        self.clocks.pop_front();
        self.verify();
    }

    /// Drops all epochs in progress.
    pub(crate) fn abort(&mut self) {
        self.chain.aborted();
        self.state.abort().unwrap();
        self.clocks.truncate(1);
        self.clock = self.clocks.front().cloned().flatten();
        self.verify();
    }

    /// Evicts everything.
    pub(crate) fn evict(&mut self) {
        self.chain.evict(&mut self.state, 0).unwrap();
        self.verify();
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        self.chain.resident_bytes()
    }

    fn verify(&self) {
        self.chain.verify(&self.state).unwrap();
    }

    /// What was emitted since the last call.
    pub(crate) fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.output.sent)
    }

    /// What was emitted since the last call, as text.
    pub(crate) fn take_text(&mut self) -> Vec<String> {
        self.take().iter().map(Sent::text).collect()
    }

    /// The operators and reasons of what was skipped since the last call.
    pub(crate) fn take_skipped(&mut self) -> Vec<(String, String)> {
        let skipped = std::mem::take(&mut self.skipped);
        skipped.into_iter().map(|skipped| (skipped.operator, skipped.reason)).collect()
    }
}
