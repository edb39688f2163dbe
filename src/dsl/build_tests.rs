//! What `build` makes of a declaration, and what it refuses.

use crate::{
    dsl::{Repartition, Source, TopologyBuilder, TopologyError, test_driver::ChainDriver},
    formats::{Json, Unit, Utf8},
    topology::{TopicRef, Topology},
};

fn source(topic: &str) -> Source<String, String> {
    Source::new(topic, Utf8, Utf8)
}

fn repartition(name: &str) -> Repartition<String, String> {
    Repartition::new(name, Utf8, Utf8)
}

/// The message of a build that must fail.
fn refused(declare: impl FnOnce(&TopologyBuilder)) -> String {
    let builder = TopologyBuilder::new("t");
    declare(&builder);
    builder.build().unwrap_err().to_string()
}

fn built(declare: impl FnOnce(&TopologyBuilder)) -> Topology {
    let builder = TopologyBuilder::new("t");
    declare(&builder);
    builder.build().unwrap()
}

fn names(topology: &Topology) -> Vec<&str> {
    topology.subtopologies.iter().map(|part| part.name.as_str()).collect()
}

#[test]
fn a_repartition_cuts_the_topology_and_the_parts_are_named_by_their_first_step() {
    let topology = built(|b| {
        let counts = b.stream(source("in")).group_by(repartition("by-value"), |_, v| v.clone());
        counts.count("counts").updates().map(|k, _| (k.clone(), k)).to("out", Utf8, Utf8);
    });
    assert_eq!(names(&topology), ["by-value", "counts"]);
    let [first, second] = &topology.subtopologies[..] else { panic!() };
    let topic = TopicRef::Repartition { step: "by-value".into(), partitions: None };
    assert_eq!(first.sinks[0].topic, topic);
    assert_eq!(second.sources[0].topic, topic);
    assert!(!first.sources[0].keyed && second.sources[0].keyed);
    assert!(first.stores.is_empty());
    assert_eq!(second.stores[0].qualified(), "counts/value");
}

#[test]
fn without_a_change_of_key_there_is_no_repartition() {
    let topology = built(|b| {
        let stream = b.stream(source("in")).filter(|_, _| true).map_values(|_, v| v);
        stream.group_by_key().count("counts");
    });
    assert_eq!(names(&topology), ["counts"]);
    assert!(topology.subtopologies[0].sources[0].keyed);
}

#[test]
fn through_cuts_at_a_topic_of_the_users() {
    let topology = built(|b| {
        b.stream(source("in")).through("Middle.1", Utf8, Utf8).to("out", Utf8, Utf8);
    });
    assert_eq!(names(&topology), ["in", "middle-1"]);
    assert_eq!(topology.subtopologies[1].sources[0].topic, TopicRef::External("Middle.1".into()));
}

#[test]
fn merged_streams_are_one_subtopology_and_each_writer_comes_first() {
    let topology = built(|b| {
        let late = b.stream(source("late"));
        let early = b.stream(source("early")).repartition(repartition("again"));
        late.merge(&early).group_by_key().count("counts");
    });
    assert_eq!(names(&topology), ["again", "counts"]);
    let inputs: Vec<_> =
        topology.subtopologies[1].sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(inputs, ["late", "again"]);
}

#[test]
fn unconnected_streams_are_subtopologies_of_their_own() {
    let topology = built(|b| {
        b.stream(source("b")).to("out", Utf8, Utf8);
        b.stream(source("B")).to("out", Utf8, Utf8);
    });
    assert_eq!(names(&topology), ["b", "b-2"]);
}

#[test]
fn only_the_inputs_that_state_depends_on_are_keyed() {
    let topology = built(|b| {
        let one = b.stream(source("counted"));
        one.group_by_key().count("counts");
        one.merge(&b.stream(source("passed"))).to("out", Utf8, Utf8);
    });
    let keyed: Vec<_> = topology.subtopologies[0].sources.iter().map(|s| s.keyed).collect();
    assert_eq!(keyed, [true, false]);
}

#[test]
fn a_topology_without_a_source_is_refused() {
    assert!(refused(|_| {}).contains("no source"));
}

#[test]
fn a_stream_that_leads_nowhere_is_refused_by_name() {
    let message = refused(|b| {
        b.stream(source("in")).map_values(|_, v| v);
    });
    assert!(message.contains("map-values#1 (map-values)"), "{message}");
    assert!(refused(|b| drop(b.stream(source("in")))).contains("in (source)"));
    let message = refused(|b| drop(b.stream(source("in")).repartition(repartition("words"))));
    assert!(message.contains("words (source)"), "{message}");
}

#[test]
fn a_missing_a_wrong_and_a_double_name_are_all_said() {
    let message = refused(|b| {
        let keyed = b.stream(source("in")).group_by_key();
        keyed.count("");
        keyed.count("my.counts");
        keyed.count("counts");
        keyed.reduce("counts", Utf8, |_, _, next| next);
    });
    assert_eq!(message.lines().count(), 3, "{message}");
    assert!(message.contains("name \"\" of count: it is missing"), "{message}");
    assert!(message.contains("name \"my.counts\" of count: it has other characters"), "{message}");
    assert!(message.contains("the name \"counts\" is used twice"), "{message}");
}

