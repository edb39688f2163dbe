//! Input: records produced at a pace, by a thread of its own, without loss or repetition.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use crate::clock;

/// How long the last records may take to be acknowledged.
const FLUSH: Duration = Duration::from_secs(60);

/// Paced records are produced in small lots this often.
const LOT_EVERY: Duration = Duration::from_millis(5);

/// One record of the input.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// Its partition.
    pub(crate) partition: i32,
    /// Its value; there is no key.
    pub(crate) value: Vec<u8>,
}

/// Counts what the brokers acknowledged and refused.
#[derive(Clone, Default)]
struct Deliveries {
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// An idempotent producer that counts.
pub(crate) struct Feed {
    producer: BaseProducer<Deliveries>,
    topic: String,
    deliveries: Deliveries,
    sent: u64,
}

impl Feed {
    /// A producer into `topic`.
    pub(crate) fn open(bootstrap: &str, topic: &str) -> Result<Self> {
        let deliveries = Deliveries::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .create_with_context(deliveries.clone())?;
        Ok(Self { producer, topic: topic.to_owned(), deliveries, sent: 0 })
    }

    /// Produces one record; waits while the queue is full.
    pub(crate) fn send(&mut self, input: &Input) -> Result<()> {
        let deadline = clock::now() + FLUSH;
        loop {
            let record = BaseRecord::<(), [u8]>::to(&self.topic)
                .partition(input.partition)
                .payload(&input.value);
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    if clock::now() > deadline {
                        bail!("the brokers take no input: the queue is full for {FLUSH:?}");
                    }
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(anyhow!(error).context("input not produced")),
            }
        }
        self.sent += 1;
        if self.sent.is_multiple_of(1_000) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Waits until all is acknowledged; how many records that are.
    pub(crate) fn finish(&mut self) -> Result<u64> {
        self.producer.flush(FLUSH).context("the input was not acknowledged")?;
        let refused = self.deliveries.refused.load(Ordering::Relaxed);
        if refused > 0 {
            bail!("{refused} input records were refused by the brokers");
        }
        let acknowledged = self.deliveries.acknowledged.load(Ordering::Relaxed);
        if acknowledged != self.sent {
            bail!("{} input records sent, {acknowledged} acknowledged", self.sent);
        }
        Ok(acknowledged)
    }
}

/// What became of a [`Load`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Produced {
    /// Records acknowledged.
    pub(crate) records: u64,
    /// When the last one was sent.
    pub(crate) last: Instant,
}

/// A thread that produces: at a pace at first, as fast as it can once it is told that the faults
/// are over.
pub(crate) struct Load {
    sent: Arc<AtomicU64>,
    sprint: Arc<AtomicBool>,
    thread: JoinHandle<Result<Produced>>,
}

impl Load {
    /// Produces at least `enough` of the inputs, `per_second` of them in each second until
    /// [`Load::finish`]; it ends by itself only when `inputs` does.
    pub(crate) fn start(
        mut feed: Feed,
        inputs: impl Iterator<Item = Input> + Send + 'static,
        enough: u64,
        per_second: u64,
    ) -> Result<Self> {
        let sent = Arc::new(AtomicU64::new(0));
        let sprint = Arc::new(AtomicBool::new(false));
        let (count, run) = (Arc::clone(&sent), Arc::clone(&sprint));
        let work = move || {
            let started = clock::now();
            let mut last = started;
            for (index, input) in inputs.enumerate() {
                let index = index as u64;
                if run.load(Ordering::Relaxed) {
                    if index >= enough {
                        break;
                    }
                } else {
                    pace(started, index, per_second, &run);
                }
                feed.send(&input)?;
                last = clock::now();
                count.store(index + 1, Ordering::Relaxed);
            }
            Ok(Produced { records: feed.finish()?, last })
        };
        let thread = thread::Builder::new().name("load".to_owned()).spawn(work)?;
        Ok(Self { sent, sprint, thread })
    }

    /// Records produced so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself: out of input, or failed.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Produces what is still missing, and ends.
    pub(crate) fn finish(self) -> Result<Produced> {
        self.sprint.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

/// Waits until record `index` is due.
fn pace(started: Instant, index: u64, per_second: u64, sprint: &AtomicBool) {
    let due = Duration::from_secs_f64(index as f64 / per_second.max(1) as f64);
    while started.elapsed() < due && !sprint.load(Ordering::Relaxed) {
        clock::pause(LOT_EVERY);
    }
}
