//! Records into an input topic: as many as are missing, or at a fixed schedule.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};

use crate::{clock, cluster::Cluster, input::Input, schedule};

const FLUSH: Duration = Duration::from_secs(120);

/// Paced records go out in lots this often.
const LOT_EVERY: Duration = Duration::from_millis(2);

fn producer(bootstrap: &str, linger_ms: &str) -> Result<ThreadedProducer<DefaultProducerContext>> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", linger_ms)
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "500000")
        .create()?)
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "records are stamped with real time")]
pub(crate) fn wall_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    input: Input,
    index: u64,
    timestamp: Option<i64>,
    buffers: &mut (Vec<u8>, Vec<u8>),
) -> Result<()> {
    let (key, value) = buffers;
    let partition = input.record(index, key, value);
    let topic = input.topic();
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(partition)
            .key(key.as_slice())
            .payload(value.as_slice());
        if let Some(timestamp) = timestamp {
            record = record.timestamp(timestamp);
        }
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                clock::pause(Duration::from_millis(2));
            }
            Err((error, _)) => return Err(anyhow!(error).context("input not produced")),
        }
    }
}

/// Makes the topic hold exactly records 0 to `records`; what is there already is kept.
pub(crate) fn preload(cluster: &Cluster, input: Input, records: u64) -> Result<()> {
    let topic = input.topic();
    let held = held(cluster, input)?;
    if held == Some(records) {
        return Ok(());
    }
    cluster.make_topic(&topic, input.partitions)?;
    extend(cluster, input, 0, records).map(drop)
}

/// Appends `records` records from number `from` on; how many.
pub(crate) fn extend(cluster: &Cluster, input: Input, from: u64, records: u64) -> Result<u64> {
    let producer = producer(cluster.bootstrap(), "20")?;
    let mut buffers = (vec![], vec![]);
    for index in from..from + records {
        send(&producer, input, index, None, &mut buffers)?;
    }
    producer.flush(FLUSH).context("the input was not acknowledged")?;
    Ok(records)
}

/// Records in the topic; `None` where it is not there.
fn held(cluster: &Cluster, input: Input) -> Result<Option<u64>> {
    let topic = input.topic();
    if cluster.partitions(&topic)?.is_none() {
        return Ok(None);
    }
    Ok(Some(cluster.ends(&topic)?.iter().map(|ends| ends.end as u64).sum()))
}

/// A load's first second is not looked at: connections are made in it.
const FIRST: Duration = Duration::from_secs(1);

/// What a paced load has sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) records: u64,
    /// How far the acknowledgements were behind the schedule at worst, in milliseconds: this part
    /// of a latency is the driver's and the broker's, and none of the system's.
    pub(crate) late_ms: f64,
}

/// A paced load: `per_second` records from number `from` on, each stamped with the millisecond at
/// which it was due, whenever it went out.
pub(crate) struct Paced {
    sent: Arc<AtomicU64>,
    /// Microseconds; see [`Sent::late_ms`].
    late: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Paced {
    /// Starts it; ends after `records` or when told.
    pub(crate) fn start(
        bootstrap: &str,
        input: Input,
        from: u64,
        records: u64,
        per_second: f64,
    ) -> Result<Self> {
        // What Kafka's own producers wait by default since 4.0.
        let producer = producer(bootstrap, "5")?;
        let sent = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicU64::new(0));
        let (count, told, delay) = (Arc::clone(&sent), Arc::clone(&stop), Arc::clone(&late));
        let work = move || {
            let (began, began_ms) = (clock::now(), wall_ms());
            let mut buffers = (vec![], vec![]);
            let mut next = 0;
            while next < records && !told.load(Ordering::Relaxed) {
                let due = schedule::due(began.elapsed().as_secs_f64(), per_second, records);
                while next < due {
                    let stamp = (began_ms + schedule::due_s(next, per_second) * 1e3) as i64;
                    send(&producer, input, from + next, Some(stamp), &mut buffers)?;
                    next += 1;
                }
                count.store(next, Ordering::Relaxed);
                let at_s = began.elapsed().as_secs_f64();
                if at_s > FIRST.as_secs_f64() {
                    let waiting = producer.in_flight_count().max(0) as u64;
                    let late_s = schedule::late_s(at_s, per_second, next.saturating_sub(waiting));
                    delay.fetch_max((late_s * 1e6) as u64, Ordering::Relaxed);
                }
                wait(began, schedule::due_s(next, per_second));
            }
            producer.flush(FLUSH).context("the load was not acknowledged")
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work)?;
        Ok(Self { sent, late, stop, thread })
    }

    /// Ends it now; what it has sent.
    pub(crate) fn stop(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for its end; what it has sent.
    pub(crate) fn finish(self) -> Result<Sent> {
        self.thread.join().map_err(|_| anyhow!("the load's thread panicked"))??;
        let late_ms = self.late.load(Ordering::Relaxed) as f64 / 1e3;
        Ok(Sent { records: self.sent.load(Ordering::Relaxed), late_ms })
    }
}

fn wait(began: Instant, due_s: f64) {
    let left = Duration::from_secs_f64(due_s).saturating_sub(began.elapsed());
    clock::pause(left.max(LOT_EVERY));
}
