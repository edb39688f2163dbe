//! What the output must be, record by record: a run whose output is not so scores zero.

use anyhow::{Result, bail};
use rdkafka::Message;
use serde::Serialize;

use crate::{
    cluster::{Cluster, Isolation, value},
    input::{self, Input},
    systems::{Job, Operation},
};

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Verdict {
    /// Committed output records.
    pub(crate) outputs: u64,
    /// Output records that are wrong, missing, again, or out of order.
    pub(crate) violations: u64,
    /// The first of them.
    pub(crate) example: Option<String>,
}

impl Verdict {
    /// Whether the run counts.
    pub(crate) fn holds(&self) -> bool {
        self.violations == 0 && self.outputs > 0
    }

    fn violation(&mut self, text: impl FnOnce() -> String) {
        self.violations += 1;
        self.example.get_or_insert_with(text);
    }
}

/// Tidemill's output was wrong where no table has a row for it.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl Wrong {
    /// Of a verdict that does not hold.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        let example = verdict.example.clone().unwrap_or_else(|| "no output".to_owned());
        Self(format!("{} of {} outputs: {example}", verdict.violations, verdict.outputs))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wrong output: {}", self.0)
    }
}

impl std::error::Error for Wrong {}

/// Compares the committed output of a job with what records 0 to `records` make.
pub(crate) fn check(cluster: &Cluster, job: &Job, records: u64) -> Result<Verdict> {
    match job.operation {
        Operation::Map => copies(cluster, &job.output(), job.input, records),
        Operation::Count => {
            counts(cluster, &job.output(), job.input, records, job.writes_every_update())
        }
    }
}

/// Every record once, as it was, in the order of its partition.
fn copies(cluster: &Cluster, topic: &str, input: Input, records: u64) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut last = vec![None; usize::try_from(input.partitions)?];
    let (mut key, mut bytes) = (vec![], vec![]);
    cluster.read(topic, Isolation::Committed, |message| {
        verdict.outputs += 1;
        let index = input::sequence(value(message))?;
        let partition = input.record(index, &mut key, &mut bytes);
        let as_it_was = index < records
            && value(message) == bytes
            && message.key() == Some(&key)
            && message.partition() == partition;
        let Some(last) = usize::try_from(message.partition()).ok().and_then(|p| last.get_mut(p))
        else {
            bail!("a partition too many");
        };
        if !as_it_was || *last >= Some(index) {
            verdict.violation(|| format!("record {index} after {last:?}"));
        }
        *last = Some(index);
        Ok(())
    })?;
    missing(&mut verdict, records);
    Ok(verdict)
}

/// Each key counted from 1 on without a gap (with `every` update written), up to its number of
/// records.
fn counts(
    cluster: &Cluster,
    topic: &str,
    input: Input,
    records: u64,
    every: bool,
) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut seen = vec![0_u32; usize::try_from(input.cardinality)?];
    cluster.read(topic, Isolation::Committed, |message| {
        verdict.outputs += 1;
        let number = input::key_number(message.key().unwrap_or_default())?;
        let Ok(bytes) = <[u8; 8]>::try_from(value(message)) else {
            verdict.violation(|| format!("key {number}: a count of another size"));
            return Ok(());
        };
        let Some(last) = seen.get_mut(usize::try_from(number)?) else {
            verdict.violation(|| format!("key {number} is none of the input's"));
            return Ok(());
        };
        let count = u64::from_be_bytes(bytes) as u32;
        let next = if every { count == *last + 1 } else { count > *last };
        if !next {
            let before = *last;
            verdict.violation(|| format!("key {number}: {count} after {before}"));
        }
        *last = count;
        Ok(())
    })?;
    let mut expected = vec![0_u32; seen.len()];
    for index in 0..records {
        if let Some(count) = expected.get_mut(input.key(index) as usize) {
            *count += 1;
        }
    }
    for (number, (seen, expected)) in seen.iter().zip(&expected).enumerate() {
        if seen != expected {
            verdict.violation(|| format!("key {number}: {seen} at the end, not {expected}"));
        }
    }
    if every {
        missing(&mut verdict, records);
    }
    Ok(verdict)
}

fn missing(verdict: &mut Verdict, records: u64) {
    if verdict.outputs != records {
        let outputs = verdict.outputs;
        verdict.violation(|| format!("{outputs} outputs of {records} records"));
    }
}
