//! Operators with state: what they keep, what they emit, and that an abort leaves no trace.

use crate::{
    dsl::{
        Emit, ErrorPolicy, KeyedStream, Source, Table, TimerDomain, TimerFunction, Timers,
        Topology, TopologyBuilder,
        test_driver::{ChainDriver, Sent},
    },
    formats::{I64, Nullable, U64, Utf8},
    record::Timestamp,
    topology::StoreSpec,
};

fn keyed(build: impl FnOnce(KeyedStream<String, String>)) -> Topology {
    let builder = TopologyBuilder::new("t");
    build(builder.stream(Source::new("in", Utf8, Utf8)).group_by_key());
    builder.build().unwrap()
}

fn emit<V: Clone + ToString + 'static>(table: &Table<String, V>) {
    table.updates().map_values(|_, value| value.to_string()).to("out", Utf8, Utf8);
}

fn send(driver: &mut ChainDriver, records: &[&str]) {
    for record in records {
        let (key, value) = record.split_once('=').unwrap();
        driver.text(key, value).unwrap();
    }
}

#[test]
fn count_counts_per_key_and_emits_every_update() {
    let mut driver = ChainDriver::only(&keyed(|s| emit(&s.count("counts"))));
    send(&mut driver, &["a=", "b=", "a="]);
    assert_eq!(driver.take_text(), ["a=1@0", "b=1@1", "a=2@2"]);
    driver.seal().unwrap();
    assert!(driver.take().is_empty());
}

#[test]
fn reduce_takes_the_first_value_and_combines_the_next() {
    let build = |s: KeyedStream<String, String>| {
        emit(&s.reduce("joined", Utf8, |key, before, next| format!("{before}+{next}{key}")));
    };
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["a=x", "a=y", "b=z"]);
    assert_eq!(driver.take_text(), ["a=x@0", "a=x+ya@1", "b=z@2"]);
}

fn sum(s: &KeyedStream<String, String>) -> Table<String, i64> {
    s.try_aggregate(
        "sums",
        I64,
        || 100,
        |_, value, total| {
            // Changed before it refuses: must be undone.
            *total += 1000;
            let number: i64 = value.parse().map_err(|_| format!("{value:?} is no number"))?;
            *total += number - 1000;
            Ok::<_, String>(())
        },
    )
}

#[test]
fn aggregate_starts_with_the_initial_value_and_changes_it_in_place() {
    let mut driver = ChainDriver::only(&keyed(|s| emit(&sum(&s))));
    send(&mut driver, &["a=1", "b=2", "a=3"]);
    assert_eq!(driver.take_text(), ["a=101@0", "b=102@1", "a=104@2"]);
}

#[test]
fn a_skipped_element_leaves_no_trace_in_an_aggregate() {
    let build = |s: KeyedStream<String, String>| emit(&sum(&s.on_error(ErrorPolicy::Skip)));
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["a=x", "a=1", "a=y", "a=2"]);
    assert_eq!(driver.take_text(), ["a=101@1", "a=103@3"]);
    let reasons: Vec<_> = driver.take_skipped().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["\"x\" is no number", "\"y\" is no number"]);
    driver.seal().unwrap();
    driver.commit();
}

#[test]
fn under_fail_the_epoch_is_dropped_with_what_the_function_did() {
    let mut driver = ChainDriver::only(&keyed(|s| emit(&sum(&s))));
    send(&mut driver, &["a=1"]);
    let error = driver.text("a", "x").unwrap_err().to_string();
    assert_eq!(error, "operator sums: \"x\" is no number");
    driver.abort();
    driver.take();
    send(&mut driver, &["a=1"]);
    assert_eq!(driver.take_text(), ["a=101@2"]);
}

#[test]
fn per_epoch_emission_gives_the_last_update_of_each_key_in_first_touch_order() {
    let build = |s: KeyedStream<String, String>| emit(&s.count("counts").emit(Emit::PerEpoch));
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["b=", "a=", "b=", "c=", "b="]);
    assert!(driver.take().is_empty(), "nothing before the epoch ends");
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["b=3@4", "a=1@1", "c=1@3"]);
    driver.commit();
    send(&mut driver, &["a="]);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=2@5"], "only what this epoch touched");
}

