//! Precedence, unknown keys, bad values, secrets.

use std::time::Duration;

use super::*;
use crate::runtime::Guarantee;

fn sources(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> (Sources, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    fs::write(&path, file).unwrap();
    let pair = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let flag = |(key, value): &(&str, &str)| {
        (format!("--set {key}"), (*key).to_owned(), (*value).to_owned())
    };
    let sources = Sources {
        file: Some(path),
        variables: variables.iter().map(pair).collect(),
        flags: flags.iter().map(flag).collect(),
    };
    (sources, dir)
}

fn ok(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    let (sources, _dir) = sources(file, variables, flags);
    load(&sources).unwrap()
}

fn problems(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    let (sources, _dir) = sources(file, variables, flags);
    let error = load(&sources).unwrap_err();
    let dir = format!("file {}", sources.file.unwrap().display());
    error.to_string().replace(&dir, "file F").lines().map(str::to_owned).collect()
}

#[test]
fn without_sources_the_default_file_says_what_the_defaults_of_the_types_are() {
    let figment = Figment::from(Toml::string(DEFAULTS));
    assert_eq!(figment.extract::<Settings>().unwrap(), Settings::default());
    assert_eq!(ok("", &[], &[]), Settings::default());
}

#[test]
fn sizes_that_are_not_set_follow_the_memory_limit_and_all_of_them_fit() {
    let settings = ok("[memory]\nlimit = \"1GiB\"\n", &[], &[]);
    let plan = settings.memory_plan(1).unwrap();
    let state = settings.state.runtime(&plan);
    assert_eq!(state.cache_bytes.as_u64(), plan.cache);
    assert_eq!(state.spill_bytes.as_u64(), plan.spill_bytes());
    let file = "[memory]\nlimit = \"256MiB\"\n[state]\ncache-bytes = \"1GiB\"\n";
    let [found] = &problems(file, &[], &[])[..] else { panic!("one problem") };
    assert!(found.starts_with("setting memory.limit"), "{found}");
    assert!(found.contains("state.cache-bytes makes 1024 MiB"), "{found}");
}

#[test]
fn a_flag_overrules_a_variable_overrules_the_file_overrules_the_defaults() {
    let file = "[epoch]\ninterval = \"1s\"\nmax-records = 7\nmax-bytes = \"1MiB\"\n";
    let variables = [("TIDEMILL_EPOCH__INTERVAL", "2s"), ("TIDEMILL_EPOCH__MAX_RECORDS", "8")];
    let settings = ok(file, &variables, &[("epoch.interval", "3s")]);
    assert_eq!(settings.epoch.interval, Duration::from_secs(3));
    assert_eq!(settings.epoch.max_records, 8);
    assert_eq!(settings.epoch.max_bytes, bytesize::ByteSize::mib(1));
    assert_eq!(settings.epoch.tolerated_failures, 100);
}

#[test]
fn texts_of_variables_and_flags_become_what_the_key_needs() {
    let variables = [
        ("TIDEMILL_INSTANCE_ID", "5"),
        ("TIDEMILL_STATE__ROCKSDB__OPEN_FILES_MAX", "64"),
        ("TIDEMILL_SHUTDOWN__LEAVE", "true"),
        ("TIDEMILL_EPOCH__GUARANTEE", "at-least-once"),
        ("TIDEMILL_KAFKA__REPLICATION_FACTOR", "3"),
        ("TIDEMILL_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SSL"),
        ("TIDEMILL_HTTP__BIND", "0.0.0.0:8080"),
        ("PATH", "/bin"),
        ("TIDEMILL_CONFIG", "elsewhere.toml"),
    ];
    let flags = [("epoch.pipelining", "false"), ("kafka.properties.linger.ms", "5")];
    let settings = ok("", &variables, &flags);
    assert_eq!(settings.instance_id.as_deref(), Some("5"));
    assert_eq!(settings.state.rocksdb.open_files_max, 64);
    assert_eq!(settings.shutdown.leave, Some(true));
    assert_eq!(settings.epoch.guarantee, Guarantee::AtLeastOnce);
    assert_eq!(settings.kafka.replication_factor, Some(3));
    assert!(!settings.epoch.pipelining);
    assert_eq!(settings.http.bind.port(), 8080);
    let properties = settings.kafka.reveal_properties().unwrap();
    assert_eq!(properties.get("security.protocol").map(String::as_str), Some("SSL"));
    assert_eq!(properties.get("linger.ms").map(String::as_str), Some("5"));
}

#[test]
fn unknown_keys_are_named_with_their_place_and_their_neighbour_all_at_once() {
    let found = problems(
        "theads = 2\n[epoch]\nmax_records = 5\n[nonsense]\nx = 1\n",
        &[("TIDEMILL_EPOCH__INTERVALL", "5s")],
        &[("interval", "5s")],
    );
    assert_eq!(
        found,
        [
            "unknown setting epoch.max_records in file F; did you mean epoch.max-records?",
            "unknown setting nonsense in file F",
            "unknown setting theads in file F; did you mean threads?",
            "unknown setting epoch.intervall in environment variable \
             TIDEMILL_EPOCH__INTERVALL; did you mean epoch.interval?",
            "unknown setting interval in flag --set interval; did you mean epoch.interval?",
        ]
    );
}

#[test]
fn bad_values_are_named_with_their_place_and_the_expected_form_all_at_once() {
    let found = problems(
        "epoch.interval = \"soon\"\nhttp.bind = \"here\"\nthreads.x = 1\nkafka = 3\n",
        &[("TIDEMILL_EPOCH__MAX_BYTES", "many"), ("TIDEMILL_SHUTDOWN__LEAVE", "perhaps")],
        &[("threads", "-1"), ("epoch.guarantee", "exactly-twice")],
    );
    let expected = [
        "setting kafka in file F is 3: expected a table",
        "setting threads in file F is {\"x\":1}: expected a single value, not a table",
        "setting threads in flag --set threads is \"-1\": expected a whole number such as 1",
        "setting epoch.guarantee in flag --set epoch.guarantee is \"exactly-twice\": expected \
         \"exactly-once\" or \"at-least-once\"",
        "setting epoch.interval in file F is \"soon\": expected a duration such as \"100ms\" or \
         \"10s\"",
        "setting epoch.max-bytes in environment variable TIDEMILL_EPOCH__MAX_BYTES is \"many\": \
         expected a size such as \"64MiB\"",
        "setting http.bind in file F is \"here\": expected an address such as \
         \"127.0.0.1:9464\"",
        "setting shutdown.leave in environment variable TIDEMILL_SHUTDOWN__LEAVE is \
         \"perhaps\": expected a boolean",
    ];
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    let mut expected = expected;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn settings_that_make_no_sense_together_are_refused_with_the_reason() {
    let found = problems(
        "application-id = \"a.b\"\nthreads = 0\n",
        &[("TIDEMILL_KAFKA__TRANSACTION_TIMEOUT", "1s")],
        &[
            ("epoch.interval", "20s"),
            ("kafka.heartbeat-interval", "10s"),
            ("kafka.bootstrap-servers", "localhost"),
            ("log.level", "loud"),
        ],
    );
    let all = found.join("\n");
    assert!(all.contains("setting application-id in file F: name \"a.b\""), "{all}");
    assert!(all.contains("setting threads in file F: 0 is not between 1 and 256"), "{all}");
    assert!(all.contains("TIDEMILL_KAFKA__TRANSACTION_TIMEOUT: 1s is less than twice the 20s"));
    assert!(all.contains("10s is too rare for kafka.session-timeout 15s"), "{all}");
    assert!(all.contains("\"localhost\" is no address"), "{all}");
    assert!(
        all.contains("setting log.level in flag --set log.level: \"loud\" is no level"),
        "{all}"
    );
    assert_eq!(found.len(), 6, "{all}");
}

#[test]
fn what_exactly_once_rests_on_is_refused_by_name_and_place() {
    let found = problems("", &[], &[("kafka.properties.enable.idempotence", "false")]);
    let start = "setting kafka.properties.enable.idempotence in flag --set \
                 kafka.properties.enable.idempotence: ";
    assert!(found.len() == 1 && found.concat().starts_with(start), "{found:?}");
}

#[test]
fn secrets_are_read_from_files_and_appear_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("password");
    fs::write(&secret, "hunter2\n").unwrap();
    let file = format!(
        "[kafka.properties]\nsasl.username = \"swordfish\"\n\"sasl.password\" = {{ file = {:?} }}\n",
        secret.display().to_string()
    );
    let settings = ok(&file, &[], &[]);
    let properties = settings.kafka.reveal_properties().unwrap();
    assert_eq!(properties.get("sasl.password").map(String::as_str), Some("hunter2"));
    assert_eq!(properties.get("sasl.username").map(String::as_str), Some("swordfish"));
    let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
    assert!(shown.contains("sasl.password"));
    assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
}

#[test]
fn errors_around_secrets_name_the_key_and_hide_the_value() {
    let missing = problems(
        "",
        &[("TIDEMILL_KAFKA__PROPERTIES__SASL_PASSWORD__FILE", "/nowhere/password")],
        &[],
    );
    assert_eq!(missing.len(), 1);
    let missing = missing.first().unwrap();
    assert!(missing.starts_with("setting kafka.properties.sasl.password: cannot read the secret"));
    let shape = problems("[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]\n", &[], &[]);
    assert!(shape.first().unwrap().contains("is (hidden): expected a text"), "{shape:?}");
    let syntax = problems("[kafka.properties]\n\"sasl.password\" = hunter2\n", &[], &[]);
    let syntax = syntax.join("\n");
    assert!(!syntax.contains("hunter2") && syntax.contains("line 2"), "{syntax}");
}

#[test]
fn a_named_file_must_exist_and_the_services_of_kubernetes_are_no_settings() {
    let sources =
        Sources { file: Some(PathBuf::from("/nowhere/settings.toml")), ..Sources::default() };
    let error = load(&sources).unwrap_err().to_string();
    assert!(error.starts_with("cannot read settings file /nowhere/settings.toml: "), "{error}");
    let links = [
        ("TIDEMILL_SERVICE_HOST", "10.0.0.1"),
        ("TIDEMILL_SERVICE_PORT", "9464"),
        ("TIDEMILL_SERVICE_PORT_HTTP", "9464"),
        ("TIDEMILL_PORT", "tcp://10.0.0.1:9464"),
        ("TIDEMILL_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("TIDEMILL_LEDGER_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
    ];
    assert_eq!(ok("", &links, &[]), Settings::default());
}
