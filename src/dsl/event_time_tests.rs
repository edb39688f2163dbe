//! Event time through a chain: timestamps, watermarks, timers.

use std::time::Duration;

use crate::{
    dsl::{
        Repartition, Source, TimerDomain, TimerFunction, Timers, Topology, TopologyBuilder,
        WatermarkStrategy, test_driver::ChainDriver,
    },
    formats::{U64, Utf8},
    record::Timestamp,
    time::Progress,
    topology::has_watermark,
};

const BOUND: WatermarkStrategy = WatermarkStrategy::BoundedOutOfOrderness(Duration::from_millis(5));

/// Counts the values of each window of 10 ms; emits `count`, and `late` for what is behind.
struct Windows;

impl TimerFunction for Windows {
    type Key = String;
    type Value = String;
    type State = u64;
    type Output = String;

    fn on_element(
        &self,
        _key: &String,
        _value: String,
        state: &mut Option<u64>,
        timers: &mut Timers,
    ) -> Option<String> {
        let end = timers.timestamp().0 / 10 * 10 + 9;
        if timers.watermark() >= Some(Timestamp(end)) {
            return Some("late".to_owned());
        }
        timers.set(Timestamp(end));
        *state = Some(state.unwrap_or(0) + 1);
        None
    }

    fn on_timer(
        &self,
        _key: &String,
        state: &mut Option<u64>,
        timers: &mut Timers,
    ) -> Option<String> {
        assert!(timers.watermark() >= Some(Timestamp(timers.timestamp().0 - 1)));
        Some(state.take()?.to_string())
    }
}

/// The timestamp is the value.
fn source(strategy: WatermarkStrategy) -> Source<String, String> {
    Source::new("in", Utf8, Utf8)
        .timestamps(|_, value: &String| Timestamp(value.parse().unwrap_or(-1)))
        .watermarks(strategy)
}

fn topology() -> Topology {
    let builder = TopologyBuilder::new("t");
    builder
        .stream(source(BOUND))
        .group_by_key()
        .keyed_timer("windows", TimerDomain::EventTime, U64, Windows)
        .to("out", Utf8, Utf8);
    builder.build().unwrap()
}

fn send(driver: &mut ChainDriver, records: &[&str]) {
    for record in records {
        let (key, value) = record.split_once('=').unwrap();
        driver.text(key, value).unwrap();
    }
}

#[test]
fn a_timer_fires_when_the_watermark_reaches_it_and_before_the_next_record() {
    let mut driver = ChainDriver::only(&topology());
    send(&mut driver, &["a=1", "b=12", "a=9", "a=14"]);
    assert!(driver.take().is_empty(), "the watermark is 8");
    send(&mut driver, &["b=15"]);
    assert_eq!(driver.take_text(), ["a=3@9"], "9 of 15 - 5 - 1; the value of 14 counts to it too");
    send(&mut driver, &["a=8", "c=40"]);
    assert_eq!(driver.take_text(), ["a=late@8", "b=2@19"]);
}

#[test]
fn an_element_without_a_timestamp_moves_no_watermark() {
    let mut driver = ChainDriver::only(&topology());
    send(&mut driver, &["a=1", "b=x"]);
    driver.seal().unwrap();
    assert!(driver.take().is_empty());
}

#[test]
fn an_aborted_epoch_takes_watermark_and_timers_back() {
    let mut driver = ChainDriver::only(&topology());
    send(&mut driver, &["a=1", "b=12"]);
    driver.seal().unwrap();
    driver.commit();
    for _ in 0..2 {
        send(&mut driver, &["c=100"]);
        assert_eq!(driver.take_text(), ["a=1@9", "b=1@19"]);
        driver.seal().unwrap();
        driver.abort();
        send(&mut driver, &["a=3"]);
        assert!(driver.take().is_empty(), "3 is not late any more");
        driver.abort();
    }
}

#[test]
fn results_do_not_depend_on_where_epochs_end() {
    let values: Vec<String> = (0..60).map(|n| format!("k{}={}", n % 3, n * 2 - n % 5)).collect();
    let mut runs = Vec::new();
    for length in [1, 2, 7, 60] {
        let mut driver = ChainDriver::only(&topology());
        for (number, record) in values.iter().enumerate() {
            send(&mut driver, &[record.as_str()]);
            if number % length == length - 1 {
                driver.seal().unwrap();
                driver.commit();
            }
        }
        runs.push(driver.take_text());
    }
    assert!(runs[0].len() > 20, "{:?}", runs[0]);
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:#?}");
}

fn exchanged() -> Topology {
    let builder = TopologyBuilder::new("t");
    builder
        .stream(source(WatermarkStrategy::Monotonic))
        .repartition(Repartition::new("moved", Utf8, Utf8))
        .group_by_key()
        .keyed_timer("windows", TimerDomain::EventTime, U64, Windows)
        .to("out", Utf8, Utf8);
    builder.build().unwrap()
}

#[test]
fn behind_a_repartition_topic_the_slowest_upstream_task_decides() {
    let mut driver = ChainDriver::new(&exchanged(), "windows");
    let at = |time| Progress::At(Timestamp(time));
    driver.record(0, Some(b"a"), Some(b"1"), 1, &[]).unwrap();
    driver.control(0, 2, &[(0, at(50))]).unwrap();
    assert!(driver.take().is_empty(), "nothing was heard of the other one");
    driver.control(0, 2, &[(1, at(8))]).unwrap();
    assert!(driver.take().is_empty());
    driver.control(0, 2, &[(1, at(9))]).unwrap();
    assert_eq!(driver.take_text(), ["a=1@9"]);
}

#[test]
fn only_parts_all_of_whose_inputs_have_watermarks_keep_them() {
    let marks = |topology: &Topology| -> Vec<bool> {
        topology.subtopologies.iter().map(has_watermark).collect()
    };
    assert_eq!(marks(&exchanged()), [true, true]);
    let builder = TopologyBuilder::new("t");
    let other = builder.stream(Source::new("other", Utf8, Utf8));
    builder
        .stream(source(BOUND))
        .merge(&other)
        .repartition(Repartition::new("moved", Utf8, Utf8))
        .to("out", Utf8, Utf8);
    assert_eq!(marks(&builder.build().unwrap()), [false, false]);
}

#[test]
fn a_deleted_row_keeps_its_records_timestamp() {
    let builder = TopologyBuilder::new("t");
    builder.table("rows", source(BOUND)).to_stream().to(
        "out",
        Utf8,
        crate::formats::Nullable(Utf8),
    );
    let mut driver = ChainDriver::only(&builder.build().unwrap());
    driver.record(0, Some(b"a"), Some(b"7"), 1, &[]).unwrap();
    driver.record(0, Some(b"a"), None, 2, &[]).unwrap();
    assert_eq!(driver.take_text(), ["a=7@7", "a=~@2"]);
}
