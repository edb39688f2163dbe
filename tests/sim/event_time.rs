//! Event time over a repartition topic: whatever crashes and rebalances, and wherever epochs end,
//! every timer fires exactly once, for all of its records, before any record behind it; and no
//! watermark goes back (TIME-1).

use std::{collections::BTreeMap, time::Duration};

use tidemill::{
    dsl::{Repartition, Source, TopologyBuilder, WatermarkStrategy},
    formats::{Unit, Utf8},
    operators::{TimerFunction, Timers},
    record::Timestamp,
    runtime::mutants::Mutant,
    state::{ChangelogRecord, changelog},
    time::TimerDomain,
    topology::Topology,
};

use crate::{
    ending::text,
    event_world::{EventWorld, PARTITIONS},
};

pub(crate) const APP: &str = "event-time";
pub(crate) const EVENTS: &str = "events";
pub(crate) const WINDOWS: &str = "windows";
/// How late a record may be within its partition, in milliseconds.
pub(crate) const BOUND_MS: i64 = 200;
/// A window's length in milliseconds.
const WINDOW_MS: i64 = 100;
/// The key of the records that close all windows of the others.
pub(crate) const LAST: &str = "last";

/// Counts records per key and window; state `<end>:<count> ...`.
struct Windows;

fn parse(state: Option<&String>) -> BTreeMap<i64, u64> {
    let words = state.map(|state| state.split(' ')).into_iter().flatten();
    let pairs = words.filter_map(|word| word.split_once(':'));
    pairs.map(|(end, count)| (end.parse().unwrap(), count.parse().unwrap())).collect()
}

fn show(windows: &BTreeMap<i64, u64>) -> Option<String> {
    let words: Vec<_> = windows.iter().map(|(end, count)| format!("{end}:{count}")).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The last timestamp of a record's window.
fn end_of(timestamp: i64) -> i64 {
    timestamp.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS - 1
}

impl TimerFunction for Windows {
    type Key = String;
    type Value = String;
    type State = String;
    type Output = String;

    fn on_element(
        &self,
        _key: &String,
        _value: String,
        state: &mut Option<String>,
        timers: &mut Timers,
    ) -> Option<String> {
        let mut windows = parse(state.as_ref());
        let watermark = timers.watermark().map_or(i64::MIN, |watermark| watermark.0);
        let passed = windows.keys().next().copied().filter(|end| *end <= watermark);
        let end = end_of(timers.timestamp().0);
        timers.set(Timestamp(end));
        *windows.entry(end).or_default() += 1;
        *state = show(&windows);
        if let Some(passed) = passed {
            return Some(format!("behind: timer {passed} has not fired at {watermark}"));
        }
        (end <= watermark).then(|| format!("late: window {end} at {watermark}"))
    }

    fn on_timer(
        &self,
        _key: &String,
        state: &mut Option<String>,
        timers: &mut Timers,
    ) -> Option<String> {
        let mut windows = parse(state.as_ref());
        let end = timers.timestamp().0;
        let count = windows.remove(&end);
        *state = show(&windows);
        let watermark = timers.watermark().map_or(i64::MIN, |watermark| watermark.0);
        if watermark < end - 1 {
            return Some(format!("early: timer {end} fired at {watermark}"));
        }
        Some(format!("{end} {}", count.unwrap_or_default()))
    }
}

/// Input: value `<key> <timestamp>`.
pub(crate) fn topology() -> Topology {
    let bound = Duration::from_millis(BOUND_MS as u64);
    let events = Source::new(EVENTS, Unit, Utf8)
        .timestamps(|(), event: &String| {
            Timestamp(event.split_once(' ').unwrap().1.parse().unwrap())
        })
        .watermarks(WatermarkStrategy::BoundedOutOfOrderness(bound));
    let builder = TopologyBuilder::new(APP);
    builder
        .stream(events)
        .map(|(), event: String| (event.split_once(' ').unwrap().0.to_owned(), event))
        .repartition(Repartition::new("by-key", Utf8, Utf8).partitions(3))
        .group_by_key()
        .keyed_timer("counted", TimerDomain::EventTime, Utf8, Windows)
        .to(WINDOWS, Utf8, Utf8);
    builder.build().unwrap()
}

/// What a run left behind.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    pub(crate) windows: usize,
    pub(crate) epochs: u64,
    pub(crate) aborted: u64,
    pub(crate) crashes: u64,
    pub(crate) control_records: usize,
}