#[test]
fn per_epoch_emission_reaches_state_below_before_it_is_sealed() {
    let build = |s: KeyedStream<String, String>| {
        let counts = s.count("counts").emit(Emit::PerEpoch).updates();
        emit(&counts.group_by_key().reduce("seen", U64, |_, before, next| before * 10 + next));
    };
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["a=", "a="]);
    driver.seal().unwrap();
    // What was pushed at the seal belongs to that epoch: it is in the sealed state, and not a
    // change of the next epoch.
    assert_eq!(state_values(&driver).len(), 2, "one count, one of what was seen");
    driver.commit();
    send(&mut driver, &["a="]);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=2@1", "a=23@2"]);
}

#[test]
fn an_aborted_epoch_holds_nothing_back_for_the_next() {
    let build = |s: KeyedStream<String, String>| emit(&s.count("counts").emit(Emit::PerEpoch));
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["a=", "b="]);
    driver.abort();
    send(&mut driver, &["b="]);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["b=1@2"]);
}

#[test]
fn every_update_and_per_epoch_can_be_had_of_one_table() {
    let build = |s: KeyedStream<String, String>| {
        let counts = s.count("counts");
        emit(&counts);
        emit(&counts.emit(Emit::PerEpoch));
    };
    let mut driver = ChainDriver::only(&keyed(build));
    send(&mut driver, &["a=", "a="]);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=1@0", "a=2@1", "a=2@1"]);
}

#[test]
fn a_table_keeps_the_latest_value_and_null_deletes() {
    let builder = TopologyBuilder::new("t");
    let table = builder.table("rows", Source::new("in", Utf8, Utf8));
    table.to_stream().to("all", Utf8, Nullable(Utf8));
    table.updates().to("updates", Utf8, Utf8);
    let topology = builder.build().unwrap();
    let mut driver = ChainDriver::only(&topology);
    send(&mut driver, &["a=1", "a=2"]);
    driver.record(0, Some(b"a"), None, 2, &[]).unwrap();
    let sent = driver.take();
    let of = |sink| -> Vec<String> {
        sent.iter().filter(|sent| sent.sink == sink).map(Sent::text).collect()
    };
    assert_eq!(of(0), ["a=1@0", "a=2@1", "a=~@2"]);
    assert_eq!(of(1), ["a=1@0", "a=2@1"]);
    send(&mut driver, &["b=3"]);
    driver.seal().unwrap();
    assert_eq!(state_values(&driver), [b"3"], "only b is left");
}

/// The values in all stores.
fn state_values(driver: &ChainDriver) -> Vec<Vec<u8>> {
    driver.state.scan(&[], None).unwrap().into_iter().map(|(_, value)| value).collect()
}

#[test]
fn an_aborted_epoch_is_replayed_with_the_same_outputs() {
    let build = |s: KeyedStream<String, String>| {
        emit(&s.count("counts"));
        emit(&sum(&s));
        emit(&s.reduce("joined", Utf8, |_, before, next| before + &next));
    };
    let first = ["a=1", "b=2", "a=3"];
    let second = ["b=4", "c=5", "a=6", "b=7"];
    let mut driver = ChainDriver::only(&keyed(build));
    let strip = |sent: Vec<String>| -> Vec<String> {
        sent.iter().map(|text| text.split('@').next().unwrap().to_owned()).collect()
    };
    send(&mut driver, &first);
    driver.seal().unwrap();
    driver.commit();
    driver.take();
    let mut runs = Vec::new();
    for seal in [false, true, true] {
        send(&mut driver, &second);
        if seal {
            driver.seal().unwrap();
        }
        runs.push(strip(driver.take_text()));
        driver.abort();
        assert_eq!(state_values(&driver).len(), 6, "a and b in three stores");
    }
    assert_eq!(runs[0].len(), 12);
    assert!(runs[0].contains(&"b=3".to_owned()) && runs[0].contains(&"b=247".to_owned()));
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[1], runs[2]);
}

