//! Stateless operators, each by table: records in, records out.

use crate::{
    dsl::{ErrorPolicy, Source, Stream, Topology, TopologyBuilder, test_driver::ChainDriver},
    formats::{I32, Nullable, Unit, Utf8},
    operators::OperatorError,
    record::Header,
};

/// A topology of one text stream, built by `build`.
fn topology(build: impl FnOnce(Stream<String, String>)) -> Topology {
    let builder = TopologyBuilder::new("t");
    build(builder.stream(Source::new("in", Utf8, Utf8)));
    builder.build().unwrap()
}

/// Sends `key=value` records through and compares what comes out, as `key=value@offset`.
fn check(build: impl FnOnce(Stream<String, String>), input: &[&str], expect: &[&str]) {
    let mut driver = ChainDriver::only(&topology(build));
    for record in input {
        let (key, value) = record.split_once('=').unwrap();
        driver.text(key, value).unwrap();
    }
    driver.seal().unwrap();
    assert_eq!(driver.take_text(), expect);
    assert!(driver.skipped.is_empty());
}

#[test]
fn map_changes_key_and_value() {
    check(|s| s.map(|k, v| (v, k)).to("out", Utf8, Utf8), &["a=1", "b=2"], &["1=a@0", "2=b@1"]);
}

#[test]
fn map_values_keeps_the_key() {
    check(|s| s.map_values(|k, v| format!("{k}{v}")).to("out", Utf8, Utf8), &["a=1"], &["a=a1@0"]);
}

#[test]
fn filter_keeps_what_the_predicate_accepts() {
    check(|s| s.filter(|_, v| v != "1").to("out", Utf8, Utf8), &["a=1", "b=2"], &["b=2@1"]);
}

#[test]
fn flat_map_gives_any_number_in_order() {
    let twice = |k: String, v: String| {
        v.chars().map(move |c| (c.to_string(), k.clone())).collect::<Vec<_>>()
    };
    check(
        |s| s.flat_map(twice).to("out", Utf8, Utf8),
        &["a=xy", "b=", "c=z"],
        &["x=a@0", "y=a@0", "z=c@2"],
    );
}

#[test]
fn flat_map_values_gives_any_number_under_one_key() {
    check(
        |s| {
            s.flat_map_values(|_, v| v.chars().map(String::from).collect::<Vec<_>>())
                .to("out", Utf8, Utf8);
        },
        &["a=xy", "b="],
        &["a=x@0", "a=y@0"],
    );
}

#[test]
fn key_by_changes_the_key_alone() {
    check(|s| s.key_by(|k, v| format!("{k}{v}")).to("out", Utf8, Utf8), &["a=1"], &["a1=1@0"]);
}

#[test]
fn peek_sees_everything_and_changes_nothing() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    check(
        |s| s.peek(move |k, v| sees.lock().unwrap().push(format!("{k}{v}"))).to("out", Utf8, Utf8),
        &["a=1", "b=2"],
        &["a=1@0", "b=2@1"],
    );
    assert_eq!(*seen.lock().unwrap(), ["a1", "b2"]);
}

#[test]
fn branch_sends_each_record_one_way() {
    check(
        |s| {
            let (ones, rest) = s.branch(|_, v| v == "1");
            rest.map_values(|_, v| format!("rest {v}")).to("out", Utf8, Utf8);
            ones.map_values(|_, v| format!("one {v}")).to("out", Utf8, Utf8);
        },
        &["a=1", "b=2"],
        &["a=one 1@0", "b=rest 2@1"],
    );
}

#[test]
fn a_branch_may_go_nowhere() {
    check(|s| s.branch(|_, v| v == "1").1.to("out", Utf8, Utf8), &["a=1", "b=2"], &["b=2@1"]);
}

#[test]
fn merge_keeps_the_order_within_each_stream() {
    check(
        |s| {
            let (ones, rest) = s.branch(|_, v| v == "1");
            let ones = ones.map_values(|_, v| format!("one {v}"));
            ones.merge(&rest).to("out", Utf8, Utf8);
        },
        &["a=1", "b=2", "c=1"],
        &["a=one 1@0", "b=2@1", "c=one 1@2"],
    );
}

#[test]
fn a_stream_used_twice_sends_every_record_both_ways_in_the_order_of_declaration() {
    check(
        |s| {
            s.map_values(|_, v| format!("first {v}")).to("one", Utf8, Utf8);
            s.map_values(|_, v| format!("second {v}")).to("two", Utf8, Utf8);
            s.merge(&s).to("three", Utf8, Utf8);
        },
        &["a=1"],
        &["a=first 1@0", "a=second 1@0", "a=1@0", "a=1@0"],
    );
}

