//! Assigning and unassigning in quick succession, against the broker that librdkafka can play.

use std::{os::unix::process::ExitStatusExt, process::Command, sync::Arc, time::Duration};

use super::{super::config::Config, *};
use crate::{
    record::{Offset, TopicPartition},
    runtime::supervisor::SystemClock,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// With many partitions librdkafka's main thread is busy for a while with stopping them.
const TOPICS: usize = 12;
/// As many as a topic gets that the played broker creates.
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 100;

struct Fixture {
    consumer: Consumer,
    partitions: Vec<TopicPartition>,
    wake: Arc<Wake>,
}

impl Fixture {
    /// A consumer that reads all partitions, and whose broker is known to have them.
    fn new() -> Self {
        let properties = [
            ("test.mock.num.brokers", "1"),
            ("allow.auto.create.topics", "true"),
            ("group.id", "g"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
        ];
        let wake = Arc::new(Wake::new().unwrap());
        let consumer = Consumer::new(Config::with(properties).unwrap(), &wake).unwrap();
        let partitions = (0..TOPICS).flat_map(|topic| {
            (0..PARTITIONS).map(move |number| TopicPartition::new(format!("t{topic}"), number))
        });
        let mut fixture = Self { consumer, partitions: partitions.collect(), wake };
        fixture.assign();
        fixture.until("all partitions are known", || {
            let list = fixture.list();
            fixture.consumer.seek(&list).unwrap();
            list.errors().is_empty()
        });
        fixture
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let clock = SystemClock::start();
        let deadline = clock.now().mono + PATIENCE;
        while !done() {
            assert!(clock.now().mono < deadline, "not within {PATIENCE:?}: {what}");
            self.wake.wait(Duration::from_millis(5));
        }
    }

    fn list(&self) -> PartitionList {
        let mut list = PartitionList::new(self.partitions.len());
        for TopicPartition { topic, partition } in &self.partitions {
            list.add(topic, *partition, Some(Offset(0)), None).unwrap();
        }
        list
    }

    fn assign(&mut self) {
        self.consumer.incremental_assign(&self.list()).unwrap();
        self.drain();
    }

    /// How many do not run, of all that are assigned, paused and resumed.
    fn not_started_after_an_assign(&mut self) -> usize {
        self.consumer.incremental_assign(&self.list()).unwrap();
        self.consumer.pause(&self.list()).unwrap();
        self.consumer.resume(&self.list()).unwrap();
        // Whatever was put off has come to pass afterwards.
        self.consumer.ask_main_thread();
        self.consumer.ask_main_thread();
        let list = self.list();
        self.consumer.seek(&list).unwrap();
        self.drain();
        list.errors().len()
    }

    fn drain(&mut self) {
        // What starting and stopping leaves in the queue makes everything slow if it stays there.
        let mut batch = self.consumer.batch();
        self.consumer.fetch(10_000, &mut batch, &mut vec![], |_, _| None, |_| ());
    }
}

#[test]
fn partitions_start_at_once_when_they_were_just_unassigned() {
    let mut fixture = Fixture::new();
    for _ in 0..ROUNDS {
        fixture.consumer.incremental_unassign(&fixture.list()).unwrap();
        assert_eq!(fixture.not_started_after_an_assign(), 0);
    }
}

/// The control of the test above.
#[test]
fn a_start_is_overtaken_and_lost_where_nobody_waits_for_the_stop() {
    let mut fixture = Fixture::new();
    // Mostly within a second, but it is a race.
    let clock = SystemClock::start();
    while clock.now().mono < PATIENCE * 4 {
        fixture.consumer.start_unassign(&fixture.list()).unwrap();
        if fixture.not_started_after_an_assign() > 0 {
            return;
        }
    }
    panic!("no start was lost: the wait has become needless");
}

#[test]
fn an_unassign_returns_when_the_fetchers_have_stopped() {
    let mut fixture = Fixture::new();
    for _ in 0..ROUNDS {
        fixture.consumer.incremental_unassign(&fixture.list()).unwrap();
        // A fetcher that runs would take it, one that stops would say so.
        let list = fixture.list();
        fixture.consumer.seek(&list).unwrap();
        let errors = list.errors();
        assert_eq!(errors.len(), fixture.partitions.len());
        assert!(errors.iter().all(|(_, error)| *error == STATE), "{errors:?}");
        fixture.assign();
    }
}

/// `RD_KAFKA_RESP_ERR__STATE`: no fetcher runs.
const STATE: i32 = -172;

/// Why this layer has no call that unassigns and assigns in one.
#[test]
fn librdkafka_aborts_when_whole_lists_are_assigned_in_quick_succession() {
    let this = std::env::current_exe().unwrap();
    let path = module_path!().split_once("::").unwrap().1;
    let child = format!("{path}::whole_lists_in_quick_succession");
    let output = Command::new(this).args(["--exact", &child, "--ignored"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    assert!(words.contains("rktp->rktp_started"), "{words}");
}

#[test]
#[ignore = "ends its process: run by the test above, in a child"]
fn whole_lists_in_quick_succession() {
    let mut fixture = Fixture::new();
    for _ in 0..ROUNDS * 100 {
        for _ in 0..5 {
            let list = fixture.list();
            // SAFETY: handle and list are alive; the list is copied.
            let result = unsafe { sys::rd_kafka_assign(fixture.consumer.client.raw(), list.raw()) };
            Error::check(result).unwrap();
        }
        fixture.drain();
    }
}
