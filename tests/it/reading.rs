//! Positions: reads, rewinds, pauses, back-pressure, a position that does not exist.

use std::time::Duration;

use tidemill::{
    record::Offset,
    runtime::{Event, Log, ReadFailure, Request},
};

use crate::support::{Client, at, records, texts, topic, unique, write_committed};

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:06}")).collect()
}

fn write_numbers(topic: &tidemill::record::TopicName, partition: i32, count: usize) {
    let values = numbers(0..count);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    write_committed(topic, partition, &values);
}

#[test]
fn a_rewind_delivers_exactly_from_its_offset_on_although_more_was_fetched() {
    const COUNT: usize = 50_000;
    let topic = topic("rewind", 1);
    write_numbers(&topic, 0, COUNT);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, 1);
    let partition = at(&topic, 0);
    client.read(&partition, 0);
    // One batch is taken; librdkafka has fetched far beyond it.
    let first = client.collect(|found| !found.is_empty());
    assert_eq!(first[0].offset, 0);
    for (round, offset) in [7usize, 30_000, 1, 20_000, 19_999, 0].into_iter().enumerate() {
        // Let the client prefetch, without delivering.
        for _ in 0..3 {
            let event = client.next(Duration::from_millis(20), false);
            assert!(event.is_none(), "{event:?}");
        }
        client.read(&partition, offset as i64);
        let wanted = if round % 2 == 0 { 5_000 } else { 100 };
        let found = client.collect(|found| found.len() >= wanted);
        let expected = numbers(offset..offset + found.len());
        assert_eq!(texts(&found), expected, "round {round}");
    }
    client.read(&partition, 100);
    let rest = client.collect(|found| found.len() >= COUNT - 100);
    assert_eq!(texts(&rest), numbers(100..COUNT));
}

#[test]
fn a_paused_partition_delivers_nothing_until_it_is_read_again() {
    let topic = topic("pause", 2);
    write_numbers(&topic, 0, 10_000);
    write_numbers(&topic, 1, 10);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, 2);
    client.read(&at(&topic, 0), 0);
    client.collect(|found| !found.is_empty());
    client.log.submit(Request::Pause { partition: at(&topic, 0) });
    client.read(&at(&topic, 1), 4);
    let found = client.collect(|found| found.len() >= 6);
    assert!(found.iter().all(|read| read.partition == 1), "{found:?}");
    assert_eq!(texts(&found), numbers(4..10));
    let event = client.next(Duration::from_millis(300), true);
    assert!(event.is_none(), "{event:?}");
    client.read(&at(&topic, 0), 9_990);
    let found = client.collect(|found| found.len() >= 10);
    assert_eq!(texts(&found), numbers(9_990..10_000));
}

#[test]
fn a_thread_that_wants_nothing_loses_nothing_and_keeps_its_membership() {
    const COUNT: usize = 60_000;
    let topic = topic("pressure", 1);
    write_numbers(&topic, 0, COUNT);
    let mut connection = crate::support::connection(&unique("app"), "i");
    connection.settings.max_poll_interval = Duration::from_secs(6);
    let mut client = Client::with(&connection);
    client.join_and_own(&topic, 1);
    client.read(&at(&topic, 0), 0);
    let mut found = client.collect(|found| !found.is_empty());
    // Longer than the poll interval, in many short waits: past the bound of what is kept.
    let until = client.now() + Duration::from_secs(8);
    while client.now() < until {
        let event = client.next(Duration::from_millis(10), false);
        assert!(event.is_none(), "{event:?}");
    }
    assert!(client.log.group().is_some());
    let start = found.len();
    found.extend(client.collect(|rest| start + rest.len() >= COUNT));
    assert_eq!(texts(&found), numbers(0..COUNT));
}

#[test]
fn a_position_that_does_not_exist_is_reported_and_a_good_one_still_read() {
    let topic = topic("range", 1);
    write_numbers(&topic, 0, 10);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, 1);
    let partition = at(&topic, 0);
    client.read(&partition, 1_000);
    let deadline = client.now() + crate::support::PATIENCE;
    let cause = loop {
        match client.log.poll(deadline, true) {
            Some(Event::ReadFailed { partition: of, cause }) if of == partition => break cause,
            Some(other) => panic!("{other:?}"),
            None => assert!(client.now() < deadline, "the read never fails"),
        }
    };
    assert_eq!(cause, ReadFailure::OutOfRange);
    client.read(&partition, 5);
    let found = client.collect(|found| found.len() >= 5);
    assert_eq!(texts(&found), numbers(5..10));
}

#[test]
fn records_deleted_below_a_position_make_it_out_of_range() {
    let topic = topic("purge", 1);
    write_numbers(&topic, 0, 100);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, 1);
    let partition = at(&topic, 0);
    client.log.submit(Request::Purge { partition: partition.clone(), before: Offset(50) });
    let mut id = 0;
    loop {
        id += 1;
        client.log.submit(Request::Bounds { id, partitions: vec![partition.clone()] });
        let bounds = client.until("bounds", |event| match event {
            Event::Bounds { id: of, result } if of == id => Some(result.unwrap()),
            _ => None,
        });
        assert_eq!(bounds[0].1.end, Offset(101), "100 records and their marker");
        if bounds[0].1.start == Offset(50) {
            break;
        }
        assert!(id < 1_000, "never deleted");
    }
    client.read(&partition, 10);
    let deadline = client.now() + crate::support::PATIENCE;
    match client.log.poll(deadline, true) {
        Some(Event::ReadFailed { cause: ReadFailure::OutOfRange, .. }) => {}
        Some(Event::Records(batch)) => panic!("skipped to {:?}", records(&batch)[0]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn partitions_are_released_and_read_again_in_quick_succession() {
    const PARTITIONS: i32 = 24;
    let topic = topic("quick", PARTITIONS);
    write_committed(&topic, 3, &["a", "b"]);
    let mut client = Client::new(&unique("app"), "i");
    client.join_and_own(&topic, PARTITIONS);
    let all: Vec<_> = (0..PARTITIONS).map(|partition| at(&topic, partition)).collect();
    for _ in 0..500 {
        for partition in &all {
            client.read(partition, 0);
        }
        client.next(Duration::ZERO, false);
        // Paused partitions are not paused any more when they come back.
        client.log.submit(Request::Pause { partition: at(&topic, 3) });
        client.log.submit(Request::Release { partitions: all.clone() });
        client.log.submit(Request::Accept { partitions: all.clone() });
    }
    client.read(&at(&topic, 3), 0);
    assert_eq!(texts(&client.collect(|found| found.len() == 2)), ["a", "b"]);
}
