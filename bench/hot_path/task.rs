//! One task that counts, driven by hand: no thread, no broker, an output that only looks.

use std::hint::black_box;

use anyhow::{Context, Result, anyhow};
use tidemill::{
    dsl::{Source, TopologyBuilder},
    formats::{Bytes, U64, Utf8},
    operators::{
        EmitRefused, Emitted, OperatorChain, OperatorError, Output, Provenance, SinkIndex, Skipped,
        TaskContext,
    },
    record::{Offset, RecordRef, Timestamp, TopicName},
    state::{ByteStores, EpochId, EpochMarker, MemoryByteStores, TaskState},
};

struct Looks;

impl Output for Looks {
    fn emit(&mut self, _sink: SinkIndex, record: Emitted<'_>) -> Result<(), EmitRefused> {
        black_box(record.value);
        Ok(())
    }
}

/// The task.
pub(crate) struct CountTask {
    chain: Box<dyn OperatorChain>,
    state: TaskState,
    topic: TopicName,
    offset: i64,
    epoch: u64,
    skipped: Vec<Skipped>,
}

impl CountTask {
    /// A task with nothing in it.
    pub(crate) fn new() -> Result<Self> {
        let builder = TopologyBuilder::new("hot-path");
        let records = builder.stream(Source::new("input", Utf8, Bytes));
        records.group_by_key().count("counts").updates().to("output", Utf8, U64);
        let topology = builder.build().map_err(|error| anyhow!("{error}"))?;
        let part = topology.subtopologies.first().context("no subtopology")?;
        let mut task = Self {
            chain: (part.chain)(),
            state: TaskState::open(MemoryByteStores::default().open("task")?)?,
            topic: "input".into(),
            offset: 0,
            epoch: 0,
            skipped: vec![],
        };
        task.call(None, |chain, ctx| chain.open(ctx))?;
        Ok(task)
    }

    fn call(
        &mut self,
        provenance: Option<Provenance>,
        call: impl FnOnce(&mut dyn OperatorChain, &mut TaskContext<'_>) -> Result<(), OperatorError>,
    ) -> Result<()> {
        let mut ctx = TaskContext {
            state: &mut self.state,
            output: &mut Looks,
            now: Timestamp(0),
            watermark: None,
            event_time: None,
            provenance,
            skipped: &mut self.skipped,
        };
        Ok(call(&mut *self.chain, &mut ctx)?)
    }

    /// Processes a record.
    pub(crate) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let topic = self.topic.clone();
        let offset = Offset(self.offset);
        self.offset += 1;
        let record = RecordRef {
            topic: &topic,
            partition: 0,
            offset,
            timestamp: Timestamp(0),
            key: Some(key),
            value: Some(value),
            headers: &[],
        };
        let provenance = Provenance { topic: topic.clone(), partition: 0, offset };
        self.call(Some(provenance), |chain, ctx| chain.process(0, &record, ctx))
    }

    /// Encodes what changed and closes the overlay.
    pub(crate) fn seal(&mut self) -> Result<()> {
        self.call(None, |chain, ctx| chain.seal(ctx))?;
        self.state.seal();
        Ok(())
    }

    /// Bytes of the sealed epoch's changelog.
    pub(crate) fn changelog(&self) -> usize {
        self.state
            .sealed_changes()
            .map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len))
            .sum()
    }

    /// The sealed epoch is committed.
    pub(crate) fn apply(&mut self) {
        self.epoch += 1;
        let id = EpochId { epoch: self.epoch, incarnation: 1 };
        let marker = EpochMarker { id, sources: Vec::new(), watermark: None };
        self.state.commit(marker, Offset(self.epoch as i64));
        self.chain.committed();
    }
}
