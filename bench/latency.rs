//! Latency at a read_committed consumer, from the time at which a record was due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::Message;
use serde::Serialize;

use crate::{
    cluster::{Cluster, is_passing},
    load,
};

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Quantiles {
    /// Values.
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// The whole histogram: upper bound of a bucket in milliseconds, values in it.
    pub(crate) histogram: Vec<(f64, u64)>,
}

impl Quantiles {
    /// Of values in microseconds.
    pub(crate) fn of(values: &Histogram<u64>) -> Self {
        let at = |quantile| values.value_at_quantile(quantile) as f64 / 1e3;
        let steps = values.iter_log(1_000, 1.25);
        Self {
            count: values.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: values.max() as f64 / 1e3,
            histogram: steps
                .map(|step| {
                    (step.value_iterated_to() as f64 / 1e3, step.count_since_last_iteration())
                })
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

/// A histogram in microseconds, up to ten minutes, of three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|error| anyhow!("histogram: {error}"))
}

/// A thread that reads what is committed from now on.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Histogram<u64>>>,
}

impl Reader {
    /// Reads `topic`; records stamped before `from_ms` do not count.
    pub(crate) fn start(cluster: &Cluster, topic: &str, from_ms: f64) -> Result<Self> {
        let reader = cluster.tail(topic)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let mut values = histogram()?;
            while !stopped.load(Ordering::Relaxed) {
                match reader.poll(Duration::from_millis(20)) {
                    Some(Ok(message)) => {
                        let due = message.timestamp().to_millis().context("no timestamp")? as f64;
                        if due >= from_ms {
                            let waited = (load::wall_ms() - due).max(0.0) * 1e3;
                            values.saturating_record(waited as u64);
                        }
                    }
                    Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) | None => {}
                    Some(Err(error)) if is_passing(&error) => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            }
            Ok(values)
        };
        let thread = thread::Builder::new().name("latency".to_owned()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Result<Histogram<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the reader's thread panicked"))?
    }
}
