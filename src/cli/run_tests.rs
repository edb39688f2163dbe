//! Reaching a cluster, getting ready, and draining, without a broker.

use std::cell::Cell;

use super::*;
use crate::{
    cli::{DevJob, DevRecord, Exit, fake_cluster::FakeCluster},
    runtime::{ApplicationAdmin, TopicsError},
    topologies,
};

fn word_count() -> Topology {
    (topologies::by_name("word-count").unwrap())().unwrap()
}

fn settings(state: &std::path::Path) -> Settings {
    let mut settings = Settings::default();
    settings.state.dir = state.to_owned();
    settings
}

/// Gets ready on `cluster`; tells how long it waited.
fn ready(
    cluster: &FakeCluster,
    settings: &Settings,
    fail_fast: bool,
) -> (Result<Option<Job>, Error>, Duration) {
    let (topology, waited) = (word_count(), Cell::new(Duration::ZERO));
    let pause = |time| waited.set(waited.get() + time);
    let stop = StopSignal::default();
    let patience = Patience { fail_fast, stop: &stop, pause: &pause };
    let memory = settings.memory_plan(1).unwrap();
    let board = board(&topology, settings, memory);
    let result = lock(&board, settings).and_then(|directory| {
        let part = Part { topology: &topology, board: &board, directory, memory };
        prepare(part, settings, cluster, &patience)
    });
    (result, waited.get())
}

fn failed<T>(result: Result<T, Error>) -> (u8, String) {
    let error = result.err().unwrap();
    (Exit::from(error.kind()).code(), error.to_string())
}

#[test]
fn a_silent_cluster_is_tried_again_with_growing_pauses_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::with(&[("lines", 4), ("word-counts", 4)]);
    cluster.content().silent = 3;
    let (job, waited) = ready(&cluster, &settings(dir.path()), false);
    let job = job.unwrap().unwrap();
    assert_eq!(waited, Duration::from_millis(500 + 1_000 + 2_000));
    assert_eq!(job.plan.application, "word-count");
    assert!(cluster.topic_names().iter().any(|t| t == "word-count-words-repartition"));
}

#[test]
fn wrong_credentials_end_a_start_at_once_with_2_since_waiting_does_not_mend_them() {
    let stop = StopSignal::default();
    let patience = Patience { fail_fast: false, stop: &stop, pause: &|_| panic!("waited") };
    let result = until_reached(&patience, || -> Result<(), _> {
        let (address, reason) = ("broker-7:9093".to_owned(), "invalid password".to_owned());
        Err(TopicsError::Credentials { address, reason })
    });
    let (code, message) = failed(result);
    assert_eq!(code, 2);
    assert!(message.contains("broker-7:9093") && message.contains("invalid password"), "{message}");
    assert!(message.contains("sasl.* and ssl.* in the setting kafka.properties"), "{message}");
}

#[test]
fn a_silent_cluster_ends_with_3_when_failing_fast() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::with(&[]);
    cluster.content().silent = 1;
    let (result, waited) = ready(&cluster, &settings(dir.path()), true);
    let message = "no broker answers at broker-7:9092: connection refused".to_owned();
    assert_eq!((failed(result), waited), ((3, message), Duration::ZERO));
}

#[test]
fn a_stop_while_no_broker_answers_ends_the_wait() {
    let cluster = FakeCluster::with(&[]);
    cluster.content().silent = usize::MAX;
    let stop = StopSignal::default();
    let pause = |_| stop.stop();
    let patience = Patience { fail_fast: false, stop: &stop, pause: &pause };
    let mut admin = cluster.admin(&Settings::default()).unwrap();
    assert_eq!(until_reached(&patience, || admin.brokers()).unwrap(), None);
}

#[test]
fn a_missing_topic_ends_with_4_and_the_command_that_creates_it() {
    let dir = tempfile::tempdir().unwrap();
    let (result, _) = ready(&FakeCluster::with(&[("lines", 4)]), &settings(dir.path()), false);
    let (code, message) = failed(result);
    assert_eq!(code, 4);
    assert!(message.starts_with("topic word-counts does not exist"), "{message}");
    assert!(message.contains("`tidemill topics create word-count`"), "{message}");
}

