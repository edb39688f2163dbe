//! What stream threads and restores read, and what topics can do to them.

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::{Offset, RecordBatch, Timestamp},
    runtime::{
        Event, Isolation, Lane, Log, ReadFailure, Request, RestoreEvent, RestoreLog,
        RestoreRequest, TopicAdmin,
    },
};

fn fill(cluster: &SimCluster, partition: i32, count: usize) {
    for number in 0..count {
        let value = number.to_string();
        cluster.produce("in", partition, None, Some(value.as_bytes()), Timestamp(number as i64));
    }
}

/// Polls for records until none come for a second; (partition, offset) in the order delivered.
fn drain(thread: &mut Thread) -> Vec<(i32, i64)> {
    let mut seen = Vec::new();
    let mut quiet_since = thread.cluster.now().mono;
    while thread.cluster.now().mono < quiet_since + Duration::from_secs(1) {
        match thread.log.poll(Duration::ZERO, true) {
            Some(Event::Records(batch)) => {
                assert!(!batch.is_empty());
                let records = (0..batch.len()).map(|index| batch.record(index));
                seen.extend(records.map(|record| (record.partition, record.offset.0)));
                quiet_since = thread.cluster.now().mono;
            }
            Some(other) => panic!("{other:?}"),
            None => thread.cluster.advance(Duration::from_millis(5)),
        }
    }
    seen
}

#[test]
fn records_come_from_where_they_are_read_in_the_order_of_each_partition() {
    for settings in [SimSettings::quiet(), SimSettings::default()] {
        let cluster = cluster_with(settings);
        fill(&cluster, 0, 50);
        fill(&cluster, 1, 50);
        let mut thread = Thread::new(&cluster, "one");
        thread.joined();
        assert!(drain(&mut thread).is_empty(), "accepted partitions are paused");
        for (partition, from) in [(0, 10), (1, 0)] {
            let partition = at("in", partition);
            thread.ask(Request::Read { partition, offset: Offset(from) });
        }
        let seen = drain(&mut thread);
        for (partition, from) in [(0, 10), (1, 0)] {
            let of: Vec<i64> =
                seen.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
            assert_eq!(of, (from..50).collect::<Vec<_>>());
        }
    }
}

#[test]
fn batches_interleave_partitions_in_sizes_drawn_by_seed() {
    let cluster = cluster_with(SimSettings::default());
    fill(&cluster, 0, 100);
    fill(&cluster, 1, 100);
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    for partition in [0, 1] {
        thread.ask(Request::Read { partition: at("in", partition), offset: Offset(0) });
    }
    let seen = drain(&mut thread);
    let changes = seen.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(changes > 10, "{changes} changes between partitions");
}

#[test]
fn after_pause_release_or_rewind_nothing_stale_comes() {
    let cluster = cluster_with(SimSettings { fetch_records_max: 3, ..SimSettings::quiet() });
    fill(&cluster, 0, 9);
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    let read = |offset| Request::Read { partition: at("in", 0), offset: Offset(offset) };
    thread.ask(read(0));
    assert!(matches!(thread.log.poll(Duration::ZERO, true), Some(Event::Records(_))));
    assert!(thread.log.poll(Duration::ZERO, false).is_none(), "no records unless wanted");
    thread.ask(Request::Pause { partition: at("in", 0) });
    assert!(drain(&mut thread).is_empty());
    thread.ask(read(7));
    assert_eq!(drain(&mut thread), [(0, 7), (0, 8)]);
    thread.ask(read(0));
    thread.ask(Request::Release { partitions: parts("in", &[0]) });
    assert!(drain(&mut thread).is_empty());
}

#[test]
fn a_read_committed_thread_sees_neither_open_nor_aborted_records() {
    let cluster = quiet();
    let mut writer = Thread::new(&cluster, "writer");
    let mut reader = Thread::new(&cluster, "reader");
    reader.ask(Request::Accept { partitions: parts("out", &[0]) });
    reader.ask(Request::Read { partition: at("out", 0), offset: Offset(0) });
    writer.started(Lane::A, 0, "aborted");
    assert!(drain(&mut reader).is_empty());
    writer.abort(Lane::A).expect("abort");
    assert!(drain(&mut reader).is_empty());
    writer.begin(Lane::A);
    writer.send(Lane::A, 0, "committed");
    writer.commit(Lane::A).expect("commit");
    assert_eq!(drain(&mut reader), [(0, 2)]);
}

#[test]
fn a_position_that_is_gone_and_a_topic_that_is_gone_are_told_once() {
    let cluster = quiet();
    fill(&cluster, 0, 10);
    fill(&cluster, 1, 10);
    let mut thread = Thread::new(&cluster, "one");
    thread.joined();
    cluster.delete_records(&at("in", 0), Offset(5));
    for partition in [0, 1] {
        thread.ask(Request::Read { partition: at("in", partition), offset: Offset(4) });
    }
    let Some(Event::ReadFailed { partition, cause }) = thread.log.poll(Duration::ZERO, true) else {
        panic!("expected a failed read");
    };
    assert_eq!((partition, cause), (at("in", 0), ReadFailure::OutOfRange));
    assert_eq!(drain(&mut thread).len(), 6, "the other partition goes on");
    cluster.delete_topic("in");
    cluster.add_topic(&spec("in", 4));
    fill(&cluster, 1, 30);
    let Some(Event::ReadFailed { partition, cause }) = thread.log.poll(Duration::ZERO, true) else {
        panic!("expected a failed read");
    };
    assert_eq!((partition, cause), (at("in", 1), ReadFailure::UnknownPartition));
}

