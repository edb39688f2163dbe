//! Restores against a reader that delivers at once: what is written when, and within which bound.

use super::*;
use crate::{
    record::{RecordRef, Timestamp, TopicName},
    state::{EpochMarker, MemoryByteStores, changelog},
    testing::SimDisk,
};

type Log = Vec<(Vec<u8>, Option<Vec<u8>>)>;

struct Batch {
    partition: TopicPartition,
    first: usize,
    records: Log,
}

impl RecordBatch for Batch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn record(&self, index: usize) -> RecordRef<'_> {
        let (key, value) = &self.records[index];
        RecordRef {
            topic: &self.partition.topic,
            partition: self.partition.partition,
            offset: Offset((self.first + index) as i64),
            timestamp: Timestamp(0),
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
        }
    }
}

/// Delivers twenty records at a time, partition by partition in turns.
#[derive(Default)]
struct FakeLog {
    changelogs: BTreeMap<TopicPartition, Log>,
    events: VecDeque<RestoreEvent<Batch>>,
    reads: Vec<i64>,
}

const TURN: usize = 20;

impl RestoreLog for FakeLog {
    type Batch = Batch;

    fn submit(&mut self, request: RestoreRequest) {
        match request {
            RestoreRequest::Bounds { partition } => {
                let end = Offset(self.changelogs[&partition].len() as i64);
                let bounds = PartitionBounds { start: Offset(0), end, last_stable: end };
                self.events.push_back(RestoreEvent::Bounds { partition, result: Ok(bounds) });
            }
            RestoreRequest::Read { partition, offset } => {
                self.reads.push(offset.0);
                self.deliver(partition, offset.0 as usize);
            }
            RestoreRequest::Stop { partition } => self.events.retain(|event| match event {
                RestoreEvent::Records(batch) => batch.partition != partition,
                _ => true,
            }),
        }
    }

    fn poll(&mut self, _deadline: Duration) -> Option<RestoreEvent<Batch>> {
        let event = self.events.pop_front();
        if let Some(RestoreEvent::Records(batch)) = &event {
            let next = batch.first + batch.records.len();
            self.deliver(batch.partition.clone(), next);
        }
        event
    }
}

impl FakeLog {
    fn deliver(&mut self, partition: TopicPartition, first: usize) {
        let log = &self.changelogs[&partition];
        let records: Log = log[first..].iter().take(TURN).cloned().collect();
        self.events.push_back(if records.is_empty() {
            let position = Offset(log.len() as i64);
            RestoreEvent::CaughtUp { partition, position }
        } else {
            RestoreEvent::Records(Batch { partition, first, records })
        });
    }
}

fn id(epoch: u64) -> EpochId {
    EpochId { epoch, incarnation: 1 }
}

/// Keys come again and again with other values, some are deleted; a marker ends it.
fn changelog(records: u32) -> Log {
    let mut log: Log = (0..records)
        .map(|number| {
            let key = [&[0, 1, 0, 0][..], &(number * 7 % 90).to_be_bytes(), &[0, 0]].concat();
            let value = (number % 11 != 0).then(|| [&[1][..], &number.to_be_bytes()].concat());
            (key, value)
        })
        .collect();
    let marker = EpochMarker { id: id(9), sources: vec![], watermark: None };
    let (key, value) = changelog::marker_record(&marker).unwrap();
    log.push((key.to_vec(), Some(value)));
    log
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::from("changelog"), partition: number }
}

fn job(number: i32) -> RestoreJob {
    RestoreJob {
        task: TaskId { subtopology: 0, partition: number },
        name: format!("count_{number}"),
        changelog: partition(number),
        topic_id: "id".to_owned(),
        delete_retention_ms: 86_400_000,
        expected: Some(id(9)),
    }
}

const NOW: Now = Now { mono: Duration::ZERO, wall: Timestamp(1_000) };

fn restorer(
    partitions: i32,
    records: u32,
    stores: Box<dyn ByteStores>,
    bytes: u64,
) -> Restorer<FakeLog> {
    let changelogs = (0..partitions).map(|p| (partition(p), changelog(records))).collect();
    let log = FakeLog { changelogs, ..FakeLog::default() };
    Restorer::new(log, stores).holding(bytes)
}

