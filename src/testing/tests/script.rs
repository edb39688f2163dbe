//! A thread by script: what the tests of the model speak with.

use std::{collections::BTreeMap, time::Duration};

use super::super::*;
use crate::{
    record::{Header, Offset, OutputRecord, Timestamp, TopicName, TopicPartition},
    runtime::{
        Delivery, Event, GroupMetadata, Isolation, Lane, Log, OffsetCommit, OffsetsUnavailable,
        Request, TopicSpec, TransactionFailure,
    },
};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const APP: &str = "app";

pub(super) fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, replication: -1, config: BTreeMap::new() }
}

pub(super) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(super) fn parts(topic: &str, partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|p| at(topic, *p)).collect()
}

/// A cluster with `in` (4 partitions) and `out` (2).
pub(super) fn cluster_with(settings: SimSettings) -> SimCluster {
    let cluster = SimCluster::new(1, settings);
    assert!(cluster.add_topic(&spec("in", 4)));
    assert!(cluster.add_topic(&spec("out", 2)));
    cluster
}

pub(super) fn quiet() -> SimCluster {
    cluster_with(SimSettings::quiet())
}

/// A thread with what it was told, and the group's outcome answered as a runtime would.
pub(super) struct Thread {
    pub(super) cluster: SimCluster,
    pub(super) log: SimLog,
    pub(super) instance: String,
}

impl Thread {
    pub(super) fn new(cluster: &SimCluster, instance: &str) -> Self {
        Self::with(cluster, ClientSettings::new(APP, instance, 0))
    }

    pub(super) fn with(cluster: &SimCluster, settings: ClientSettings) -> Self {
        let instance = settings.instance.clone();
        Self { cluster: cluster.clone(), log: cluster.log(settings), instance }
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.log.submit(request);
    }

    pub(super) fn poll(&mut self) -> Option<Event<SimBatch>> {
        self.log.poll(Duration::ZERO, false)
    }

    /// The next event, moving the clock where it must be moved, for at most a minute.
    pub(super) fn wait(&mut self) -> Event<SimBatch> {
        let end = self.cluster.now().mono + Duration::from_mins(1);
        loop {
            if let Some(event) = self.poll() {
                return event;
            }
            let next = self.cluster.next_wakeup().expect("something to wait for");
            assert!(next <= end, "{}: no event for a minute", self.instance);
            self.cluster.advance_to(next);
        }
    }