#[test]
fn an_abort_drops_both_epochs_in_progress() {
    let mut driver = ChainDriver::only(&keyed(|s| emit(&s.count("counts"))));
    send(&mut driver, &["a="]);
    driver.seal().unwrap();
    driver.commit();
    send(&mut driver, &["a="]);
    driver.seal().unwrap();
    send(&mut driver, &["a=", "b="]);
    driver.take();
    driver.abort();
    send(&mut driver, &["a=", "b="]);
    assert_eq!(driver.take_text(), ["a=2@4", "b=1@5"]);
}

#[test]
fn evicted_values_are_read_back() {
    let mut driver = ChainDriver::only(&keyed(|s| emit(&s.count("counts"))));
    for round in 0..3 {
        send(&mut driver, &["a=", "b=", "a="]);
        driver.evict();
        assert_eq!(driver.resident_bytes(), 0, "round {round}");
        driver.seal().unwrap();
        driver.commit();
    }
    let last = driver.take_text();
    assert_eq!(last[last.len() - 2..], ["b=3@7", "a=6@8"]);
}

/// Collects values per key; a timer 10 ms after the first of them emits how many there were.
/// The value `cancel` deletes the timer.
struct Batch;

impl TimerFunction for Batch {
    type Key = String;
    type Value = String;
    type State = u64;
    type Output = String;

    fn on_element(
        &self,
        _key: &String,
        value: String,
        state: &mut Option<u64>,
        timers: &mut Timers,
    ) -> Option<String> {
        let due = Timestamp(timers.now().0 / 100 * 100 + 10);
        if value == "cancel" {
            timers.delete(due);
        } else {
            timers.set(due);
            *state = Some(state.unwrap_or(0) + 1);
        }
        None
    }

    fn on_timer(
        &self,
        _key: &String,
        state: &mut Option<u64>,
        timers: &mut Timers,
    ) -> Option<String> {
        let count = state.take()?;
        (timers.now() >= timers.timestamp()).then(|| count.to_string())
    }
}

fn batches() -> ChainDriver {
    ChainDriver::only(&keyed(|s| {
        s.keyed_timer("batches", TimerDomain::ProcessingTime, U64, Batch).to("out", Utf8, Utf8);
    }))
}

#[test]
fn a_timer_fires_once_for_its_key_when_it_is_due() {
    let mut driver = batches();
    send(&mut driver, &["b=", "a=", "a="]);
    driver.seal().unwrap();
    assert!(driver.take().is_empty(), "not due yet");
    driver.commit();
    driver.now = Timestamp(10);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=2@10", "b=1@10"], "ordered by time and key");
    driver.commit();
    driver.seal().unwrap();
    assert!(driver.take().is_empty());
    assert!(state_values(&driver).is_empty(), "neither a value nor a timer is left");
}

#[test]
fn a_deleted_timer_does_not_fire() {
    let mut driver = batches();
    send(&mut driver, &["a=", "b=", "a=cancel"]);
    driver.now = Timestamp(50);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["b=1@10"]);
}

#[test]
fn a_timer_of_an_aborted_epoch_is_as_it_was_before() {
    let mut driver = batches();
    send(&mut driver, &["a="]);
    driver.seal().unwrap();
    driver.commit();
    send(&mut driver, &["b="]);
    driver.now = Timestamp(10);
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=1@10", "b=1@10"]);
    driver.abort();
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), ["a=1@10"], "set before; fired again; the other never set");
}

#[test]
fn stores_are_declared_as_they_are_opened() {
    let topology = keyed(|s| {
        s.keyed_timer("batches", TimerDomain::EventTime, U64, Batch).to("out", Utf8, Utf8);
        emit(&s.count("counts"));
    });
    let mut declared: Vec<_> =
        topology.subtopologies[0].stores.iter().map(StoreSpec::qualified).collect();
    declared.sort();
    assert_eq!(declared, ["batches/event-timers", "batches/value", "counts/value"]);
    let driver = ChainDriver::only(&topology);
    let opened: Vec<_> = driver.state.catalogue().stores().map(|(name, _)| name).collect();
    assert_eq!(opened, declared);
}
