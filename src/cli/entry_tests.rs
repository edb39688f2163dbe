//! Command lines from arguments to output and exit code, on a cluster in memory.

use std::{fs, path::Path};

use super::*;
use crate::cli::fake_cluster::FakeCluster;

/// What a command line gave: exit code, and output or error.
fn shell(cluster: &FakeCluster, line: &str) -> (u8, String) {
    let arguments = line.split(' ').map(OsString::from);
    let catalog = Catalog::Shipped(topologies::ALL.to_vec());
    let mut out = Vec::new();
    match execute(arguments, &catalog, Arc::new(cluster.clone()), Vec::new(), &mut out) {
        Ok(exit) => (exit.code(), String::from_utf8(out).unwrap()),
        Err(error) => (Exit::from(error.kind()).code(), error.to_string()),
    }
}

fn help(command: &str) -> String {
    let (code, text) = shell(&FakeCluster::default(), &format!("tidemill {command} --help"));
    assert_eq!(code, 0);
    text
}

#[test]
fn help_and_version_are_as_agreed() {
    insta::with_settings!({ snapshot_path => "snapshots", omit_expression => true }, {
        let commands = ["run", "dev", "validate", "describe", "topics create", "reset"];
        let pages: Vec<String> = commands.iter().map(|c| format!("$ tidemill {c} --help\n{}", help(c))).collect();
        let (_, root) = shell(&FakeCluster::default(), "tidemill --help");
        insta::assert_snapshot!("help", format!("$ tidemill --help\n{root}\n{}", pages.join("\n")));
    });
    let version = shell(&FakeCluster::default(), "tidemill --version");
    assert_eq!(version, (0, format!("tidemill {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_wrong_command_line_or_setting_exits_2_with_the_reason() {
    let cluster = FakeCluster::default();
    for line in ["tidemill", "tidemill fly", "tidemill run --warp", "tidemill dev word-count"] {
        assert_eq!(shell(&cluster, line).0, 2, "{line}");
    }
    let refused = [
        ("tidemill validate wordcount", "did you mean word-count?"),
        ("tidemill describe", "which topology? this binary has ledger, word-count"),
        (
            "tidemill validate --set epoch.intervall=1s",
            "unknown setting epoch.intervall in flag --set epoch.intervall; did you mean \
             epoch.interval?",
        ),
        ("tidemill validate --set nonsense", "flag --set nonsense: expected key=value"),
        ("tidemill validate --config /nowhere.toml", "cannot read settings file /nowhere.toml"),
        ("tidemill validate --application-id a.b", "flag --application-id: name \"a.b\""),
        (
            "tidemill run ledger word-count --application-id one",
            "two topologies would run as application one",
        ),
    ];
    for (line, reason) in refused {
        let (code, text) = shell(&cluster, line);
        assert_eq!(code, 2, "{line}: {text}");
        assert!(text.contains(reason), "{line}: {text}");
    }
}

#[test]
fn the_shipped_topologies_are_valid_and_can_be_described() {
    let cluster = FakeCluster::default();
    let (code, text) = shell(&cluster, "tidemill validate");
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.lines().count(), topologies::ALL.len(), "{text}");
    assert!(text.contains("topology word-count is valid: 2 subtopologies, 1 stores"), "{text}");

    let (_, text) = shell(&cluster, "tidemill describe word-count --application-id wc");
    assert!(text.contains("topic wc-words-repartition"), "{text}");
    let (_, json) = shell(&cluster, "tidemill describe word-count --format json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.pointer("/topology"), Some(&"word-count".into()));
    let (_, dot) = shell(&cluster, "tidemill describe word-count --format dot");
    assert!(dot.starts_with("digraph \"word-count\" {"), "{dot}");
}

#[test]
fn topics_create_makes_what_is_missing_and_finds_it_there_the_second_time() {
    let cluster = FakeCluster::with(&[("lines", 6)]);
    let dry = shell(&cluster, "tidemill topics create word-count --partitions 6 --dry-run");
    assert_eq!(dry.0, 0, "{}", dry.1);
    let topics: Vec<&str> = dry.1.lines().filter_map(|l| l.strip_prefix("would create ")).collect();
    assert_eq!(topics.len(), 3, "{}", dry.1);
    assert!(dry.1.contains("exists lines (6 partitions)"), "{}", dry.1);
    assert!(dry.1.contains(
        "would create word-count-words-repartition (6 partitions) cleanup.policy=delete"
    ));
    assert_eq!(cluster.topic_names(), ["lines"], "a dry run creates nothing");

    let (code, text) = shell(&cluster, "tidemill topics create word-count --partitions 6");
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("created ").count(), 3, "{text}");
    assert_eq!(cluster.topic_names().len(), 4);

    let (code, text) = shell(&cluster, "tidemill topics create word-count");
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("created ") && text.matches("exists ").count() == 4, "{text}");
}

#[test]
fn a_dry_run_without_partition_counts_says_what_it_cannot_know() {
    let cluster = FakeCluster::with(&[]);
    let (code, text) = shell(&cluster, "tidemill topics create word-count --dry-run");
    assert_eq!(code, 0);
    assert!(text.contains("would create lines (the brokers' default partitions)"), "{text}");
    assert!(text.ends_with("give --partitions to see them\n"), "{text}");
}

#[test]
fn a_topic_that_is_not_what_it_must_be_exits_4_and_names_the_remedy() {
    let cluster = FakeCluster::with(&[("lines", 6), ("word-counts", 6)]);
    assert_eq!(shell(&cluster, "tidemill topics create word-count").0, 0);
    let changelog: crate::record::TopicName = "word-count-words-changelog".into();
    let names = cluster.topic_names();
    let changelog =
        names.iter().find(|n| n.ends_with("-changelog")).map_or(changelog, |n| n.as_str().into());
    let mut content = cluster.content();
    let topic = content.topics.get_mut(&changelog).unwrap();
    topic.partitions = 5;
    topic.config.insert("cleanup.policy".to_owned(), "delete".to_owned());
    drop(content);
    let (code, text) = shell(&cluster, "tidemill topics create word-count");
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("it has 5 partitions and needs 6"), "{text}");
    assert!(text.contains("cleanup.policy") && text.contains("kafka-configs.sh"), "{text}");
}