    pub(super) fn open(&mut self, lane: Lane) -> Result<(), TransactionFailure> {
        self.ask(Request::Open { lane });
        match self.wait() {
            Event::Opened { lane: opened, result } if opened == lane => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn begin(&mut self, lane: Lane) {
        self.ask(Request::Begin { lane });
    }

    pub(super) fn send(&mut self, lane: Lane, partition: i32, value: &str) {
        self.send_at(lane, partition, value, None);
    }

    pub(super) fn send_at(
        &mut self,
        lane: Lane,
        partition: i32,
        value: &str,
        timestamp: Option<Timestamp>,
    ) {
        let topic = TopicName::from("out");
        let headers = [Header { name: "h".into(), value: Some(vec![7]) }];
        let record = OutputRecord {
            topic: &topic,
            partition,
            timestamp,
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        assert_eq!(self.log.produce(lane, &record, 42), Ok(()));
    }

    pub(super) fn flush(&mut self, lane: Lane) -> Result<Delivery, TransactionFailure> {
        self.ask(Request::Flush { lane });
        match self.wait() {
            Event::Flushed { lane: flushed, result } if flushed == lane => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn offsets_with(
        &mut self,
        lane: Lane,
        offset: i64,
        group: GroupMetadata,
    ) -> Result<(), TransactionFailure> {
        let offsets = vec![commit_of(0, offset)];
        self.ask(Request::SendOffsets { lane, offsets, group });
        match self.wait() {
            Event::OffsetsSent { lane: sent, result } if sent == lane => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn offsets(&mut self, lane: Lane, offset: i64) -> Result<(), TransactionFailure> {
        let group = self.log.group().expect("a member");
        self.offsets_with(lane, offset, group)
    }

    pub(super) fn commit(&mut self, lane: Lane) -> Result<(), TransactionFailure> {
        self.ask(Request::Commit { lane });
        match self.wait() {
            Event::Committed { lane: ended, result } if ended == lane => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn abort(&mut self, lane: Lane) -> Result<(), TransactionFailure> {
        self.ask(Request::Abort { lane });
        match self.wait() {
            Event::Aborted { lane: ended, result } if ended == lane => result,
            other => panic!("{other:?}"),
        }
    }

    /// An open transaction on the lane that holds one flushed record.
    pub(super) fn started(&mut self, lane: Lane, partition: i32, value: &str) {
        self.open(lane).expect("open");
        self.begin(lane);
        self.send(lane, partition, value);
        self.flush(lane).expect("flush");
    }

    pub(super) fn join(&mut self) {
        self.ask(Request::Join { topics: vec!["in".into()] });
    }

    /// Joins and waits for the first assignment.
    pub(super) fn joined(&mut self) -> Vec<TopicPartition> {
        self.join();
        match self.wait() {
            Event::Assigned { partitions } => {
                self.ask(Request::Accept { partitions: partitions.clone() });
                partitions
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn stable_offset(&mut self) -> Result<Option<Offset>, OffsetsUnavailable> {
        self.ask(Request::CommittedOffsets { id: 5, partitions: parts("in", &[0]) });
        match self.wait() {
            Event::CommittedOffsets { id: 5, result } => result.map(|offsets| offsets[0].offset),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn commit_of(partition: i32, offset: i64) -> OffsetCommit {
    OffsetCommit {
        partition: at("in", partition),
        offset: Offset(offset),
        metadata: format!("m{offset}"),
    }
}

pub(super) fn values(cluster: &SimCluster, isolation: Isolation, partition: usize) -> Vec<String> {
    cluster.records("out", isolation)[partition]
        .iter()
        .map(|r| String::from_utf8(r.value.clone().expect("a value")).expect("text"))
        .collect()
}

pub(super) fn committed(cluster: &SimCluster) -> Vec<String> {
    values(cluster, Isolation::ReadCommitted, 0)
}

pub(super) fn bounds(cluster: &SimCluster, partition: i32) -> (i64, i64) {
    let bounds = cluster.bounds(&at("out", partition)).expect("partition");
    (bounds.last_stable.0, bounds.end.0)
}

pub(super) fn refused_membership(code: &str) -> Result<(), TransactionFailure> {
    Err(TransactionFailure::Membership(code.to_owned()))
}

pub(super) fn dynamic(instance: &str) -> ClientSettings {
    ClientSettings { static_membership: false, ..ClientSettings::new(APP, instance, 0) }
}

/// Lets a second member join while the first polls; returns what each owns in the end.
pub(super) fn handover(one: &mut Thread, two: &mut Thread) -> [Vec<i32>; 2] {
    let cluster = one.cluster.clone();
    two.join();
    let mut owned = [vec![0, 1, 2, 3], Vec::new()];
    let end = cluster.now().mono + Duration::from_secs(10);
    while cluster.now().mono < end {
        for (index, thread) in [&mut *one, &mut *two].into_iter().enumerate() {
            while let Some(event) = thread.poll() {
                match event {
                    Event::Assigned { partitions } => {
                        owned[index].extend(partitions.iter().map(|p| p.partition));
                        thread.ask(Request::Accept { partitions });
                    }
                    Event::Revoking { partitions } | Event::Lost { partitions } => {
                        owned[index]
                            .retain(|p| !partitions.iter().any(|gone| gone.partition == *p));
                        thread.ask(Request::Release { partitions });
                    }
                    other => panic!("{other:?}"),
                }
                let [a, b] = &owned;
                assert!(a.iter().all(|p| !b.contains(p)), "one partition has two owners");
            }
        }
        cluster.advance_to(cluster.next_wakeup().expect("heartbeats"));
    }
    owned
}

/// Virtual time since then.
pub(super) fn since(cluster: &SimCluster, then: Duration) -> Duration {
    cluster.now().mono.saturating_sub(then)
}