#[test]
fn purged_records_are_gone_and_the_start_moves() {
    let cluster = quiet();
    fill(&cluster, 0, 10);
    let mut thread = Thread::new(&cluster, "one");
    thread.ask(Request::Purge { partition: at("in", 0), before: Offset(4) });
    thread.ask(Request::Bounds { id: 1, partitions: parts("in", &[0]) });
    match thread.wait() {
        Event::Bounds { id: 1, result: Ok(bounds) } => {
            assert_eq!((bounds[0].1.start, bounds[0].1.end), (Offset(4), Offset(10)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.committed_records("in")[0].len(), 6);
}

#[test]
fn a_deleted_topic_comes_back_with_another_id_and_without_offsets() {
    let cluster = quiet();
    cluster.commit_group_offsets(APP, vec![commit_of(0, 3)]);
    let mut admin = cluster.admin();
    let id = |admin: &mut SimTopicAdmin| {
        let described = admin.describe(&["in".into(), "nowhere".into()]).expect("described");
        assert_eq!(described[1], None);
        described[0].clone().expect("there").id
    };
    let before = id(&mut admin);
    assert_eq!(before.len(), 32);
    assert!(cluster.delete_topic("in"));
    admin.create(&[spec("in", 4), spec("out", 7)]).expect("created");
    assert_ne!(id(&mut admin), before);
    assert_eq!(cluster.group_offsets(APP), []);
    let out = admin.describe(&["out".into()]).expect("described").remove(0).expect("there");
    assert_eq!(out.partitions, 2, "one that exists is left as it is");
}

fn changelog(cluster: &SimCluster) -> Thread {
    let mut writer = Thread::new(cluster, "writer");
    writer.started(Lane::A, 0, "0");
    writer.abort(Lane::A).expect("abort");
    for value in ["2", "4"] {
        writer.begin(Lane::A);
        writer.send(Lane::A, 0, value);
        writer.commit(Lane::A).expect("commit");
    }
    writer
}

#[test]
fn a_restore_reads_what_is_committed_and_is_told_when_it_stands_at_the_end() {
    let cluster = quiet();
    let mut writer = changelog(&cluster);
    let mut restore = cluster.restore_log("reader");
    restore.submit(RestoreRequest::Bounds { partition: at("out", 0) });
    match restore.poll(Duration::ZERO) {
        Some(RestoreEvent::Bounds { result: Ok(bounds), .. }) => assert_eq!(bounds.end, Offset(6)),
        other => panic!("{other:?}"),
    }
    restore.submit(RestoreRequest::Read { partition: at("out", 0), offset: Offset(0) });
    let mut seen = Vec::new();
    let position = loop {
        match restore.poll(Duration::ZERO) {
            Some(RestoreEvent::Records(batch)) => {
                seen.extend((0..batch.len()).map(|index| batch.record(index).offset.0));
            }
            Some(RestoreEvent::CaughtUp { position, .. }) => break position,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((seen, position), (vec![2, 4], Offset(6)));
    assert!(restore.poll(Duration::ZERO).is_none(), "told once per position");
    writer.begin(Lane::A);
    writer.send(Lane::A, 0, "6");
    writer.flush(Lane::A).expect("flush");
    assert!(restore.poll(Duration::ZERO).is_none(), "it waits at the last stable offset");
    writer.abort(Lane::A).expect("abort");
    match restore.poll(Duration::ZERO) {
        Some(RestoreEvent::CaughtUp { position, .. }) => assert_eq!(position, Offset(8)),
        other => panic!("{other:?}"),
    }
    restore.submit(RestoreRequest::Read { partition: at("out", 0), offset: Offset(99) });
    match restore.poll(Duration::ZERO) {
        Some(RestoreEvent::Failed { cause, .. }) => assert_eq!(cause, ReadFailure::OutOfRange),
        other => panic!("{other:?}"),
    }
    restore.submit(RestoreRequest::Read { partition: at("out", 0), offset: Offset(0) });
    restore.submit(RestoreRequest::Stop { partition: at("out", 0) });
    assert!(restore.poll(Duration::ZERO).is_none());
}

#[test]
fn compaction_keeps_the_last_committed_record_of_a_key_and_all_offsets() {
    let cluster = quiet();
    let mut writer = changelog(&cluster);
    writer.begin(Lane::A);
    writer.send(Lane::A, 0, "open");
    writer.flush(Lane::A).expect("flush");
    cluster.compact("out");
    let left: Vec<i64> = cluster.records("out", Isolation::ReadUncommitted)[0]
        .iter()
        .map(|record| record.offset.0)
        .collect();
    assert_eq!(left, [4, 6], "the last committed one, and what is undecided");
    assert_eq!(bounds(&cluster, 0), (6, 7));
    writer.abort(Lane::A).expect("abort");
    assert_eq!(committed(&cluster), ["4"]);
}
