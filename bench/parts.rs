//! Tests of the benchmark's own parts: a bench target has no test runner, so they stand here.

#[path = "../tests/harness/clock.rs"]
mod clock;
#[allow(dead_code)]
mod input;
#[allow(dead_code)]
mod process;
#[allow(dead_code)]
mod stalls;
#[allow(dead_code)]
mod target;

use input::{Input, Keys};
use target::{Met, Target};

#[test]
fn a_record_has_its_sizes_and_says_who_it_is() {
    let input = Input { keys: Keys::Uniform, cardinality: 1_000_000, partitions: 4 };
    let (mut key, mut value) = (vec![], vec![]);
    for index in [0, 1, 99_999_999] {
        input.record(index, &mut key, &mut value);
        assert_eq!((key.len(), value.len()), (input::KEY_BYTES, input::VALUE_BYTES));
        assert_eq!(input::sequence(&value).unwrap(), index);
        assert_eq!(input::key_number(&key).unwrap(), input.key(index));
        assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok());
    }
}

#[test]
fn three_quarters_of_a_hot_input_are_on_a_thousand_keys() {
    let input = Input { keys: Keys::Hot, cardinality: 1_000_000, partitions: 4 };
    let hot = (0..100_000).filter(|index| input.key(*index) < 1_000).count();
    assert!((74_000..76_500).contains(&hot), "{hot}");
}

#[test]
fn a_target_is_met_at_its_bound_and_says_nothing_without_a_figure() {
    let met = |found| Target::at_least("W2", "ratio", found, 4.0, "x").met;
    assert_eq!((met(4.0), met(3.99), met(f64::NAN)), (Met::Pass, Met::Miss, Met::Invalid));
    assert_eq!(Target::at_most("W8", "p99", 200.1, 200.0, "ms").met, Met::Miss);
}

#[test]
fn a_process_that_runs_has_used_something() {
    let used = process::usage(std::process::id()).unwrap();
    assert!(used.peak_rss_bytes > 1 << 20);
    assert!(process::machine_busy_s() > 0.0);
    assert!(process::usage(u32::MAX).is_err());
}

#[test]
fn what_is_written_of_stalls_is_read_again() {
    let path = std::env::temp_dir().join(format!("bench-stalls-{}", std::process::id()));
    std::fs::write(&path, "1 20\n7 2\n").unwrap();
    assert_eq!(stalls::read(&path).unwrap(), [(1, 20), (7, 2)]);
    std::fs::write(&path, "1\n").unwrap();
    assert!(stalls::read(&path).is_err());
    std::fs::remove_file(path).unwrap();
}
