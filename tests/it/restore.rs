//! Changelogs: read to the last stable offset, no further, and resumed from any offset.

use std::time::Duration;

use tidemill::{
    kafka::KafkaRestoreLog,
    record::{Offset, TopicPartition},
    runtime::{
        Lane, ReadFailure, RestoreEvent, RestoreLog, RestoreRequest, supervisor::SystemClock,
    },
};

use crate::support::{
    Client, PATIENCE, at, connection, records, texts, topic, unique, write_committed,
};

struct Reader {
    log: KafkaRestoreLog,
    clock: SystemClock,
}

impl Reader {
    fn new() -> Self {
        let clock = SystemClock::start();
        let log = KafkaRestoreLog::new(&connection(&unique("restore"), "r"), clock).unwrap();
        Self { log, clock }
    }

    fn read(&mut self, partition: &TopicPartition, offset: i64) {
        let partition = partition.clone();
        self.log.submit(RestoreRequest::Read { partition, offset: Offset(offset) });
    }

    fn next(&mut self, wait: Duration) -> Option<RestoreEvent<tidemill::kafka::KafkaBatch>> {
        let deadline = self.clock.now().mono + wait;
        self.log.poll(deadline)
    }

    /// Everything until the reader stands at `position` or behind it.
    fn until(&mut self, partition: &TopicPartition, position: i64) -> Vec<String> {
        let mut found = vec![];
        let deadline = self.clock.now().mono + PATIENCE;
        while self.clock.now().mono < deadline {
            match self.log.poll(deadline) {
                Some(RestoreEvent::Records(batch)) => found.extend(texts(&records(&batch))),
                Some(RestoreEvent::CaughtUp { partition: of, position: at })
                    if of == *partition && at.0 >= position =>
                {
                    return found;
                }
                Some(RestoreEvent::CaughtUp { .. }) | None => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        panic!("never at {position}, with {found:?}");
    }
}

#[test]
fn a_restore_stands_at_the_last_stable_offset_and_goes_on_when_it_moves() {
    let changelog = topic("lso", 1);
    let partition = at(&changelog, 0);
    write_committed(&changelog, 0, &["a", "b"]);
    let mut writer = Client::new(&unique("app"), "i");
    writer.open(Lane::A);
    writer.begin(Lane::A);
    writer.produce(Lane::A, &changelog, 0, &["open"]);
    writer.flush(Lane::A).unwrap();

    let mut reader = Reader::new();
    reader.log.submit(RestoreRequest::Bounds { partition: partition.clone() });
    let bounds = loop {
        match reader.next(PATIENCE) {
            Some(RestoreEvent::Bounds { result, .. }) => break result.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((bounds.start.0, bounds.last_stable.0, bounds.end.0), (0, 3, 4));
    reader.read(&partition, 0);
    assert_eq!(reader.until(&partition, 3), ["a", "b"]);
    assert_eq!(writer.commit(Lane::A), Ok(()));
    assert_eq!(reader.until(&partition, 5), ["open"]);
}

#[test]
fn several_changelogs_are_read_at_once_and_one_is_stopped_without_a_trace() {
    let changelog = topic("several", 3);
    let values: Vec<String> = (0..20_000).map(|n| format!("{n}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for partition in 0..3 {
        write_committed(&changelog, partition, &values);
    }
    let mut reader = Reader::new();
    reader.read(&at(&changelog, 0), 0);
    reader.read(&at(&changelog, 1), 15_000);
    // Something of both is on its way.
    let first = reader.next(PATIENCE);
    assert!(matches!(first, Some(RestoreEvent::Records(_))), "{first:?}");
    reader.log.submit(RestoreRequest::Stop { partition: at(&changelog, 0) });
    reader.read(&at(&changelog, 2), 19_998);
    let mut found = [0usize; 3];
    let mut ends = [false; 3];
    let seen = match first {
        Some(RestoreEvent::Records(batch)) => records(&batch),
        _ => vec![],
    };
    let before = seen.iter().filter(|r| r.partition == 1).count();
    let deadline = reader.clock.now().mono + PATIENCE;
    while !(ends[1] && ends[2]) {
        match reader.log.poll(deadline) {
            Some(RestoreEvent::Records(batch)) => {
                for read in records(&batch) {
                    found[usize::try_from(read.partition).unwrap()] += 1;
                }
            }
            Some(RestoreEvent::CaughtUp { partition, position }) => {
                assert_eq!(position, Offset(20_001));
                ends[usize::try_from(partition.partition).unwrap()] = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((found[0], before + found[1], found[2]), (0, 5_000, 2));
}

#[test]
fn a_restore_from_a_position_that_does_not_exist_fails() {
    let changelog = topic("gone", 1);
    write_committed(&changelog, 0, &["a"]);
    let mut reader = Reader::new();
    reader.read(&at(&changelog, 0), 500);
    match reader.next(PATIENCE) {
        Some(RestoreEvent::Failed { partition, cause }) => {
            assert_eq!((partition, cause), (at(&changelog, 0), ReadFailure::OutOfRange));
        }
        other => panic!("{other:?}"),
    }
    // The same reader reads what exists.
    reader.read(&at(&changelog, 0), 0);
    assert_eq!(reader.until(&at(&changelog, 0), 2), ["a"]);
}

#[test]
fn changelogs_start_and_stop_in_quick_succession() {
    const PARTITIONS: i32 = 24;
    let changelog = topic("quick", PARTITIONS);
    write_committed(&changelog, 0, &["a", "b"]);
    let mut reader = Reader::new();
    for round in 0..500 {
        for partition in 0..PARTITIONS {
            reader.read(&at(&changelog, partition), 0);
        }
        reader.next(Duration::ZERO);
        for partition in (0..PARTITIONS).filter(|partition| (partition + round) % 3 > 0) {
            reader.log.submit(RestoreRequest::Stop { partition: at(&changelog, partition) });
        }
        reader.next(Duration::ZERO);
    }
    reader.read(&at(&changelog, 0), 0);
    assert_eq!(reader.until(&at(&changelog, 0), 3), ["a", "b"]);
}

#[test]
fn a_changelog_that_is_read_again_is_told_its_end_again() {
    let changelog = topic("again", 1);
    write_committed(&changelog, 0, &["a", "b"]);
    let mut reader = Reader::new();
    for _ in 0..3 {
        reader.read(&at(&changelog, 0), 3);
        assert_eq!(reader.until(&at(&changelog, 0), 3), [""; 0]);
        reader.read(&at(&changelog, 0), 1);
        assert_eq!(reader.until(&at(&changelog, 0), 3), ["b"]);
    }
}