/// What a changelog leaves behind.
fn last_of_each(log: &Log) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut image = BTreeMap::new();
    for (key, value) in log.iter().filter(|(key, _)| key[..2] != [0, 0]) {
        match value {
            Some(value) => image.insert(key.clone(), value.clone()),
            None => image.remove(key),
        };
    }
    image
}

/// Steps until every restore is done; gives the first read of each, and what is in the stores.
fn finish(restorer: &mut Restorer<FakeLog>, restores: usize, held: &mut usize) {
    let mut done = 0;
    for _ in 0..200_000 {
        restorer.step(NOW, NOW.mono);
        *held = (*held).max(restorer.held_bytes());
        while let Some(outcome) = restorer.poll() {
            match outcome {
                RestoreOutcome::Done { store, marker, .. } => {
                    assert_eq!(marker.unwrap().id, id(9));
                    let positions = store.positions().unwrap().unwrap();
                    assert!(positions.whole);
                    let image: BTreeMap<_, _> = store.scan(&[], None).map(Result::unwrap).collect();
                    let log = restorer.log.changelogs.values().next().unwrap();
                    assert_eq!(image, last_of_each(log));
                    assert_eq!(positions.changelog_next.0, log.len() as i64);
                    done += 1;
                }
                RestoreOutcome::Failed { error, .. } => panic!("{error}"),
                RestoreOutcome::Progress { .. } => {}
            }
        }
        if done == restores {
            return;
        }
    }
    panic!("{done} of {restores} restores were done");
}

#[test]
fn a_restore_that_was_cut_goes_on_from_the_last_positions_that_it_wrote() {
    let stores = MemoryByteStores::default();
    let mut first = restorer(1, 2_000, Box::new(stores.clone()), 8 << 10);
    first.submit(job(0));
    let mut read = 0;
    while read < 50 {
        first.step(NOW, NOW.mono);
        read += 1;
        if first.log.events.iter().any(|e| matches!(e, RestoreEvent::Records(b) if b.first > 1_200))
        {
            break;
        }
    }
    assert!(!first.is_idle(), "it came to its end");
    drop(first);
    let cut = stores.clone().open("count_0").unwrap().positions().unwrap().unwrap();
    assert!(!cut.whole && cut.changelog_next.0 > 0, "{cut:?}");

    let mut second = restorer(1, 2_000, Box::new(stores), 8 << 10);
    second.submit(job(0));
    finish(&mut second, 1, &mut 0);
    assert_eq!(second.log.reads, [cut.changelog_next.0]);
}

#[test]
fn many_restores_together_hold_no_more_than_their_bound() {
    const BOUND: usize = 96 << 10;
    // Writes take their time here: what is on its way counts too.
    let mut restorer = restorer(40, 1_000, Box::new(SimDisk::default()), BOUND as u64);
    (0..40).for_each(|number| restorer.submit(job(number)));
    let mut held = 0;
    finish(&mut restorer, 40, &mut held);
    assert!(held <= BOUND, "{held} of {BOUND} bytes");
    // The bound was needed: all of it together is far more.
    assert!(held > BOUND / 4, "{held} of {BOUND} bytes");
}

#[test]
fn what_is_lent_is_used_and_given_back_without_another_record() {
    const BOUND: usize = 32 << 10;
    let mut restorer = restorer(4, 4_000, Box::new(SimDisk::default()), BOUND as u64);
    restorer.lend(10 * BOUND as u64);
    (0..4).for_each(|number| restorer.submit(job(number)));
    while restorer.memory().borrowed < 2 * BOUND as u64 {
        assert!(!restorer.is_idle(), "nothing was borrowed");
        restorer.step(NOW, NOW.mono);
        assert!(restorer.held_bytes() <= 11 * BOUND, "{} bytes", restorer.held_bytes());
    }
    restorer.lend(0);
    let later = std::mem::take(&mut restorer.log.events);
    restorer.step(NOW, NOW.mono);
    assert_eq!(restorer.memory().borrowed, 0, "{} bytes", restorer.held_bytes());
    restorer.log.events = later;
    finish(&mut restorer, 4, &mut 0);
}