#[test]
fn without_a_broker_a_command_exits_3_and_names_the_address() {
    let cluster = FakeCluster::with(&[]);
    cluster.content().silent = usize::MAX;
    for line in ["tidemill topics create word-count", "tidemill reset word-count"] {
        let (code, text) = shell(&cluster, line);
        assert_eq!(code, 3, "{line}: {text}");
        assert_eq!(text, "no broker answers at broker-7:9092: connection refused");
    }
}

/// A cluster and a state directory with all that an application leaves behind.
fn used(state: &Path) -> FakeCluster {
    let cluster = FakeCluster::with(&[("lines", 2), ("word-counts", 2)]);
    assert_eq!(shell(&cluster, "tidemill topics create word-count").0, 0);
    cluster.content().groups.insert("word-count".to_owned(), vec![]);
    crate::state::StateDirectory::open(state, "word-count", "instance").unwrap();
    cluster
}

#[test]
fn reset_deletes_internal_topics_offsets_and_local_state_only_when_told_to() {
    let state = tempfile::tempdir().unwrap();
    let cluster = used(state.path());
    let line = format!("tidemill reset word-count --state-dir {}", state.path().display());

    let (code, dry) = shell(&cluster, &format!("{line} --dry-run"));
    assert_eq!(code, 0, "{dry}");
    assert_eq!(dry.matches("would delete topic word-count-").count(), 2, "{dry}");
    assert!(dry.contains("would delete group word-count with its offsets"), "{dry}");
    assert!(dry.contains("would delete directory "), "{dry}");

    let (code, text) = shell(&cluster, &line);
    assert_eq!((code, text.as_str()), (2, "nothing is deleted without --yes"));
    assert_eq!(cluster.topic_names().len(), 4);

    let (code, text) = shell(&cluster, &format!("{line} --yes"));
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("application word-count is reset\n"), "{text}");
    assert_eq!(cluster.topic_names(), ["lines", "word-counts"]);
    assert!(cluster.content().groups.is_empty());
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);

    let (code, text) = shell(&cluster, &format!("{line} --yes"));
    assert_eq!((code, text.as_str()), (0, "application word-count: nothing to reset\n"));
}

#[test]
fn reset_refuses_while_the_application_runs() {
    let state = tempfile::tempdir().unwrap();
    let cluster = used(state.path());
    let line = format!("tidemill reset word-count --yes --state-dir {}", state.path().display());

    cluster.content().groups.insert("word-count".to_owned(), vec!["pod-0.0".to_owned()]);
    let (code, text) = shell(&cluster, &line);
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("its group has the members pod-0.0; stop them first"), "{text}");

    cluster.content().groups.insert("word-count".to_owned(), vec![]);
    let lock = crate::state::StateDirectory::open(state.path(), "word-count", "x").unwrap();
    let (code, text) = shell(&cluster, &line);
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    assert_eq!(cluster.topic_names().len(), 4, "nothing is deleted");
    drop(lock);
    assert_eq!(shell(&cluster, &line).0, 0);
}

#[test]
fn dev_reads_and_writes_json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.jsonl");
    fs::write(&input, "{\"topic\":\"lines\",\"key\":null,\"value\":\"to be\"}\n").unwrap();
    let line = format!("tidemill dev word-count --input {}", input.display());
    let (code, text) = shell(&FakeCluster::default(), &line);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text, "{\"topic\":\"echo\",\"key\":null,\"value\":\"to be\"}\n");
    let (code, text) = shell(&FakeCluster::default(), "tidemill dev word-count --input /nowhere");
    assert_eq!(code, 2);
    assert!(text.starts_with("cannot read /nowhere: "), "{text}");
}
