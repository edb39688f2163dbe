//! What the tests share: names, topics, a log with a clock, waiting with a deadline.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidemill::{
    kafka::{ConnectionSettings, KafkaBatch, KafkaLog, KafkaRestoreLog, KafkaTopicAdmin, Settings},
    record::{Header, Offset, OutputRecord, RecordBatch, Timestamp, TopicName, TopicPartition},
    runtime::{
        Delivery, Event, Lane, Log, OffsetCommit, Request, RestoreEvent, RestoreLog,
        RestoreRequest, TopicAdmin, TopicSpec, TransactionFailure, mutants::Mutant,
        supervisor::SystemClock,
    },
};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The broker's address.
pub(crate) fn broker() -> String {
    std::env::var("TIDEMILL_TEST_BROKER").expect(
        "these tests need a real broker: run `./dev test`, or `./dev kafka up` and set \
         TIDEMILL_TEST_BROKER to the address that it prints",
    )
}

/// A name that no other test or run has.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static RUN: LazyLock<u128> =
        LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis()));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("it-{what}-{}-{}-{number}", *RUN, std::process::id())
}

pub(crate) fn settings() -> Settings {
    Settings {
        bootstrap_servers: broker(),
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(250),
        ..Settings::default()
    }
}

pub(crate) fn connection(application: &str, instance: &str) -> ConnectionSettings {
    ConnectionSettings {
        settings: settings(),
        application: application.to_owned(),
        instance: instance.to_owned(),
        thread: 0,
        epoch_interval: Duration::from_millis(100),
        mutant: Mutant::None,
    }
}

/// A new topic.
pub(crate) fn topic(what: &str, partitions: i32) -> TopicName {
    let after_max = i64::MAX.to_string();
    topic_with(what, partitions, &[("message.timestamp.after.max.ms", &after_max)])
}

/// A new topic with a configuration.
pub(crate) fn topic_with(what: &str, partitions: i32, config: &[(&str, &str)]) -> TopicName {
    let name: TopicName = unique(what).into();
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let spec = TopicSpec {
        name: name.clone(),
        partitions,
        replication: -1,
        config: config.iter().map(own).collect(),
    };
    KafkaTopicAdmin::new(&settings()).unwrap().create(&[spec]).unwrap();
    name
}

pub(crate) fn at(topic: &TopicName, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

/// A record as a test compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

impl Read {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.value.clone().unwrap_or_default()).unwrap()
    }
}

pub(crate) fn records(batch: &KafkaBatch) -> Vec<Read> {
    (0..batch.len())
        .map(|index| {
            let record = batch.record(index);
            Read {
                partition: record.partition,
                offset: record.offset.0,
                timestamp: record.timestamp.0,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.to_vec(),
            }
        })
        .collect()
}

/// A log, its clock, and what it has said.
pub(crate) struct Client {
    pub(crate) log: KafkaLog,
    clock: SystemClock,
}

impl Client {
    pub(crate) fn new(application: &str, instance: &str) -> Self {
        Self::with(&connection(application, instance))
    }

    pub(crate) fn with(connection: &ConnectionSettings) -> Self {
        let clock = SystemClock::start();
        let log = KafkaLog::new(connection, clock).unwrap();
        Self { log, clock }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now().mono
    }

    /// The next event, within `wait`.
    pub(crate) fn next(&mut self, wait: Duration, want_records: bool) -> Option<Event<KafkaBatch>> {
        let deadline = self.now() + wait;
        self.log.poll(deadline, want_records)
    }