#[test]
fn each_sink_has_its_own_index_and_headers_pass_through() {
    let topology = topology(|s| {
        let (ones, rest) = s.branch(|_, v| v == "1");
        ones.to("ones", Utf8, Utf8);
        rest.flat_map(|k, v| [(k, v)]).to("rest", Utf8, Utf8);
    });
    let mut driver = ChainDriver::only(&topology);
    let headers = [Header { name: "trace".into(), value: Some(b"7".to_vec()) }];
    driver.record(0, Some(b"a"), Some(b"1"), 5, &headers).unwrap();
    driver.record(0, Some(b"b"), Some(b"2"), 6, &headers).unwrap();
    let sent = driver.take();
    let part = &topology.subtopologies[0];
    let names: Vec<_> = sent.iter().map(|sent| part.sinks[sent.sink].name.as_str()).collect();
    assert_eq!(names, ["ones", "rest"]);
    assert!(sent.iter().all(|sent| sent.headers == headers));
    assert_eq!(sent[0].timestamp, 5);
}

#[test]
fn null_is_what_the_codec_says_it_is() {
    let builder = TopologyBuilder::new("t");
    builder
        .stream(Source::new("in", Unit, Nullable(Utf8)))
        .map_values(|(), v| v.filter(|v| v != "gone"))
        .to("out", Unit, Nullable(Utf8));
    let mut driver = ChainDriver::only(&builder.build().unwrap());
    driver.record(0, Some(b"ignored"), Some(b"kept"), 0, &[]).unwrap();
    driver.record(0, None, Some(b"gone"), 1, &[]).unwrap();
    driver.record(0, None, None, 2, &[]).unwrap();
    assert_eq!(driver.take_text(), ["~=kept@0", "~=~@1", "~=~@2"]);
}

fn refused(result: Result<(), OperatorError>) -> (String, String) {
    match result {
        Err(OperatorError::Element { operator, reason }) => (operator, reason),
        other => panic!("not refused: {other:?}"),
    }
}

fn parse(_: &String, value: String) -> Result<i32, std::num::ParseIntError> {
    value.parse()
}

#[test]
fn under_fail_the_operator_and_its_reason_are_named() {
    let built = topology(|s| s.try_map_values(parse).to("out", Utf8, I32));
    let mut driver = ChainDriver::only(&built);
    driver.text("a", "1").unwrap();
    let (operator, reason) = refused(driver.text("a", "x"));
    assert_eq!(
        (operator.as_str(), reason.as_str()),
        ("map-values#1", "invalid digit found in string")
    );
    assert_eq!(driver.take().len(), 1);
    assert!(driver.skipped.is_empty());
}

#[test]
fn under_skip_the_element_is_noted_with_its_provenance_and_the_next_one_goes_on() {
    let built =
        topology(|s| s.on_error(ErrorPolicy::Skip).try_map_values(parse).to("out", Utf8, I32));
    let mut driver = ChainDriver::only(&built);
    driver.text("a", "x").unwrap();
    driver.text("a", "1").unwrap();
    let offset = driver.skipped[0].provenance.as_ref().unwrap().offset;
    assert_eq!(offset.0, 0);
    let skipped = driver.take_skipped();
    assert_eq!(skipped, [("map-values#1".into(), "invalid digit found in string".into())]);
    assert_eq!(driver.take().len(), 1);
}

/// Declares what is below a stream.
type Build = Box<dyn Fn(Stream<String, String>)>;

#[test]
fn every_function_that_can_refuse_is_judged_by_the_policy() {
    let no = || Err::<bool, _>("no");
    let builds: Vec<(&str, Build)> = vec![
        (
            "map#1",
            Box::new(|s| {
                s.try_map(|_, _| Err::<(String, String), _>("no")).to("out", Utf8, Utf8);
            }),
        ),
        ("filter#1", Box::new(move |s| s.try_filter(move |_, _| no()).to("out", Utf8, Utf8))),
        (
            "flat-map#1",
            Box::new(|s| {
                s.try_flat_map(|_, _| Err::<Vec<(String, String)>, _>("no")).to("out", Utf8, Utf8);
            }),
        ),
        (
            "flat-map-values#1",
            Box::new(|s| {
                s.try_flat_map_values(|_, _| Err::<Vec<String>, _>("no")).to("out", Utf8, Utf8);
            }),
        ),
        (
            "key-by#1",
            Box::new(|s| {
                s.try_key_by(|_, _| Err::<String, _>("no")).to("out", Utf8, Utf8);
            }),
        ),
        (
            "branch#1",
            Box::new(move |s| {
                s.try_branch(move |_, _| no()).0.to("out", Utf8, Utf8);
            }),
        ),
    ];
    for (uid, build) in builds {
        let mut driver = ChainDriver::only(&topology(&build));
        assert_eq!(refused(driver.text("a", "1")), (uid.to_owned(), "no".to_owned()));
        let mut driver = ChainDriver::only(&topology(|s| build(s.on_error(ErrorPolicy::Skip))));
        driver.text("a", "1").unwrap();
        assert_eq!(driver.take_skipped(), [(uid.to_owned(), "no".to_owned())]);
        assert!(driver.take().is_empty());
    }
}