#[test]
fn a_state_directory_in_use_ends_with_7() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::with(&[("lines", 4), ("word-counts", 4)]);
    let (first, _) = ready(&cluster, &settings(dir.path()), false);
    let first = first.unwrap().unwrap();
    let (code, message) = failed(ready(&cluster, &settings(dir.path()), false).0);
    assert_eq!(code, 7);
    assert!(message.contains("in use by another process (pid "), "{message}");
    drop(first);
    assert!(ready(&cluster, &settings(dir.path()), false).0.is_ok());
}

#[test]
fn the_instance_is_the_setting_or_the_same_random_name_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::with(&[("lines", 4), ("word-counts", 4)]);
    let instance = |settings: &Settings| {
        ready(&cluster, settings, false).0.unwrap().unwrap().plan.instance.clone()
    };
    let (first, second) = (instance(&settings(dir.path())), instance(&settings(dir.path())));
    assert_eq!(first, second);
    assert!(!first.contains('.') && first.len() > 8, "{first}");
    let named = Settings { instance_id: Some("pod-0".to_owned()), ..settings(dir.path()) };
    assert_eq!(instance(&named), "pod-0");
}

/// Runs jobs by what a function says.
struct Scripted(fn(Job) -> Result<(), Error>);

impl Engine for Scripted {
    fn admin(&self, _settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
        Err(Error::new(ErrorKind::Other, "no cluster"))
    }

    fn run(&self, job: Job) -> Result<(), Error> {
        (self.0)(job)
    }

    fn dev(&self, _job: DevJob, _emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error> {
        Ok(())
    }
}

/// Supervises two applications, `one` and `two`, that run by `script`.
fn supervised(script: fn(Job) -> Result<(), Error>, drain_within: Duration) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    let cluster = FakeCluster::with(&[("lines", 4), ("word-counts", 4)]);
    let stop = StopSignal::default();
    let job = |name: &str| {
        let settings = Settings { application_id: Some(name.to_owned()), ..settings(dir.path()) };
        let mut job = ready(&cluster, &settings, false).0.unwrap().unwrap();
        job.stop = stop.clone();
        job
    };
    let jobs = vec![job("one"), job("two")];
    let engine: Arc<dyn Engine> = Arc::new(Scripted(script));
    supervise(jobs, &engine, &stop, drain_within)
}

fn wait_for_stop(job: &Job) {
    while !job.stop.is_requested() {
        thread::yield_now();
    }
}

#[test]
fn the_first_failure_drains_the_others_and_is_the_result() {
    let script = |job: Job| {
        if job.plan.application == "one" {
            return Err(Error::new(ErrorKind::Record, "poison"));
        }
        wait_for_stop(&job);
        Ok(())
    };
    assert_eq!(failed(supervised(script, Duration::from_mins(1))), (6, "poison".to_owned()));
}

#[test]
fn all_drained_is_success() {
    let script = |job: Job| {
        if job.plan.application == "two" {
            wait_for_stop(&job);
        }
        Ok(())
    };
    supervised(script, Duration::from_mins(1)).unwrap();
}

#[test]
fn a_drain_that_takes_too_long_is_given_up_with_9() {
    let script = |job: Job| {
        job.stop.stop();
        // For as long as the test's process lives.
        loop {
            thread::park();
        }
    };
    let (code, message) = failed(supervised(script, Duration::from_millis(200)));
    assert_eq!(code, 9);
    assert!(message.contains("shutdown.timeout 200ms"), "{message}");
}

#[test]
fn a_panic_is_a_failure_and_not_a_drain() {
    let script = |job: Job| -> Result<(), Error> {
        let name = job.plan.application.clone();
        drop(job);
        panic!("bug in {name}")
    };
    assert_eq!(failed(supervised(script, Duration::from_mins(1))).0, 1);
}
