//! The brokers as seen from outside: topics made and deleted, ends asked, records read.
//!
//! Uses the safe client only, and nothing of the engine's own Kafka code.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use crate::clock;

/// How long a broker may take to say where a partition ends, before it is asked once more: where
/// brokers come and go, the client may wait for one that will not answer.
const ONE_TRY: Duration = Duration::from_secs(5);

/// How long one question to a broker may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

/// Which records a reader is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of committed transactions.
    Committed,
    /// All.
    Uncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// Where one partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The partition.
    pub(crate) partition: i32,
    /// The first offset that belongs to an open transaction, else the end.
    pub(crate) last_stable: i64,
    /// The end (high watermark).
    pub(crate) end: i64,
}

impl Ends {
    /// Whether a transaction is open in it.
    pub(crate) fn has_open_transaction(self) -> bool {
        self.last_stable < self.end
    }
}

/// A cluster, reached by its bootstrap addresses.
pub(crate) struct Cluster {
    bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    committed: BaseConsumer,
    uncommitted: BaseConsumer,
}

impl Cluster {
    /// Connects; fails when no broker answers.
    pub(crate) fn connect(bootstrap: &str) -> Result<Self> {
        let committed = consumer(bootstrap, Isolation::Committed)?;
        committed
            .fetch_metadata(None, ANSWER)
            .with_context(|| format!("no broker answers at {bootstrap}"))?;
        Ok(Self {
            bootstrap: bootstrap.to_owned(),
            admin: ClientConfig::new().set("bootstrap.servers", bootstrap).create()?,
            committed,
            uncommitted: consumer(bootstrap, Isolation::Uncommitted)?,
        })
    }

    /// The addresses.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A connection of its own, for another thread.
    pub(crate) fn again(&self) -> Result<Self> {
        Self::connect(&self.bootstrap)
    }

    /// How many partitions a topic has; `None` where there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let metadata = clock::wait_for(&format!("metadata of {topic}"), 2 * ANSWER, || {
            match self.committed.fetch_metadata(Some(topic), ANSWER) {
                Ok(metadata) => Ok(Some(metadata)),
                // A broker has gone; the client asks another one.
                Err(error) if is_passing(&error) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let missing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        match found.map(|topic| (topic, topic.error())) {
            Some((_, Some(error))) if error == missing => Ok(None),
            Some((_, Some(error))) => bail!("topic {topic}: {:?}", RDKafkaErrorCode::from(error)),
            Some((found, None)) => Ok(Some(i32::try_from(found.partitions().len())?)),
            None => Ok(None),
        }
    }