/// The windows that a single thread would count.
pub(crate) fn expected(fed: &[(String, i64)]) -> BTreeMap<(String, i64), u64> {
    let mut windows = BTreeMap::new();
    for (key, timestamp) in fed.iter().filter(|(key, _)| key != LAST) {
        *windows.entry((key.clone(), end_of(*timestamp))).or_default() += 1;
    }
    windows
}

/// What fired, and what else an operator complained about.
pub(crate) fn fired(world: &EventWorld) -> (BTreeMap<(String, i64), Vec<u64>>, Vec<String>) {
    let (mut fired, mut problems) = (BTreeMap::<_, Vec<u64>>::new(), vec![]);
    for record in world.cluster.committed_records(WINDOWS).into_iter().flatten() {
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        match value.split_once(' ').and_then(|(end, n)| Some((end.parse().ok()?, n.parse().ok()?)))
        {
            Some((end, count)) if key != LAST => fired.entry((key, end)).or_default().push(count),
            Some(_) => {}
            None => problems.push(format!("{key}: {value}")),
        }
    }
    (fired, problems)
}

/// TIME-1: the watermarks of a task's committed epochs never go back.
pub(crate) fn watermarks_that_went_back(world: &EventWorld) -> Vec<String> {
    let mut problems = vec![];
    for topic in world.cluster.topics().iter().filter(|topic| topic.ends_with("-changelog")) {
        for (partition, records) in world.cluster.committed_records(topic).iter().enumerate() {
            let mut before = None;
            for record in records {
                let parsed = changelog::parse(record.key.as_deref(), record.value.as_deref());
                let Ok(ChangelogRecord::Marker(marker)) = parsed else { continue };
                if marker.watermark < before {
                    let now = marker.watermark;
                    problems.push(format!("TIME-1: {topic}-{partition}: {before:?} to {now:?}"));
                }
                before = marker.watermark;
            }
        }
    }
    problems
}

fn findings(outcome: &Outcome) -> String {
    outcome.problems.join("\n")
}

#[test]
fn every_timer_fires_once_and_before_any_record_behind_it() {
    let seeds = std::env::var("TIDEMILL_SIM_TIME_SEEDS").ok().and_then(|n| n.parse().ok());
    let seeds: u64 = seeds.unwrap_or(300);
    let mut total = Outcome::default();
    for seed in 0..seeds {
        let outcome = EventWorld::new(seed, Mutant::None).run();
        assert_eq!(findings(&outcome), "", "seed {seed}");
        assert!(outcome.windows > 100, "seed {seed}: only {} windows", outcome.windows);
        total.windows += outcome.windows;
        total.epochs += outcome.epochs;
        total.aborted += outcome.aborted;
        total.crashes += outcome.crashes;
        total.control_records += outcome.control_records;
    }
    println!("{seeds} seeds: {total:?}");
    assert!(total.crashes > seeds && total.aborted > 0 && total.control_records > 0, "{total:?}");
}

#[test]
fn one_seed_gives_one_run_and_other_epochs_the_same_windows() {
    let windows = |seed: u64, records: u64| {
        let mut world = EventWorld::new(seed, Mutant::None);
        world.max_records = records;
        world.drive();
        fired(&world).0
    };
    for seed in 0..5 {
        let runs = [2, 17, 1_000].map(|records| windows(seed, records));
        assert!(runs[0].len() > 100 && runs[0] == runs[1] && runs[1] == runs[2], "seed {seed}");
    }
    const { assert!(PARTITIONS > 1) };
}

#[cfg(feature = "mutants")]
mod mutants {
    use super::*;

    fn is_caught(mutant: Mutant, word: &str) {
        const SEEDS: u64 = 30;
        let caught = (0..SEEDS).find_map(|seed| {
            let found = findings(&EventWorld::new(seed, mutant).run());
            let line = found.lines().find(|line| line.contains(word))?;
            Some(format!("seed {seed}: {line}"))
        });
        println!("{mutant:?} caught by {}", caught.expect("no seed saw it"));
    }

    #[test]
    fn a_watermark_forgotten_at_a_restart_is_caught() {
        is_caught(Mutant::WatermarkForgotten, "TIME-1");
    }

    #[test]
    fn timers_that_fire_at_the_end_of_the_epoch_are_caught() {
        is_caught(Mutant::EventTimersAtSeal, "behind: timer");
    }
}