    /// Waits for an event that `pick` takes; others are dropped.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Event<KafkaBatch>) -> Option<T>,
    ) -> T {
        let deadline = self.now() + PATIENCE;
        while self.now() < deadline {
            if let Some(event) = self.log.poll(deadline, false)
                && let Some(found) = pick(event)
            {
                return found;
            }
        }
        panic!("no {what} within {PATIENCE:?}");
    }

    pub(crate) fn open(&mut self, lane: Lane) {
        self.log.submit(Request::Open { lane });
        let result = self.until("opened", |event| match event {
            Event::Opened { lane: of, result } if of == lane => Some(result),
            _ => None,
        });
        assert_eq!(result, Ok(()));
    }

    pub(crate) fn begin(&mut self, lane: Lane) {
        self.log.submit(Request::Begin { lane });
    }

    /// Produces texts without timestamps, as changelogs are.
    pub(crate) fn produce(
        &mut self,
        lane: Lane,
        topic: &TopicName,
        partition: i32,
        values: &[&str],
    ) {
        for (tag, value) in values.iter().enumerate() {
            let record = OutputRecord {
                topic,
                partition,
                timestamp: None,
                key: Some(b"k"),
                value: Some(value.as_bytes()),
                headers: &[],
            };
            self.produce_record(lane, &record, tag as u64);
        }
    }

    pub(crate) fn produce_record(&mut self, lane: Lane, record: &OutputRecord<'_>, tag: u64) {
        let deadline = self.now() + PATIENCE;
        while self.log.produce(lane, record, tag).is_err() {
            assert!(self.now() < deadline, "the queue stays full");
            let wait = self.now() + Duration::from_millis(5);
            if let Some(event) = self.log.poll(wait, false) {
                panic!("event while producing: {event:?}");
            }
        }
    }

    pub(crate) fn flush(&mut self, lane: Lane) -> Result<Delivery, TransactionFailure> {
        self.log.submit(Request::Flush { lane });
        self.until("flushed", |event| match event {
            Event::Flushed { lane: of, result } if of == lane => Some(result),
            _ => None,
        })
    }

    pub(crate) fn commit(&mut self, lane: Lane) -> Result<(), TransactionFailure> {
        self.log.submit(Request::Commit { lane });
        self.until("committed", |event| match event {
            Event::Committed { lane: of, result } if of == lane => Some(result),
            _ => None,
        })
    }

    pub(crate) fn abort(&mut self, lane: Lane) -> Result<(), TransactionFailure> {
        self.log.submit(Request::Abort { lane });
        self.until("aborted", |event| match event {
            Event::Aborted { lane: of, result } if of == lane => Some(result),
            _ => None,
        })
    }

    /// Sends offsets with the current membership.
    pub(crate) fn send_offsets(
        &mut self,
        lane: Lane,
        offsets: &[(TopicPartition, i64, &str)],
    ) -> Result<(), TransactionFailure> {
        let group = self.log.group().expect("a membership");
        self.send_offsets_as(lane, offsets, group)
    }

    pub(crate) fn send_offsets_as(
        &mut self,
        lane: Lane,
        offsets: &[(TopicPartition, i64, &str)],
        group: tidemill::runtime::GroupMetadata,
    ) -> Result<(), TransactionFailure> {
        let offsets = offsets
            .iter()
            .map(|(partition, offset, metadata)| OffsetCommit {
                partition: partition.clone(),
                offset: Offset(*offset),
                metadata: (*metadata).to_owned(),
            })
            .collect();
        self.log.submit(Request::SendOffsets { lane, offsets, group });
        self.until("offsets sent", |event| match event {
            Event::OffsetsSent { lane: of, result } if of == lane => Some(result),
            _ => None,
        })
    }

    /// Joins and waits until the group has given all of these partitions; accepts them.
    pub(crate) fn join_and_own(&mut self, topic: &TopicName, partitions: i32) {
        self.log.submit(Request::Join { topics: vec![topic.clone()] });
        let mut owned = 0;
        let deadline = self.now() + PATIENCE;
        while owned < partitions {
            assert!(self.now() < deadline, "{owned} of {partitions} partitions assigned");
            match self.log.poll(deadline, false) {
                Some(Event::Assigned { partitions }) => {
                    owned += i32::try_from(partitions.len()).unwrap();
                    self.log.submit(Request::Accept { partitions });
                }
                Some(other) => panic!("while joining: {other:?}"),
                None => {}
            }
        }
    }

    pub(crate) fn read(&mut self, partition: &TopicPartition, offset: i64) {
        self.log.submit(Request::Read { partition: partition.clone(), offset: Offset(offset) });
    }

    /// Reads until `enough` says so.
    pub(crate) fn collect(&mut self, mut enough: impl FnMut(&[Read]) -> bool) -> Vec<Read> {
        let mut found = vec![];
        let deadline = self.now() + PATIENCE;
        while !enough(&found) {
            assert!(self.now() < deadline, "only {} records: {:?}", found.len(), found.last());
            match self.log.poll(deadline, true) {
                Some(Event::Records(batch)) => found.extend(records(&batch)),
                Some(other) => panic!("while reading: {other:?}"),
                None => {}
            }
        }
        found
    }
}

/// Writes texts in one committed transaction, by an application of its own.
pub(crate) fn write_committed(topic: &TopicName, partition: i32, values: &[&str]) {
    let mut writer = Client::new(&unique("writer"), "w");
    writer.open(Lane::A);
    writer.begin(Lane::A);
    writer.produce(Lane::A, topic, partition, values);
    let delivery = writer.flush(Lane::A).unwrap();
    assert_eq!(delivery.refused, []);
    assert_eq!(writer.commit(Lane::A), Ok(()));
}

/// Everything of a partition up to where a reader stands, and that position.
pub(crate) fn read_all(topic: &TopicName, partition: i32, uncommitted: bool) -> (Vec<Read>, i64) {
    let mut connection = connection(&unique("reader"), "r");
    if uncommitted {
        connection.mutant = Mutant::ChangelogReadUncommitted;
    }
    let clock = SystemClock::start();
    let mut log = KafkaRestoreLog::new(&connection, clock).unwrap();
    let partition = at(topic, partition);
    log.submit(RestoreRequest::Read { partition: partition.clone(), offset: Offset(0) });
    let mut found = vec![];
    let deadline = clock.now().mono + PATIENCE;
    while clock.now().mono < deadline {
        match log.poll(deadline) {
            Some(RestoreEvent::Records(batch)) => found.extend(records(&batch)),
            Some(RestoreEvent::CaughtUp { partition: of, position }) if of == partition => {
                return (found, position.0);
            }
            Some(other) => panic!("while reading {partition}: {other:?}"),
            None => {}
        }
    }
    panic!("{partition} has no end");
}

pub(crate) fn texts(reads: &[Read]) -> Vec<String> {
    reads.iter().map(Read::text).collect()
}

pub(crate) fn timestamp(ms: i64) -> Option<Timestamp> {
    Some(Timestamp(ms))
}
