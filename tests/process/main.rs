//! The real binary as a process, where no broker is needed: what the shell sees of it.

// A test may stop at the first surprise, and asks the clock for its deadlines.
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

mod running;

use std::{fs, net::TcpListener, path::Path};

use running::{Running, get};

const BINARY: &str = env!("CARGO_BIN_EXE_tidemill");

/// A cluster that takes connections and never says a word, so that a process waits for it.
fn silent_broker() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// `run word-count` with its state in `directory`.
fn run(directory: &Path, bootstrap: &str, more: &[&str]) -> Running {
    let mut arguments = vec!["run", "word-count", "--state-dir", "state", "--bootstrap-servers"];
    arguments.push(bootstrap);
    arguments.extend(more);
    if !more.contains(&"--http") {
        arguments.extend(["--http", "127.0.0.1:0"]);
    }
    Running::start(BINARY, directory, &arguments, &[])
}

#[test]
fn a_twin_on_one_state_directory_ends_with_7_and_names_the_other_process() {
    let directory = tempfile::tempdir().unwrap();
    let (_broker, bootstrap) = silent_broker();
    let mut first = run(directory.path(), &bootstrap, &[]);
    // The first serves its port while it waits for a broker.
    let http = first.http();
    // The second would have the same port too: it is told of the directory, not of the port.
    let twin = run(directory.path(), &bootstrap, &["--http", &http]).ended();
    twin.assert(7, &["in use by another process", &format!("pid {}", first.pid())]);
    assert!(!twin.log.contains("http="), "the twin bound its port:\n{}", twin.log);
    assert!(get(&http, "/healthz").unwrap().contains("200 OK"), "the first one goes on");
    drop(first);
    // The lock ends with its process, also by SIGKILL.
    run(directory.path(), &bootstrap, &[]).http();
}

#[test]
fn a_state_directory_of_a_newer_format_ends_with_5_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state/word-count");
    fs::create_dir_all(&state).unwrap();
    let newer = r#"{"format":99,"application":"word-count","more":true}"#;
    fs::write(state.join("FORMAT"), newer).unwrap();
    let ended = run(directory.path(), "127.0.0.1:1", &[]).ended();
    ended.assert(5, &["state/word-count", "format 99", "use a newer one"]);
    assert_eq!(fs::read_to_string(state.join("FORMAT")).unwrap(), newer);
}

#[test]
fn a_directory_that_no_tidemill_made_ends_with_5_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state/word-count");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("thesis.txt"), "dear").unwrap();
    let ended = run(directory.path(), "127.0.0.1:1", &[]).ended();
    ended.assert(5, &["thesis.txt", "give another directory"]);
    assert_eq!(fs::read_to_string(state.join("thesis.txt")).unwrap(), "dear");
}

#[test]
fn nobody_at_the_address_ends_with_3_when_failing_fast() {
    let directory = tempfile::tempdir().unwrap();
    let ended = run(directory.path(), "127.0.0.1:1", &["--fail-fast"]).ended();
    ended.assert(3, &["no broker answers at 127.0.0.1:1"]);
}

#[test]
fn a_misspelt_setting_ends_with_2_and_a_suggestion() {
    let directory = tempfile::tempdir().unwrap();
    let ended = run(directory.path(), "127.0.0.1:1", &["--set", "epoch.intervall=1s"]).ended();
    ended.assert(2, &["epoch.intervall", "epoch.interval"]);
}

#[test]
fn the_first_signal_ends_a_wait_for_brokers_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = run(directory.path(), "127.0.0.1:1", &[]);
    process.wait_for_words("trying again");
    process.signal("TERM");
    process.ended().assert(0, &["draining"]);
}
