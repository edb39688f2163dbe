//! How a real process ends: by the brokers, by signals, by its shutdown's time-out.

use crate::{application::Application, running::Running};

/// A process that stands still in the middle of a record.
fn hanging(app: &Application, more: &[&str]) -> Running {
    app.write_lines(&["hang"]);
    let mut process = app.start("fail", more);
    process.wait_for_words("hanging");
    process
}

#[test]
fn a_drain_that_takes_too_long_ends_with_9() {
    let app = Application::new("undrained", &[]);
    let process = hanging(&app, &["--set", "shutdown.timeout=1s"]);
    process.signal("TERM");
    process.ended().assert(9, &["shutdown.timeout 1s", "which the next start repeats"]);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let app = Application::new("second-signal", &[]);
    let mut process = hanging(&app, &["--set", "shutdown.timeout=1h"]);
    process.signal("TERM");
    process.wait_for_words("a second signal ends the process at once");
    process.signal("TERM");
    process.ended().assert(128 + 15, &["ended without a drain"]);
}

#[test]
fn what_the_brokers_refuse_ends_with_8() {
    let app = Application::new("refused", &[]);
    // More replicas than there are brokers.
    let ended = app.start("fail", &["--set", "kafka.replication-factor=77"]).ended();
    ended.assert(8, &[&app.words(), "eplication"]);
}

#[test]
fn a_position_that_is_out_of_range_ends_with_4_and_nothing_is_skipped() {
    let app = Application::new("out-of-range", &[]);
    app.write_lines(&["one two"]);
    let mut process = app.start("fail", &[]);
    app.wait_for_counts(&mut process, 2);
    process.signal("TERM");
    process.ended().assert(0, &["drained"]);
    app.write_lines(&["three"]);
    app.delete_input();
    let words = format!("position of {}-0 is out of range", app.input);
    app.start("fail", &[]).ended().assert(4, &[&words, "nothing is skipped", "tidemill reset"]);
}
