//! The clock of a task: minimum, firing, storage.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const BOUND: WatermarkStrategy =
    WatermarkStrategy::BoundedOutOfOrderness(Duration::from_millis(10));

fn two_sources() -> EventClock {
    let kinds = [InputKind::Source(WatermarkStrategy::Monotonic), InputKind::Source(BOUND)];
    EventClock::new(kinds, None)
}

fn said(tasks: u32, progress: &[(u32, Progress)]) -> Control {
    Control { tasks, progress: progress.iter().copied().collect() }
}

fn at(time: i64) -> Progress {
    Progress::At(Timestamp(time))
}

#[test]
fn the_slowest_input_decides_and_an_unknown_one_holds_back() {
    let mut clock = two_sources();
    clock.record(0, Timestamp(100));
    assert_eq!((clock.reach(), clock.progress()), (None, None));
    clock.record(1, Timestamp(50));
    assert_eq!(clock.reach(), Some(Timestamp(39)));
    clock.record(1, Timestamp(1_000));
    assert_eq!(clock.reach(), Some(Timestamp(99)));
}

#[test]
fn the_watermark_stays_before_a_timer_until_it_has_fired() {
    let mut clock = two_sources();
    clock.record(0, Timestamp(100));
    clock.record(1, Timestamp(200));
    clock.firing(Timestamp(40));
    assert_eq!(clock.watermark(), Some(Timestamp(39)));
    assert_eq!(clock.progress(), Some(at(39)), "what is passed on does not pass it");
    clock.firing(Timestamp(5));
    assert_eq!(clock.watermark(), Some(Timestamp(39)), "a timer in the past moves nothing back");
    clock.settle();
    assert_eq!(clock.progress(), Some(at(99)));
}

#[test]
fn an_input_that_is_new_after_a_restart_does_not_move_the_watermark_back() {
    let mut clock = EventClock::new([InputKind::Source(BOUND)], Some(Timestamp(500)));
    clock.record(0, Timestamp(20));
    clock.settle();
    assert_eq!(clock.watermark(), Some(Timestamp(500)));
}

#[test]
fn all_inputs_idle_is_idle_once_what_was_due_has_fired() {
    let mut clock = EventClock::new([InputKind::Repartition], None);
    clock.control(0, &said(2, &[(0, at(7)), (1, at(9))]));
    clock.control(0, &said(2, &[(0, Progress::Idle)]));
    assert_eq!(clock.reach(), Some(Timestamp(9)));
    clock.control(0, &said(2, &[(1, Progress::Idle)]));
    assert_eq!(clock.progress(), None);
    clock.settle();
    assert_eq!(clock.progress(), Some(Progress::Idle));
    clock.control(0, &said(2, &[(0, at(8))]));
    assert_eq!(clock.progress(), Some(at(9)), "back with less: nothing goes back");
}

#[test]
fn damaged_parts_are_refused() {
    let mut clock = EventClock::new([InputKind::Repartition, InputKind::Source(BOUND)], None);
    for (input, part, bytes) in [
        (0, ClockPart::Head, &[1_u8, 2][..]),
        (0, ClockPart::Task(1), &[AT, 1]),
        (0, ClockPart::Task(1), &[7]),
        (1, ClockPart::Head, &[0; 7]),
        (1, ClockPart::Task(0), &[IDLE]),
        (2, ClockPart::Head, &[0; 8]),
    ] {
        assert_eq!(
            clock.restore(input, part, bytes),
            Err(ClockError { part, bytes: bytes.to_vec() })
        );
    }
}

#[derive(Debug, Clone)]
enum Event {
    Record(usize, i64),
    Control(u32, Vec<(u32, Option<i64>)>),
    Fire(i64),
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let progress = (0u32..4, proptest::option::of(0i64..100));
    prop_oneof![
        (0usize..2, -1i64..100).prop_map(|(input, time)| Event::Record(input, time)),
        (1u32..4, proptest::collection::vec(progress, 0..4))
            .prop_map(|(tasks, said)| Event::Control(tasks, said)),
        (0i64..100).prop_map(Event::Fire),
        Just(Event::Settle),
    ]
}

fn three_inputs(watermark: Option<Timestamp>) -> EventClock {
    let kinds = [InputKind::Source(BOUND), InputKind::Source(BOUND), InputKind::Repartition];
    EventClock::new(kinds, watermark)
}

proptest! {
    #[test]
    fn nothing_goes_back_and_a_stored_clock_goes_on_where_it_stood(
        events in proptest::collection::vec(event(), 0..40),
    ) {
        let mut clock = three_inputs(None);
        let mut stored = std::collections::BTreeMap::new();
        for event in events {
            let before = (clock.reach(), clock.watermark());
            match event {
                Event::Record(input, time) => clock.record(input, Timestamp(time)),
                Event::Control(tasks, words) => {
                    let word = |time: Option<i64>| time.map_or(Progress::Idle, at);
                    let words: Vec<_> =
                        words.into_iter().map(|(task, time)| (task, word(time))).collect();
                    clock.control(2, &said(tasks, &words));
                }
                // Only what is due fires.
                Event::Fire(time) if clock.reach() >= Some(Timestamp(time)) => {
                    clock.firing(Timestamp(time));
                }
                Event::Fire(_) => {}
                Event::Settle => clock.settle(),
            }
            prop_assert!(clock.reach() >= before.0 && clock.watermark() >= before.1);
            prop_assert!(clock.watermark() <= clock.reach());
            for (input, part, bytes) in clock.take_changes() {
                stored.insert((input, part), bytes);
            }
            let mut restored = three_inputs(clock.watermark());
            for ((input, part), bytes) in &stored {
                restored.restore(*input, *part, bytes).unwrap();
            }
            restored.settle();
            let mut settled = clock.clone();
            settled.settle();
            // The reach of an input that has spoken less since is not stored: the watermark is.
            prop_assert!(restored.watermark() <= settled.watermark());
            prop_assert!(restored.watermark() >= clock.watermark());
        }
    }
}