#[test]
fn a_poison_record_follows_the_policy_of_its_source() {
    let build = |policy| {
        let builder = TopologyBuilder::new("t");
        let source = Source::new("in", I32, Utf8).on_error(policy);
        builder.stream(source).to("out", I32, Utf8);
        ChainDriver::only(&builder.build().unwrap())
    };
    let mut driver = build(ErrorPolicy::Fail);
    let (operator, reason) = refused(driver.text("abc", "v"));
    assert_eq!(operator, "in");
    assert_eq!(reason, "cannot decode the key: i32 needs 4 bytes, not 3");
    let result = driver.record(0, Some(&[0; 4]), Some(b"\xff"), 0, &[]);
    assert!(refused(result).1.starts_with("cannot decode the value: not UTF-8"));
    let result = driver.record(0, None, Some(b""), 0, &[]);
    assert_eq!(refused(result).1, "cannot decode the key: null, where a value is required");

    let mut driver = build(ErrorPolicy::Skip);
    driver.text("abc", "v").unwrap();
    driver.record(0, Some(&[0; 4]), Some(b"fine"), 0, &[]).unwrap();
    assert_eq!(driver.take_skipped().len(), 1);
    assert_eq!(driver.take().len(), 1);
}

#[test]
fn the_default_policy_of_the_topology_holds_for_sources_and_streams() {
    let builder = TopologyBuilder::new("t").on_error(ErrorPolicy::Skip);
    builder.stream(Source::new("in", Utf8, Utf8)).try_map_values(parse).to("out", Utf8, I32);
    let mut driver = ChainDriver::only(&builder.build().unwrap());
    driver.record(0, Some(b"\xff"), Some(b"1"), 0, &[]).unwrap();
    driver.text("a", "x").unwrap();
    let operators: Vec<_> = driver.take_skipped().into_iter().map(|(uid, _)| uid).collect();
    assert_eq!(operators, ["in", "map-values#1"]);
}

#[test]
fn what_the_target_refuses_follows_the_policy_of_the_sink() {
    for policy in [ErrorPolicy::Fail, ErrorPolicy::Skip] {
        let built = topology(|s| s.on_error(policy).to("out", Utf8, Utf8));
        assert_eq!(built.subtopologies[0].sinks[0].on_error, policy);
        let mut driver = ChainDriver::only(&built);
        driver.limit_values(3);
        let result = driver.text("a", "long");
        let (operator, reason) = match policy {
            ErrorPolicy::Fail => refused(result),
            ErrorPolicy::Skip => driver.take_skipped().remove(0),
        };
        assert_eq!(operator, "out");
        assert!(reason.contains("4 bytes") && reason.contains("(3 bytes)"), "{reason}");
        driver.text("a", "ok").unwrap();
        assert_eq!(driver.take_text(), ["a=ok@1"]);
    }
}

#[test]
fn what_a_codec_refuses_to_write_follows_the_policy_of_the_sink() {
    // The key of a repartition topic cannot be null: there would be no partition for it.
    let builder = TopologyBuilder::new("t");
    builder
        .stream(Source::new("in", Nullable(Utf8), Utf8))
        .on_error(ErrorPolicy::Skip)
        .repartition(crate::dsl::Repartition::new("again", Nullable(Utf8), Utf8))
        .to("out", Nullable(Utf8), Utf8);
    let built = builder.build().unwrap();
    let mut driver = ChainDriver::new(&built, "again");
    driver.record(0, None, Some(b"v"), 0, &[]).unwrap();
    driver.record(0, Some(b"k"), Some(b"v"), 1, &[]).unwrap();
    assert_eq!(
        driver.take_skipped(),
        [("again".into(), "cannot encode the key: null cannot be written as bytes".into())]
    );
    assert_eq!(driver.take_text(), ["k=v@1"]);
}
