//! EOS-8: every owned partition is committed again at least hourly, also when nothing happens.

use std::{collections::BTreeMap, time::Duration};

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::offset_metadata::OffsetMetadata,
};

use crate::{
    scenario::Scenario,
    topology::{APP, POSTING_PARTITIONS},
    world::World,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Virtual time between two steps: short beside the group's session.
const STRIDE: Duration = Duration::from_millis(250);

impl World {
    /// Steps without input for `span`.
    fn idle(&mut self, span: Duration) {
        let end = self.cluster.now().mono + span;
        while self.cluster.now().mono < end && self.report.problems.is_empty() {
            let now = self.cluster.now();
            self.wake(now);
            self.step_all(now);
            self.cluster.advance_to((now.mono + STRIDE).min(end));
        }
    }
}

/// A world in which everything was processed and committed once.
fn settled() -> World {
    let mut world = World::new(Scenario { faults: 0, transfers: 100, ..Scenario::of_seed(1) });
    world.run_until(World::is_done);
    assert_eq!(world.problems(), &[] as &[String]);
    world
}

/// Where the group stands per partition, and the epoch that committed it.
fn committed(world: &World) -> BTreeMap<TopicPartition, (Offset, u64)> {
    let offsets = world.cluster().group_offsets(APP);
    let epoch = |metadata: &str| OffsetMetadata::parse(metadata).unwrap().unwrap().id.epoch;
    offsets.into_iter().map(|o| (o.partition, (o.offset, epoch(&o.metadata)))).collect()
}

/// All were committed again, at the same position, and few epochs were needed for that.
fn assert_repeated(
    before: &BTreeMap<TopicPartition, (Offset, u64)>,
    after: &BTreeMap<TopicPartition, (Offset, u64)>,
) {
    assert_eq!(before.len(), 4 + POSTING_PARTITIONS as usize);
    let newest = before.values().map(|(_, epoch)| epoch).max().unwrap();
    for (partition, (offset, epoch)) in before {
        let (now, repeated) = after[partition];
        assert_eq!(now, *offset, "{partition}");
        assert!(repeated > *epoch, "{partition} was not committed again since epoch {epoch}");
        // Of an instance's seven tasks each may have its own, once after it was opened and once
        // an hour.
        assert!(repeated <= newest + 2 * 7, "{partition} went from epoch {epoch} to {repeated}");
    }
}

#[test]
fn an_idle_hour_repeats_every_offset_once_and_a_restart_goes_on_from_there() {
    let mut world = settled();
    // Beyond the repetition that follows the opening of a task.
    world.idle(2 * MINUTE);
    let before = committed(&world);
    world.idle(57 * MINUTE);
    assert_eq!(committed(&world), before, "the hour is not over: idle tasks stay out of epochs");
    world.idle(5 * MINUTE);
    assert_repeated(&before, &committed(&world));
    // State and offsets belong to the same epoch (EOS-5): from the changelog alone it goes on.
    world.stop_all();
    world.disks.clear();
    world.restart("i0");
    world.scenario.transfers += 50;
    world.run_until(World::is_done);
    let report = world.finish();
    assert_eq!(report.problems, [] as [String; 0]);
    assert!(report.verdict.is_clean(), "{:#?}", report.verdict);
}

#[test]
fn owners_that_change_more_often_than_hourly_do_not_let_offsets_expire() {
    let mut world = settled();
    let mut before = committed(&world);
    for _ in 0..3 {
        world.stop_all();
        world.restart("i0");
        world.idle(50 * MINUTE);
        let after = committed(&world);
        assert_repeated(&before, &after);
        before = after;
    }
    assert_eq!(world.problems(), &[] as &[String]);
}
