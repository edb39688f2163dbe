//! Topics and offsets changed under a running application: it stops, says why, and loses nothing.

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::{OffsetCommit, TopicSpec},
};

use crate::{
    scenario::Scenario,
    topology::{APP, POSTINGS, TRANSFERS},
    world::World,
};

/// A world in which everything was processed and committed once.
fn settled() -> World {
    let mut world = World::new(Scenario { faults: 0, transfers: 100, ..Scenario::of_seed(1) });
    world.run_until(World::is_done);
    assert_eq!(world.problems(), &[] as &[String]);
    world
}

/// The one failure that the world then meets.
fn failure(mut world: World) -> String {
    world.run_until(|_| false);
    world.problems()[0].clone()
}

fn says(failure: &str, words: &[&str]) {
    for word in words {
        assert!(failure.contains(word), "{failure:?} does not say {word:?}");
    }
}

#[test]
fn a_grown_keyed_topic_stops_a_running_task() {
    let world = settled();
    world.cluster().grow_topic(POSTINGS, 6);
    says(&failure(world), &[POSTINGS, "3 partitions", "6 now", "tidemill reset"]);
}

#[test]
fn a_grown_keyed_topic_is_refused_at_the_next_start() {
    let mut world = settled();
    world.stop_all();
    world.cluster().grow_topic(POSTINGS, 6);
    world.restart("i0");
    says(&failure(world), &[POSTINGS, "3 partitions", "6 now", "repartition"]);
}

#[test]
fn a_topic_that_was_deleted_stops_a_running_task() {
    let world = settled();
    world.cluster().delete_topic(TRANSFERS);
    says(&failure(world), &[TRANSFERS, "not exist any more"]);
}

#[test]
fn a_topic_that_was_created_again_is_refused_at_the_next_start() {
    let mut world = settled();
    world.stop_all();
    world.cluster().delete_topic(POSTINGS);
    world.cluster().add_topic(&TopicSpec {
        name: POSTINGS.into(),
        partitions: 3,
        replication: 1,
        config: [].into(),
    });
    world.restart("i0");
    says(&failure(world), &[POSTINGS, "deleted and created again", "tidemill reset"]);
}

#[test]
fn a_missing_offset_beside_a_changelog_marker_stops_the_task() {
    let mut world = settled();
    world.stop_all();
    assert!(world.cluster().expire_group_offset(APP, &TopicPartition::new(POSTINGS, 0)));
    world.restart("i0");
    says(&failure(world), &["EOS-8", "no committed offset", "sim-postings-repartition-0"]);
}

#[test]
fn offsets_that_somebody_else_changed_stop_the_task() {
    let mut world = settled();
    world.stop_all();
    let partition = TopicPartition::new(POSTINGS, 1);
    let offsets = world.cluster().group_offsets(APP);
    let ours = offsets.into_iter().find(|o| o.partition == partition).unwrap();
    let moved = OffsetCommit { offset: Offset(ours.offset.0 - 1), ..ours };
    world.cluster().commit_group_offsets(APP, vec![moved]);
    world.restart("i0");
    says(&failure(world), &["changed by somebody else", "sim-postings-repartition-1"]);
}

#[test]
fn records_that_were_deleted_before_they_were_read_stop_the_task() {
    let mut world = settled();
    world.stop_all();
    let partition = TopicPartition::new(TRANSFERS, 2);
    for _ in 0..3 {
        world.cluster().produce(TRANSFERS, 2, None, Some(b"1 a b"), tidemill::record::Timestamp(1));
    }
    let end = world.cluster().bounds(&partition).unwrap().end;
    world.cluster().delete_records(&partition, end);
    world.restart("i0");
    says(&failure(world), &["transfers-2", "out of range", "nothing is skipped"]);
}

#[test]
fn a_record_that_the_broker_refuses_is_met_again_at_emit_and_does_not_abort_for_ever() {
    let world = World::new(Scenario {
        faults: 0,
        transfers: 100,
        unknown_limit: Some(20),
        ..Scenario::of_seed(1)
    });
    // ERR-1: the verdict of the first try outlives its abort, so the replay stops at the record.
    says(&failure(world), &["balances refused the record", "task accounts_", "policy fail"]);
}
