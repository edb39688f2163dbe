//! Negative controls: with a guarantee broken on purpose, the same checks must fail, and the one
//! that was meant to must be among them.

use tidemill::runtime::Guarantee;

use crate::{
    scenario::{Report, Scenario},
    world::World,
};

/// All that the checks of a run found, as text.
fn findings(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut text = report.problems.join("\n");
    for (name, list) in
        [("lost", &verdict.lost), ("duplicated", &verdict.duplicated), ("wrong", &verdict.wrong)]
    {
        text.extend(list.iter().map(|entry| format!("\n{name}: {entry}")));
    }
    text
}

/// Runs seeds until one is caught; gives how many it took and what was found.
fn caught_within(seeds: u64, scenario: impl Fn(u64) -> Scenario) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let text = findings(&World::new(scenario(seed)).run());
        (!text.is_empty()).then_some((seed, text))
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
    use std::time::Duration;

    use tidemill::runtime::mutants::Mutant;

    use super::*;
    use crate::faults::Fault;

    /// Runs seeds of both depths until a check says one of `words`.
    fn is_caught(mutant: Mutant, words: &[&str]) {
        is_caught_in(mutant, words, Scenario::of_seed);
    }

    fn is_caught_in(mutant: Mutant, words: &[&str], scenario: impl Fn(u64) -> Scenario) {
        const SEEDS: u64 = 200;
        let mut others = String::new();
        let caught = (0..SEEDS).find_map(|seed| {
            let mut run = Scenario { mutant, ..scenario(seed) };
            // Many mutants end in a run that never ends, which is a finding soon enough.
            run.patience = run.patience.min(Duration::from_secs(120));
            let text = findings(&World::new(run).run());
            let line = text.lines().find(|l| words.iter().any(|w| l.contains(w)));
            let line = line.map(|line| format!("seed {seed}: {line}"));
            if others.is_empty() {
                others = text;
            }
            line
        });
        assert!(
            caught.is_some(),
            "{SEEDS} seeds with {mutant:?}, and none of {words:?} was seen, but {others:?}"
        );
        println!("{mutant:?} caught by {}", caught.unwrap());
    }

    /// Only overlapping epochs can break their own rules.
    fn overlapping(seed: u64) -> Scenario {
        Scenario { pipelining: true, ..Scenario::of_seed(seed) }
    }

    /// Decisions are known long before markers are written.
    fn slow_markers(seed: u64) -> Scenario {
        Scenario { slow_markers: 0.2, ..Scenario::of_seed(seed) }
    }

    /// What the oracle says of records.
    const ORACLE: [&str; 3] = ["lost: ", "duplicated: ", "wrong: "];

    #[test]
    fn offsets_outside_the_transaction_are_caught() {
        is_caught(Mutant::OffsetsOutsideTransaction, &ORACLE);
    }

    #[test]
    fn state_written_before_the_commit_is_caught() {
        is_caught(Mutant::StateBeforeCommit, &ORACLE);
    }

    #[test]
    fn an_abort_that_keeps_resident_entries_is_caught() {
        is_caught(Mutant::AbortKeepsResident, &["resident after an abort"]);
    }

    #[test]
    fn a_changelog_read_uncommitted_is_caught() {
        is_caught(Mutant::ChangelogReadUncommitted, &["wrong: ", "lost: ", "failed: "]);
    }

    #[test]
    fn offsets_of_the_younger_epoch_before_the_olders_commit_are_caught() {
        let words = ["EOS-6: sim.i0.0.a sends offsets", "EOS-6: sim.i0.0.b sends offsets"];
        is_caught_in(Mutant::YoungerOffsetsFirst, &words, overlapping);
    }

    #[test]
    fn a_younger_epoch_that_commits_first_is_caught() {
        let words = ["commits before the older"];
        is_caught_in(Mutant::YoungerCommitsFirst, &words, overlapping);
    }

    #[test]
    fn a_younger_epoch_that_is_sent_before_the_older_is_acknowledged_is_caught() {
        let words = ["is acknowledged"];
        is_caught_in(Mutant::YoungerSendsEarly, &words, overlapping);
    }

    #[test]
    fn an_epoch_number_ignored_in_resolve_is_caught() {
        is_caught(Mutant::ResolveIgnoresEpoch, &["lost: ", "wrong: ", "failed: "]);
    }

    #[test]
    fn an_unknown_commit_taken_for_aborted_is_caught() {
        is_caught(Mutant::UnknownIsAborted, &ORACLE);
    }

    #[test]
    fn a_disturbed_producer_that_begins_again_is_caught() {
        let often = |seed| Scenario { duplicates: 0.5, ..Scenario::of_seed(seed) };
        let words = ["lost: ", "duplicated: ", "wrong: ", "failed: "];
        is_caught_in(Mutant::KeepsDisturbedProducer, &words, often);
    }

    #[test]
    fn an_offset_off_by_one_is_caught() {
        is_caught(Mutant::OffsetOffByOne, &["lost: ", "failed: "]);
    }

    #[test]
    fn offsets_read_before_they_are_stable_are_caught() {
        let words = ["duplicated: ", "lost: ", "wrong: ", "failed: "];
        is_caught_in(Mutant::UnstableOffsets, &words, slow_markers);
    }

    #[test]
    fn a_restore_that_ends_at_the_last_stable_offset_is_caught() {
        let words = ["the state stands at", "wrong: ", "lost: "];
        is_caught_in(Mutant::LastStableTarget, &words, slow_markers);
    }

    #[test]
    fn a_timer_epoch_without_offsets_is_caught() {
        is_caught(Mutant::TimerEpochWithoutOffsets, &["EOS-3"]);
    }

    #[test]
    fn stale_group_metadata_is_caught() {
        let short =
            |seed| Scenario { patience: Duration::from_secs(40), ..Scenario::of_seed(seed) };
        is_caught_in(Mutant::StaleGroupMetadata, &["stuck", "failed: "], short);
    }

    #[test]
    fn missing_group_metadata_is_caught() {
        is_caught(Mutant::MissingGroupMetadata, &["duplicated: ", "lost: ", "wrong: ", "failed: "]);
    }

    #[test]
    fn random_transactional_ids_are_caught() {
        let words = ["duplicated: ", "lost: ", "wrong: ", "failed: "];
        is_caught(Mutant::RandomTransactionalIds, &words);
    }

    /// Nothing but owners that die or freeze while a request of theirs is on its way.
    fn overtaking(seed: u64) -> Scenario {
        Scenario { kinds: &[Fault::Overtake], slow_markers: 0.0, ..Scenario::of_seed(seed) }
    }

    #[test]
    fn overtaking_alone_shows_offsets_read_before_they_are_stable() {
        is_caught_in(Mutant::UnstableOffsets, &ORACLE, overtaking);
    }

    #[test]
    fn overtaking_alone_shows_offsets_without_a_membership() {
        is_caught_in(Mutant::MissingGroupMetadata, &ORACLE, overtaking);
    }

    #[test]
    fn requests_held_back_alone_show_a_disturbed_producer_that_begins_again() {
        let held = |seed| Scenario {
            kinds: &[Fault::Hold],
            faults: 20,
            duplicates: 0.0,
            ..Scenario::of_seed(seed)
        };
        is_caught_in(Mutant::KeepsDisturbedProducer, &["EOS-3", "lost: ", "wrong: "], held);
    }
}
