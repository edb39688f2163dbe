//! Consumed records of repartition topics are deleted up to the committed offset, never beyond it,
//! and nothing is lost by it (DESIGN section 4).

use std::time::Duration;

use tidemill::{
    record::{Offset, TopicPartition},
    runtime::Guarantee,
};

use crate::{
    ending::text,
    oracle::Seen,
    scenario::Scenario,
    topology::{APP, POSTINGS},
    world::World,
};

impl World {
    /// Keeps what the repartition topic holds before it is deleted, and checks that nothing beyond
    /// the group's committed offset is.
    pub(crate) fn watch_postings(&mut self) {
        if self.scenario.purge.is_none() {
            return;
        }
        self.following.borrow_mut().follow(&self.cluster);
        let partitions = self.cluster.partitions(POSTINGS);
        self.postings.resize(partitions as usize, (Offset(0), vec![]));
        self.report.purged = 0;
        for index in 0..self.postings.len() {
            let at = TopicPartition::new(POSTINGS, index as i32);
            let start = self.cluster.bounds(&at).map_or(Offset(0), |bounds| bounds.start);
            self.report.purged += start.0;
            // An offset that is pending is either decided, and then its owner may act on it, or its
            // successor waits for the decision.
            let stable = self.cluster.stable_offset(APP, &at);
            if let Some(offset) = stable.map(|o| o.offset.unwrap_or(Offset(0)))
                && start > offset
            {
                let problem = format!("{at} starts at {start}, the group stands at {offset}");
                self.report.problems.push(problem);
            }
            let (next, seen) = &mut self.postings[index];
            *next = self.cluster.visit_committed(&at, *next, |key, value| {
                seen.push(Seen { key: text(key), value: text(value) });
            });
        }
    }

    /// All records that the repartition topic ever held.
    pub(crate) fn postings(&self) -> Vec<Vec<Seen>> {
        match self.scenario.purge {
            Some(_) => self.postings.iter().map(|(_, seen)| seen.clone()).collect(),
            None => self.seen(POSTINGS),
        }
    }
}

fn purging(seed: u64) -> Scenario {
    Scenario { purge: Some(Duration::from_millis(300)), ..Scenario::of_seed(seed) }
}

#[test]
fn deleting_what_was_consumed_loses_nothing_whatever_happens() {
    let mut purged = 0;
    for seed in 0..50 {
        let report = World::new(purging(seed)).run();
        assert!(report.problems.is_empty(), "seed {seed}: {:#?}", report.problems);
        assert!(report.verdict.is_clean(), "seed {seed}: {:#?}", report.verdict);
        purged += report.purged;
    }
    // Of 2 x 500 postings each, and their transactions' markers.
    assert!(purged > 25_000, "only {purged} records were deleted in 50 seeds");
}

#[test]
fn at_least_once_too_nothing_is_deleted_that_the_group_has_not_passed() {
    let mut purged = 0;
    for seed in 0..50 {
        let guarantee = Guarantee::AtLeastOnce;
        let report = World::new(Scenario { guarantee, ..purging(seed) }).run();
        // Doubled records are what this guarantee allows; a start behind the group's offset and a
        // position out of range are not.
        assert!(report.problems.is_empty(), "seed {seed}: {:#?}", report.problems);
        assert!(
            report.verdict.lost.iter().all(|lost| !lost.starts_with("posting ")),
            "seed {seed}"
        );
        purged += report.purged;
    }
    assert!(purged > 15_000, "only {purged} records were deleted in 50 seeds");
}
