//! The report of a run, for `docs/reports/`: what was planned, what was done, what came of it.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use tidemill::testing::proxy::{Api, Counts, Fault as ProxyFault};

use super::{fault::by_kind, schedule::Plan, tally::Tally};
use crate::{outcome::Outcome, report};

/// How the run ended.
pub(super) struct Ended {
    /// Tier, seed and the like.
    pub(super) title: String,
    pub(super) minutes: f64,
    pub(super) outcome: Outcome,
    /// The line of figures.
    pub(super) figures: String,
    /// Why it is invalid, if it is.
    pub(super) missing: Vec<String>,
}

/// Writes it.
pub(super) fn write(
    file: &Path,
    ended: &Ended,
    plan: &Plan,
    tally: &Tally,
    counts: &Counts,
) -> Result<()> {
    let mut text = text(ended, plan, tally, counts);
    text.push_str("\n## The run\n\n```text\n");
    for line in report::transcript() {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("```\n");
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    report::line(format_args!("report: {}", file.display()));
    Ok(())
}

fn text(ended: &Ended, plan: &Plan, tally: &Tally, counts: &Counts) -> String {
    let verdict = match ended.outcome {
        Outcome::Pass => "Passed",
        Outcome::Fail => "FAILED",
        Outcome::Invalid => "INVALID",
    };
    let mut text = format!("# Torture run: {}\n\n", ended.title);
    // Writing into a string cannot fail.
    let _ok = writeln!(text, "{verdict} after {:.1} minutes.\n", ended.minutes);
    let _ok = writeln!(text, "```text\n{}\n```\n", ended.figures);
    for reason in &ended.missing {
        let _ok = writeln!(text, "- {reason}");
    }
    text.push_str("## Faults\n\n| kind | planned | done |\n|---|---:|---:|\n");
    for (kind, planned) in by_kind(&plan.faults) {
        let done = match tally.skipped.get(kind) {
            Some(reason) => format!("skipped: {reason}"),
            None => tally.done.get(kind).copied().unwrap_or(0).to_string(),
        };
        let _ok = writeln!(text, "| {kind} | {planned} | {done} |");
    }
    let _ok = writeln!(
        text,
        "\nKills: {}, of which {} met an open transaction. Phases met:",
        tally.kills, tally.in_open_transaction
    );
    for (phase, hits) in &tally.phases {
        let _ok = write!(text, " {phase} {hits}");
    }
    let _ok = writeln!(
        text,
        ".\nState directories: {} wiped, {} corrupted ({} refused by the process).\nTakeovers \
         after kills: {}. Processes that ended by themselves and were started again: {}.\n",
        tally.wipes, tally.corruptions, tally.refused_state, tally.takeovers, tally.ended
    );
    text.push_str("## Requests that suffered\n\n| request | seen |");
    for name in ProxyFault::NAMES {
        let _ok = write!(text, " {name} |");
    }
    let _ok = writeln!(text, "\n|---|---:|{}", "---:|".repeat(ProxyFault::NAMES.len()));
    let apis: BTreeSet<Api> = counts.faults.keys().map(|(api, _)| *api).collect();
    for api in apis {
        let seen = counts.requests.get(&api).copied().unwrap_or(0);
        let _ok = write!(text, "| {api} | {seen} |");
        for name in ProxyFault::NAMES {
            let count = counts.faults.get(&(api, name)).copied().unwrap_or(0);
            let _ok = write!(text, " {count} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::torture::fault::Fault;

    #[test]
    fn a_report_names_what_was_planned_done_skipped_and_suffered() {
        let plan = Plan {
            faults: vec![Fault::RollWorkers, Fault::DiskFull { victim: 1 }, Fault::RollWorkers],
        };
        let tally = Tally {
            done: BTreeMap::from([("roll-workers", 1)]),
            skipped: BTreeMap::from([("disk-full", "no small disk".to_owned())]),
            ..Tally::default()
        };
        let counts = Counts {
            requests: BTreeMap::from([(Api::END_TXN, 40)]),
            faults: BTreeMap::from([((Api::END_TXN, "hold"), 2)]),
        };
        let ended = Ended {
            title: "tier 1, seed 7".to_owned(),
            minutes: 11.25,
            outcome: Outcome::Invalid,
            figures: "lost=0".to_owned(),
            missing: vec!["1 of 2 roll-workers happened".to_owned()],
        };
        let text = text(&ended, &plan, &tally, &counts);
        for part in [
            "# Torture run: tier 1, seed 7\n",
            "INVALID after 11.2 minutes.",
            "```text\nlost=0\n```",
            "- 1 of 2 roll-workers happened",
            "| roll-workers | 2 | 1 |",
            "| disk-full | 1 | skipped: no small disk |",
            "| end-txn | 40 | 0 | 0 | 0 | 0 | 0 | 2 | 0 |",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
