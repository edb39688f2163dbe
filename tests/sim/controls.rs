//! Negative controls: with a guarantee broken on purpose, the same checks must fail.

use tidemill::runtime::Guarantee;

use crate::{scenario::Scenario, world::World};

/// Runs seeds until one is caught; gives how many it took.
fn caught_within(seeds: u64, scenario: impl Fn(u64) -> Scenario) -> Option<u64> {
    (0..seeds).find(|seed| {
        let report = World::new(scenario(*seed)).run();
        !report.verdict.is_clean() || !report.problems.is_empty()
    })
}

#[test]
fn at_least_once_is_caught() {
    let caught = caught_within(50, |seed| Scenario {
        guarantee: Guarantee::AtLeastOnce,
        ..Scenario::of_seed(seed)
    });
    assert!(caught.is_some(), "50 seeds at least once, and nothing was seen");
}

#[cfg(feature = "mutants")]
mod mutants {
    use tidemill::runtime::mutants::Mutant;

    use super::*;

    fn is_caught(mutant: Mutant) {
        let caught = caught_within(200, |seed| Scenario { mutant, ..Scenario::of_seed(seed) });
        assert!(caught.is_some(), "200 seeds with {mutant:?}, and nothing was seen");
    }

    #[test]
    fn offsets_outside_the_transaction_are_caught() {
        is_caught(Mutant::OffsetsOutsideTransaction);
    }

    #[test]
    fn state_written_before_the_commit_is_caught() {
        is_caught(Mutant::StateBeforeCommit);
    }

    #[test]
    fn an_abort_that_keeps_resident_entries_is_caught() {
        is_caught(Mutant::AbortKeepsResident);
    }
}