#[test]
fn a_repartition_and_a_state_cannot_share_a_name() {
    let message = refused(|b| {
        b.stream(source("in")).group_by(repartition("words"), |_, v| v.clone()).count("words");
    });
    assert!(message.contains("\"words\" is used twice"), "{message}");
}

#[test]
fn the_topologys_own_name_is_checked() {
    let builder = TopologyBuilder::new("My Topology");
    builder.stream(source("in")).to("out", Utf8, Utf8);
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains("\"My Topology\" of the topology"), "{message}");
}

#[test]
fn state_by_a_changed_key_is_refused_with_the_step_that_changed_it() {
    let message = refused(|b| {
        let changed = b.stream(source("in")).key_by(|_, v| v.clone()).filter(|_, _| true);
        changed.group_by_key().count("counts");
    });
    assert!(message.contains("the key was changed by key-by#1"), "{message}");
    assert!(message.contains("`repartition`"), "{message}");
}

#[test]
fn merging_with_a_changed_key_needs_a_repartition() {
    let message = refused(|b| {
        let one = b.stream(source("one"));
        let two = b.stream(source("two")).map(|k, v| (v, k));
        one.merge(&two).group_by_key().count("counts");
    });
    assert!(message.contains("the key was changed by map#2"), "{message}");
}

#[test]
fn merging_keys_of_two_encodings_needs_a_repartition() {
    let message = refused(|b| {
        let text = b.stream(source("text"));
        let json = b.stream(Source::new("json", Json::<String>::new(), Utf8));
        text.merge(&json).group_by_key().count("counts");
    });
    assert!(message.contains("the key was changed by merge#2"), "{message}");
}

#[test]
fn a_topic_is_read_once() {
    let message = refused(|b| {
        b.stream(source("in")).to("out", Utf8, Utf8);
        b.table("rows", source("in"));
    });
    assert!(message.contains("topic in is read twice"), "{message}");
}

#[test]
fn a_topic_may_be_written_by_several_sinks() {
    let topology = built(|b| {
        let stream = b.stream(source("in"));
        stream.to("out", Utf8, Utf8);
        stream.to("out", Utf8, Utf8);
    });
    let sinks: Vec<_> =
        topology.subtopologies[0].sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(sinks, ["out", "out#2"]);
}

#[test]
fn topics_that_kafka_would_refuse_are_refused() {
    let message = refused(|b| b.stream(source("in put")).to("", Utf8, Utf8));
    assert!(message.contains("\"in put\"") && message.contains("missing"), "{message}");
}

#[test]
fn a_partition_count_that_splits_key_groups_is_refused_with_the_nearest() {
    let message = refused(|b| {
        let stream = b.stream(source("in")).repartition(repartition("words").partitions(7));
        stream.to("out", Utf8, Utf8);
    });
    assert!(message.contains("words: 7 partitions") && message.contains("6 and 8"), "{message}");
    let message = refused(|b| {
        let stream = b.stream(source("in")).repartition(repartition("words").partitions(0));
        stream.to("out", Utf8, Utf8);
    });
    assert!(message.contains("words: 0 partitions"), "{message}");
}

#[test]
fn merging_streams_from_before_and_after_a_repartition_is_refused() {
    let message = refused(|b| {
        let stream = b.stream(source("in"));
        let again = stream.repartition(repartition("again"));
        stream.merge(&again).group_by_key().count("counts");
    });
    assert!(message.contains("again") && message.contains("merged"), "{message}");
}

#[test]
fn two_subtopologies_that_feed_each_other_are_refused() {
    let message = refused(|b| {
        let (one, two) = (b.stream(source("one")), b.stream(source("two")));
        let from_one = one.repartition(repartition("from-one"));
        let from_two = two.repartition(repartition("from-two"));
        one.merge(&from_two).to("x", Utf8, Utf8);
        two.merge(&from_one).to("y", Utf8, Utf8);
    });
    assert!(message.starts_with("from-"), "{message}");
}

#[test]
fn streams_of_two_builders_do_not_merge() {
    let other = TopologyBuilder::new("other");
    let message = refused(|b| {
        let stream = b.stream(source("in"));
        stream.merge(&other.stream(source("in"))).to("out", Utf8, Utf8);
    });
    assert!(message.contains("different topologies"), "{message}");
}

#[test]
fn a_key_of_no_bytes_has_a_partition_of_its_own() {
    // The key of a global count: written as no bytes rather than null, so that all meet.
    let topology = built(|b| {
        let all = Repartition::new("all", Unit, Utf8);
        b.stream(source("in")).group_by(all, |_, _| ()).count("total");
    });
    let mut driver = ChainDriver::new(&topology, "all");
    driver.text("a", "1").unwrap();
    assert_eq!(driver.take_text(), ["=1@0"]);
}

#[test]
fn one_error_is_itself_and_not_a_list() {
    assert_eq!(TopologyBuilder::new("t").build().unwrap_err(), TopologyError::NoSource);
}
