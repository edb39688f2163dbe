//! `tidemill reset` on a real cluster, by the shipped binary.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use tidemill::{
    kafka::KafkaTopicAdmin,
    record::TopicName,
    runtime::{ApplicationAdmin, Event, Lane, Log, Request, TopicAdmin, TopicSpec},
};

use crate::support::{Client, PATIENCE, broker, settings, unique};

fn tidemill(application: &str, state: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(words.split_whitespace()).args(["--bootstrap-servers", &broker()]);
    command.args(["--application-id", application]).arg("--state-dir").arg(state);
    command.args(["--http", "127.0.0.1:0", "--set", "kafka.session-timeout=6s"]);
    command
}

fn ends(application: &str, state: &Path, words: &str) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = tidemill(application, state, words).output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.code(), text.concat())
}

/// A running instance; killed if the test fails before it is stopped.
struct Instance(Child);

impl Instance {
    fn stop(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
    }
}

/// The position that the group has committed on `lines`, partition 0.
fn position(client: &mut Client, lines: &TopicName) -> Option<i64> {
    let partitions = vec![crate::support::at(lines, 0)];
    client.log.submit(Request::CommittedOffsets { id: 1, partitions });
    client.until("committed offsets", |event| match event {
        Event::CommittedOffsets { id: 1, result } => {
            Some(result.ok().and_then(|found| found[0].offset).map(|offset| offset.0))
        }
        _ => None,
    })
}

#[test]
fn a_reset_deletes_what_an_application_has_once_nobody_runs_it() {
    let (app, state) = (unique("reset"), tempfile::tempdir().unwrap());
    let mut admin = KafkaTopicAdmin::new(&settings()).unwrap();
    let external: [TopicName; 2] = ["lines".into(), "word-counts".into()];
    let spec = |name: &TopicName| TopicSpec {
        name: name.clone(),
        partitions: 2,
        replication: -1,
        config: std::collections::BTreeMap::new(),
    };
    admin.create(&external.each_ref().map(spec)).unwrap();
    let internal: [TopicName; 2] =
        [format!("{app}-words-repartition").into(), format!("{app}-counts-changelog").into()];
    let directory = state.path().join(&app);

    let running = tidemill(&app, state.path(), "run word-count").stderr(Stdio::null()).spawn();
    let running = Instance(running.unwrap());
    let mut client = Client::new(&app, "watcher");
    client.open(Lane::A);
    client.begin(Lane::A);
    client.produce(Lane::A, &external[0], 0, &["one two two"]);
    client.flush(Lane::A).unwrap();
    assert_eq!(client.commit(Lane::A), Ok(()));
    until("a line is counted", || position(&mut client, &external[0]).is_some_and(|at| at > 0));

    // While it runs nothing goes, whatever is asked for.
    for words in ["reset word-count --dry-run", "reset word-count --yes"] {
        let (code, text) = ends(&app, state.path(), words);
        assert_eq!(code, Some(7), "{words}: {text}");
        assert!(text.contains(&format!("application {app} runs")), "{text}");
    }
    assert_eq!(running.stop(), Some(0));

    let (code, text) = ends(&app, state.path(), "reset word-count --dry-run");
    assert_eq!(code, Some(0), "{text}");
    for what in [
        format!("would delete topic {}", internal[0]),
        format!("would delete topic {}", internal[1]),
        format!("would delete group {app} with its offsets"),
        format!("would delete directory {}", directory.display()),
    ] {
        assert!(text.contains(&what), "{what}: {text}");
    }
    assert_eq!(ends(&app, state.path(), "reset word-count").0, Some(2), "not without --yes");
    assert!(admin.describe(&internal).unwrap().iter().all(Option::is_some));
    assert!(position(&mut client, &external[0]).is_some_and(|at| at > 0));
    assert!(directory.exists());

    let (code, text) = ends(&app, state.path(), "reset word-count --yes");
    assert_eq!(code, Some(0), "{text}");
    until("the internal topics are gone", || {
        admin.describe(&internal).unwrap().iter().all(Option::is_none)
    });
    assert!(admin.describe(&external).unwrap().iter().all(Option::is_some), "a user's topic");
    assert_eq!(admin.group_members(&app).unwrap(), None);
    assert_eq!(position(&mut client, &external[0]), None);
    assert!(!directory.exists());
    let (code, text) = ends(&app, state.path(), "reset word-count --yes");
    assert_eq!(
        (code, text.as_str()),
        (Some(0), &*format!("application {app}: nothing to reset\n"))
    );
}
