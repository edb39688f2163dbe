//! An application of its own topics and state directory, run as real processes (`instance/`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tidemill::{
    record::{Offset, OutputRecord, TopicName, TopicPartition},
    runtime::{CommittedOffset, Event, Lane, Log, PartitionBounds, Request},
};

use crate::{
    running::Running,
    support::{Client, PATIENCE, at, broker, read_all, timestamp, topic_with, unique},
};

/// One application: a line in, the running count of each of its words out.
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) input: TopicName,
    pub(crate) output: TopicName,
    pub(crate) directory: TempDir,
}

impl Application {
    /// With topics of one partition; the output topic has this configuration.
    pub(crate) fn new(what: &str, output: &[(&str, &str)]) -> Self {
        Self {
            name: unique(what),
            input: topic_with(&format!("{what}-in"), 1, &[]),
            output: topic_with(&format!("{what}-out"), 1, output),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a process under an error policy.
    pub(crate) fn start(&self, policy: &str, more: &[&str]) -> Running {
        let bootstrap = broker();
        let mut arguments = vec!["run", "--bootstrap-servers", &bootstrap, "--state-dir", "state"];
        arguments.extend(["--http", "127.0.0.1:0", "--application-id", &self.name]);
        arguments.extend(["--set", "kafka.session-timeout=6s"]);
        arguments.extend(more);
        let variables =
            [("IT_INPUT", &*self.input), ("IT_OUTPUT", &*self.output), ("IT_POLICY", policy)];
        let binary = env!("CARGO_BIN_EXE_tidemill-it-instance");
        Running::start(binary, self.directory.path(), &arguments, &variables)
    }

    /// Writes lines of bytes with their timestamps, in one committed transaction.
    pub(crate) fn write(&self, lines: &[(&[u8], Option<i64>)]) {
        let mut writer = Client::new(&unique("writer"), "w");
        writer.open(Lane::A);
        writer.begin(Lane::A);
        for (tag, (line, time)) in lines.iter().enumerate() {
            let record = OutputRecord {
                topic: &self.input,
                partition: 0,
                timestamp: time.and_then(timestamp),
                key: None,
                value: Some(line),
                headers: &[],
            };
            writer.produce_record(Lane::A, &record, tag as u64);
        }
        assert_eq!(writer.flush(Lane::A).unwrap().refused, []);
        assert_eq!(writer.commit(Lane::A), Ok(()));
    }

    /// Writes lines of text.
    pub(crate) fn write_lines(&self, lines: &[&str]) {
        let lines: Vec<_> = lines.iter().map(|line| (line.as_bytes(), None)).collect();
        self.write(&lines);
    }

    /// The last count of each word, and how many counts there are in all.
    pub(crate) fn counts(&self) -> (BTreeMap<String, u64>, usize) {
        let (records, _) = read_all(&self.output, 0, false);
        let word = |key: &Option<Vec<u8>>| String::from_utf8(key.clone().unwrap()).unwrap();
        let last = records.iter().map(|r| (word(&r.key), r.text().parse().unwrap())).collect();
        (last, records.len())
    }

    /// Waits until the output has `total` counts; gives the last one of each word.
    pub(crate) fn wait_for_counts(
        &self,
        process: &mut Running,
        total: usize,
    ) -> Vec<(String, u64)> {
        process.wait_for(&format!("{total} counts"), |_| {
            let (last, found) = self.counts();
            assert!(found <= total, "{found} counts: {last:?}");
            (found == total).then(|| last.into_iter().collect())
        })
    }

    /// The repartition topic.
    pub(crate) fn words(&self) -> TopicName {
        format!("{}-words-repartition", self.name).as_str().into()
    }

    /// Where the application's group stands in partition 0 of a topic.
    pub(crate) fn committed(&self, topic: &TopicName) -> Option<Offset> {
        let mut client = Client::new(&self.name, "probe");
        let partitions: Vec<TopicPartition> = vec![at(topic, 0)];
        let found: Vec<CommittedOffset> = ask(
            || {
                let partitions = partitions.clone();
                client.log.submit(Request::CommittedOffsets { id: 1, partitions });
                client.until("offsets", |event| match event {
                    Event::CommittedOffsets { result, .. } => Some(result.ok()),
                    _ => None,
                })
            },
            "stable offsets",
        );
        found[0].offset
    }

    /// Deletes all records of the input that are there now.
    pub(crate) fn delete_input(&self) {
        let before = bounds(&self.input).end;
        let mut client = Client::new(&unique("probe"), "p");
        client.log.submit(Request::Purge { partition: at(&self.input, 0), before });
        let deadline = Instant::now() + PATIENCE;
        while bounds(&self.input).start < before {
            assert!(Instant::now() < deadline, "the input is not deleted");
            client.next(Duration::from_millis(50), false);
        }
    }
}

/// The bounds of partition 0 of a topic.
pub(crate) fn bounds(topic: &TopicName) -> PartitionBounds {
    let mut client = Client::new(&unique("probe"), "p");
    ask(
        || {
            client.log.submit(Request::Bounds { id: 1, partitions: vec![at(topic, 0)] });
            client.until("bounds", |event| match event {
                Event::Bounds { result, .. } => Some(result.ok()),
                _ => None,
            })
        },
        "bounds",
    )[0]
    .1
}

/// Repeats a question until it has an answer.
fn ask<T>(mut question: impl FnMut() -> Option<T>, what: &str) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
    }
}
