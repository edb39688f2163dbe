//! Tests of the benchmark's own parts: a bench target has no test runner, so they stand here.

#[path = "../tests/harness/clock.rs"]
mod clock;
#[allow(dead_code)]
mod input;
#[allow(dead_code)]
mod launch;
#[allow(dead_code)]
mod process;
#[allow(dead_code)]
mod quiet;
mod schedule;
#[allow(dead_code)]
mod stalls;
#[allow(dead_code)]
mod target;

use std::{path::Path, process::Stdio, time::Duration};

use input::{Input, Keys};
use launch::Launch;
use quiet::{Look, Quiet};
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
fn an_invalid_session_keeps_its_figures_and_neither_passes_nor_misses() {
    let mut target = Target::at_least("W2", "ratio", 5.0, 4.0, "x");
    assert!(target.line().ends_with(" pass"));
    target.void();
    assert_eq!((target.met, target.found), (Met::Invalid, 5.0));
    assert!(target.line().contains("5.00") && target.line().ends_with(" invalid"));
}

#[test]
fn a_small_run_is_not_judged_and_a_missing_figure_stays_invalid() {
    let judged = |found| Target::at_least("W4", "ratio", found, 1.5, "x").not_judged().met;
    assert_eq!((judged(2.0), judged(f64::NAN)), (Met::NotJudged, Met::Invalid));
}

#[test]
fn the_different_keys_of_a_uniform_input_are_as_many_as_expected() {
    let input = Input { keys: Keys::Uniform, cardinality: 20_000, partitions: 4 };
    let mut keys: Vec<u64> = (0..10_000).map(|index| input.key(index)).collect();
    keys.sort_unstable();
    keys.dedup();
    let expected = input.distinct(10_000);
    assert!((keys.len() as f64 / expected - 1.0).abs() < 0.02, "{} of {expected}", keys.len());
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

/// What a launched shell says, with its process id named.
fn said(launch: &Launch, script: &str) -> anyhow::Result<String> {
    let mut command = launch.command(Path::new("sh"));
    let child = command.args(["-c", script]).stdout(Stdio::piped()).spawn()?;
    let pid = child.id().to_string();
    let text = String::from_utf8(child.wait_with_output()?.stdout)?;
    let named = text.lines().map(|line| if line == pid { "PID" } else { line });
    Ok(named.collect::<Vec<_>>().join(" "))
}

#[test]
fn a_launched_program_keeps_its_process_id_and_its_arguments() {
    assert_eq!(said(&Launch::default(), "echo $$; echo 'a  b'").unwrap(), "PID a  b");
}

#[test]
fn a_capped_program_has_entered_its_group_before_it_runs() {
    let entrance = std::env::temp_dir().join(format!("bench enter-{}", std::process::id()));
    let launch = Launch { pinned: false, entrance: Some(entrance.clone()) };
    let said = said(&launch, &format!("echo $$; cat '{}'", entrance.display())).unwrap();
    std::fs::remove_file(&entrance).unwrap();
    assert_eq!(said, "PID PID");
}

#[test]
fn a_pinned_program_runs_on_the_second_processor() {
    let launch = Launch { pinned: true, entrance: Some("group".into()) };
    let words = launch.words(Path::new("java"));
    assert_eq!(words.get(3..).unwrap(), ["group", "taskset", "-c", "1", "java"]);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        let launch = Launch { pinned: true, entrance: None };
        let allowed = said(&launch, "grep Cpus_allowed_list /proc/self/status").unwrap();
        assert_eq!(allowed.split_ascii_whitespace().last(), Some("1"));
    }
}

#[test]
fn what_systems_are_told_of_a_cap_leaves_room_under_it() {
    let cap = 256 << 20;
    let limit = launch::tidemill_limit(cap);
    assert!((cap - 8..=cap).contains(&(limit + limit / 5)), "a container has a fifth more");
    let (heap, stores) = launch::streams_split(cap);
    assert!(cap - heap - stores >= 100 << 20, "the JVM takes about 100 MB beside its heap");
}

#[test]
fn a_load_is_late_by_what_is_due_and_not_acknowledged() {
    assert_eq!(
        (schedule::due(1.5, 1_000.0, 9_999), schedule::due(99.0, 1_000.0, 9_999)),
        (1_500, 9_999)
    );
    assert!((schedule::due_s(1_500, 1_000.0) - 1.5).abs() < 1e-9);
    assert!((schedule::late_s(2.0, 1_000.0, 1_750) - 0.25).abs() < 1e-9);
    assert!(schedule::late_s(2.0, 1_000.0, 2_001).abs() < 1e-9, "ahead is not late");
}

#[test]
fn idle_is_what_all_processors_together_did_not_work() {
    assert!((quiet::idle(1.0, 4.0, 2) - 0.875).abs() < 1e-9);
    assert!((quiet::idle(0.0, 4.0, 2) - 1.0).abs() < 1e-9);
    assert!(quiet::idle(9.0, 4.0, 2).abs() < 1e-9, "ticks are coarse: never below zero");
}

#[test]
fn a_busy_machine_is_looked_at_again_until_it_is_idle_or_patience_ends() {
    assert_eq!((Look::new(true, 3).tries, Look::new(false, 60).tries), (3, 15));
    assert_eq!(Look::new(false, 0).tries, 1, "it is looked at once at least");
    let look = Look { window: Duration::ZERO, tries: 3 };
    let seen = |values: &[f64]| {
        let (mut values, mut looks) = (values.iter(), 0);
        let quiet = Quiet::until_idle(look, || {
            looks += 1;
            *values.next().unwrap()
        });
        (quiet.disturbed(), looks)
    };
    assert_eq!(seen(&[0.96]), (false, 1));
    assert_eq!(seen(&[0.4, 0.97]), (false, 2));
    assert_eq!(seen(&[0.4, 0.5, 0.94]), (true, 3));
}