    /// The number of the broker that leads a partition.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let metadata = self.committed.fetch_metadata(Some(topic), ANSWER)?;
        let found = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let found = found.into_iter().find(|found| found.id() == partition);
        Ok(found.with_context(|| format!("{topic}/{partition} is not there"))?.leader())
    }

    /// The names of all topics that begin with `prefix`.
    pub(crate) fn topics(&self, prefix: &str) -> Result<Vec<String>> {
        let metadata = self.committed.fetch_metadata(None, ANSWER)?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        Ok(names)
    }

    /// Makes an empty topic, whatever was there before.
    pub(crate) fn make_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.delete_topic(topic)?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        clock::wait_for(&format!("topic {topic} to be made"), 3 * ANSWER, || {
            // The brokers' default replication.
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
            let results = block_on(self.admin.create_topics([&new], &options), ANSWER)??;
            match results.into_iter().next() {
                Some(Ok(_)) => Ok(Some(())),
                // Its deletion is not through yet.
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(None),
                Some(Err((_, code))) => bail!("topic {topic} cannot be made: {code}"),
                None => bail!("topic {topic}: no answer"),
            }
        })?;
        let whole = || Ok((self.partitions(topic)? == Some(partitions)).then_some(()));
        clock::wait_for(&format!("topic {topic} to be listed"), 3 * ANSWER, whole)
    }

    /// Deletes a topic if it is there.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<()> {
        if self.partitions(topic)?.is_none() {
            return Ok(());
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let results = block_on(self.admin.delete_topics(&[topic], &options), ANSWER)??;
        match results.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => {}
            Some(Err((_, code))) => bail!("topic {topic} cannot be deleted: {code}"),
            None => bail!("topic {topic}: no answer to its deletion"),
        }
        let gone = || Ok(self.partitions(topic)?.is_none().then_some(()));
        clock::wait_for(&format!("topic {topic} to be gone"), 3 * ANSWER, gone)
    }

    /// Where one partition ends now.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Result<Ends> {
        // The last stable offset first: asked the other way round, what commits in between would
        // look like the opposite of an open transaction.
        let last_stable = watermark(&self.committed, topic, partition)?;
        let end = watermark(&self.uncommitted, topic, partition)?;
        Ok(Ends { partition, last_stable, end })
    }

    /// Where all partitions of a topic end now; none for a topic that is not there.
    pub(crate) fn ends(&self, topic: &str) -> Result<Vec<Ends>> {
        let partitions = self.partitions(topic)?.unwrap_or(0);
        (0..partitions).map(|partition| self.end(topic, partition)).collect()
    }

    /// Waits until no transaction is open in these topics; how many partitions still have one
    /// after `limit`.
    pub(crate) fn hanging(&self, topics: &[&str], limit: Duration) -> Result<u64> {
        let deadline = clock::now() + limit;
        loop {
            let mut open = 0;
            for topic in topics {
                open += self.ends(topic)?.iter().filter(|e| e.has_open_transaction()).count();
            }
            if open == 0 || clock::now() >= deadline {
                return Ok(open as u64);
            }
            clock::pause(Duration::from_millis(100));
        }
    }

    /// Reads a topic from its beginning to where it ends now, partition by partition in order.
    /// Records above the last stable offset are not waited for under [`Isolation::Committed`].
    pub(crate) fn read(
        &self,
        topic: &str,
        isolation: Isolation,
        mut record: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        let consumer = consumer(&self.bootstrap, isolation)?;
        let mut open = Vec::new();
        let mut assignment = TopicPartitionList::new();
        for ends in self.ends(topic)? {
            if ends.end > 0 {
                open.push(ends.partition);
                assignment.add_partition_offset(topic, ends.partition, Offset::Beginning)?;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        consumer.assign(&assignment)?;
        let mut heard = clock::now();
        while !open.is_empty() {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = clock::now();
                    record(&message)?;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = clock::now();
                    open.retain(|open| *open != partition);
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(anyhow!(error).context(format!("read {topic}"))),
                None if heard.elapsed() > ANSWER => {
                    bail!("{topic}: partitions {open:?} give nothing, not even their end")
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A reader of what is committed from now on.
    pub(crate) fn tail(&self, topic: &str) -> Result<BaseConsumer> {
        let consumer = consumer(&self.bootstrap, Isolation::Committed)?;
        let mut assignment = TopicPartitionList::new();
        for ends in self.ends(topic)? {
            let from = Offset::Offset(ends.last_stable);
            assignment.add_partition_offset(topic, ends.partition, from)?;
        }
        consumer.assign(&assignment)?;
        Ok(consumer)
    }
}

fn watermark(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<i64> {
    clock::wait_for(&format!("the end of {topic}/{partition}"), 3 * ANSWER, || {
        match consumer.fetch_watermarks(topic, partition, ONE_TRY) {
            Ok((_, end)) => Ok(Some(end)),
            // A partition that was made just now may have no leader yet.
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{topic}/{partition}")),
        }
    })
}

/// Errors after which the client goes on by itself.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

fn consumer(bootstrap: &str, isolation: Isolation) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        // Needed by the client, never committed to and never joined.
        .set("group.id", "tidemill-harness")
        .set("isolation.level", isolation.name())
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "10")
        .set("queued.min.messages", "100000")
        // Brokers come and go.
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.timeout.ms", "10000")
        .set("topic.metadata.refresh.interval.ms", "5000")
        .create()?;
    Ok(consumer)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread; the client's own thread wakes it.
fn block_on<T>(future: impl Future<Output = T>, limit: Duration) -> Result<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    let deadline = clock::now() + 2 * limit;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            bail!("the brokers gave no answer within {limit:?}");
        }
        thread::park_timeout(left);
    }
}

/// The value of a message, empty where there is none.
pub(crate) fn value<'a>(message: &'a BorrowedMessage<'_>) -> &'a [u8] {
    message.payload().unwrap_or_default()
}
