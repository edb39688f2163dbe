//! The end of a run: drained, checked, and judged. INVALID where it did not do what it planned.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use tidemill::testing::proxy::Counts;

use super::{
    fault::{Aftermath, Fault, by_kind},
    report_file,
    run::{Arguments, Torture},
    schedule::Plan,
    tally::Tally,
};
use crate::{clock, compare_state, failpoint::Phase, load::Produced, outcome::Outcome, report};

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The application did not come back after a fault: no fault of the run's.
#[derive(Debug)]
pub(super) struct NotRecovered;

impl fmt::Display for NotRecovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application did not recover")
    }
}

/// Drains, checks, prints the figures; writes the report where one is asked for.
pub(super) fn conclude(
    torture: &mut Torture,
    arguments: &Arguments,
    plan: &Plan,
) -> Result<Outcome> {
    // Load goes on behind the last fault, too.
    clock::pause(Duration::from_secs(1));
    torture.progress.event("faults are over; the rest of the input follows");
    let load = torture.load.take().context("the input is over already")?;
    let produced = load.finish()?;
    let expected = 2 * produced.records;
    let (tail, fleet, progress) = (&torture.tail, &mut torture.fleet, &mut torture.progress);
    let committed = tail.wait(expected, Duration::from_secs(2), PATIENCE, |count| {
        progress.stand(|| format!("{count} of {expected} balances out"));
        fleet.check_alive().context(NotRecovered)
    })?;
    progress.event(format_args!("{committed} of {expected} balances committed; draining"));
    let at_the_end = fleet.statuses().len();
    fleet.drain()?;
    progress.finish();
    let (findings, examples) = torture.topics.check(&torture.cluster)?;
    examples.iter().for_each(report::line);

    let mut missing = unfulfilled(&torture.tally, plan);
    missing.extend(input_missing(&torture.tally, &produced, findings.inputs));
    if at_the_end != torture.instances {
        missing.push(format!("{at_the_end} instances ran at the end"));
    }
    let mut outcome = Outcome::of(findings.is_clean());
    if arguments.compare_state {
        let (directory, damaged) = (&torture.directory, &torture.damaged);
        let compared = compare_state::of(&torture.cluster, &torture.topics, directory, damaged)?;
        outcome = if compared { outcome } else { Outcome::Fail };
    }
    if outcome == Outcome::Pass && !missing.is_empty() {
        outcome = Outcome::Invalid;
    }
    let checked = format!("inputs={} outputs={}", findings.inputs, findings.outputs);
    let figures = format!("{checked} {} {findings}", figures(torture));
    close(&Situation::of(torture), arguments, plan, outcome, figures, missing)
}

/// A run that could not go on. It failed where the application did not come back after a fault,
/// else it proved nothing. What it wrote until then is not checked.
pub(super) fn broken_off(
    torture: &Torture,
    arguments: &Arguments,
    plan: &Plan,
    error: &anyhow::Error,
) -> Result<Outcome> {
    torture.progress.finish();
    let failed = error.is::<NotRecovered>();
    let outcome = if failed { Outcome::Fail } else { Outcome::Invalid };
    let figures = format!("unchecked {}", figures(torture));
    close(&Situation::of(torture), arguments, plan, outcome, figures, vec![format!("{error:#}")])
}

/// What a run has come to besides its check.
struct Situation {
    tally: Tally,
    counts: Counts,
    fenced_by_successors: u64,
    minutes: f64,
}

impl Situation {
    fn of(torture: &Torture) -> Self {
        Self {
            tally: torture.tally.clone(),
            counts: torture.proxy.counts(),
            fenced_by_successors: torture.fleet.total("takeovers"),
            minutes: torture.started.elapsed().as_secs_f64() / 60.0,
        }
    }
}

/// Prints how it ended, and writes the report where one is asked for.
fn close(
    situation: &Situation,
    arguments: &Arguments,
    plan: &Plan,
    outcome: Outcome,
    figures: String,
    missing: Vec<String>,
) -> Result<Outcome> {
    let Situation { tally, counts, .. } = situation;
    details(tally, situation.fenced_by_successors);
    if counts.total() > 0 {
        report::line(format_args!("requests that suffered:\n{counts}"));
    }
    let word = if outcome == Outcome::Fail { "FAILED" } else { "INVALID" };
    for what in &missing {
        report::line(format_args!("{word}: {what}"));
    }
    report::line(&figures);
    if let Some(file) = &arguments.report {
        let minutes = situation.minutes;
        let title = arguments.title();
        let ended = report_file::Ended { title, minutes, outcome, figures, missing };
        report_file::write(file, &ended, plan, tally, counts)?;
    }
    Ok(outcome)
}

/// The figures of the faults.
fn figures(torture: &Torture) -> String {
    let tally = &torture.tally;
    let total = |counter| torture.fleet.total(counter);
    format!(
        "faults={} kills={} in_open_txn={} zombies={} fenced={} requests={} ended={} \
         resolved={} rebalances={}",
        tally.faults(),
        tally.kills,
        tally.in_open_transaction,
        tally.zombies(),
        tally.fenced,
        torture.proxy.counts().total(),
        tally.ended,
        total("epochs_resolved"),
        total("rebalances"),
    )
}

fn details(tally: &Tally, fenced_by_successors: u64) {
    let phases: Vec<String> =
        tally.phases.iter().map(|(phase, hits)| format!("{phase}={hits}")).collect();
    report::line(format_args!("phases hit: {}", phases.join(" ")));
    let done: Vec<String> =
        tally.done.iter().map(|(kind, count)| format!("{kind}={count}")).collect();
    report::line(format_args!("faults done: {}", done.join(" ")));
    for (kind, reason) in &tally.skipped {
        report::line(format_args!("skipped: {kind}: {reason}"));
    }
    report::line(format_args!(
        "takeovers after kills: {}, wipes: {}, corrupted state: {} (refused: {}), producers \
         fenced by successors: {fenced_by_successors}",
        tally.takeovers, tally.wipes, tally.corruptions, tally.refused_state,
    ));
}

fn input_missing(tally: &Tally, produced: &Produced, read: u64) -> Vec<String> {
    let mut missing = Vec::new();
    if tally.last_fault.is_none_or(|fault| fault >= produced.last) {
        missing.push("the input did not outlast the last fault".to_owned());
    }
    if read == 0 {
        missing.push("the checker read nothing".to_owned());
    }
    if read != produced.records {
        missing.push(format!("{} inputs produced, {read} read", produced.records));
    }
    missing
}

/// What was planned and did not happen.
fn unfulfilled(tally: &Tally, plan: &Plan) -> Vec<String> {
    let mut missing = Vec::new();
    for (kind, planned) in by_kind(&plan.faults) {
        let done = tally.done.get(kind).copied().unwrap_or(0);
        if done != planned && !tally.skipped.contains_key(kind) {
            missing.push(format!("{done} of {planned} {kind} happened"));
        }
    }
    if tally.in_open_transaction * 10 < tally.kills * 7 {
        missing.push(format!(
            "{} of {} kills met an open transaction, 70 % are asked for",
            tally.in_open_transaction, tally.kills
        ));
    }
    if plan.kills() > 0 {
        for phase in Phase::ALL {
            let hits = tally.phases.get(&phase).copied().unwrap_or(0);
            if hits < 2 {
                missing.push(format!("phase {phase} was hit {hits} times, twice is asked for"));
            }
        }
    }
    let with = |wanted: Aftermath| {
        let is =
            |fault: &&Fault| matches!(fault, Fault::Kill { aftermath, .. } if *aftermath == wanted);
        plan.faults.iter().filter(is).count() as u64
    };
    for (what, planned, done) in [
        ("takeovers", with(Aftermath::Takeover), tally.takeovers),
        ("wipes of a state directory", with(Aftermath::Wipe), tally.wipes),
        ("corruptions of a state directory", with(Aftermath::Corrupt), tally.corruptions),
    ] {
        if done != planned {
            missing.push(format!("{done} of {planned} {what}"));
        }
    }
    let refusable = ["zombie-session", "zombie-transaction", "zombie-both"];
    let expected: u64 = refusable.iter().filter_map(|kind| tally.done.get(kind)).sum();
    if tally.fenced < expected {
        missing.push(format!("{} of {expected} zombies were refused by the broker", tally.fenced));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::schedule::{Tier, Wish};

    fn plan() -> Plan {
        let tier = Tier::T1;
        let wish = Wish {
            tier,
            seed: 7,
            kills: tier.kills(),
            instances: 3,
            wipe_always: false,
            three_brokers: true,
        };
        Plan::make(wish)
    }

    fn fulfilled() -> Tally {
        Tally {
            done: by_kind(&plan().faults),
            kills: 20,
            in_open_transaction: 14,
            fenced: 3,
            wipes: 1,
            corruptions: 1,
            takeovers: unfulfilled(&Tally::default(), &plan())
                .iter()
                .find_map(|words| {
                    words.strip_suffix(" takeovers")?.rsplit(' ').next()?.parse().ok()
                })
                .unwrap_or(0),
            phases: Phase::ALL.into_iter().map(|phase| (phase, 2)).collect(),
            ..Tally::default()
        }
    }

    #[test]
    fn a_run_in_which_a_planned_fault_did_not_happen_is_invalid() {
        let missing = |change: fn(&mut Tally)| {
            let mut tally = fulfilled();
            change(&mut tally);
            unfulfilled(&tally, &plan())
        };
        assert_eq!(missing(|_| ()), Vec::<String>::new());
        assert_eq!(missing(|t| t.in_open_transaction = 13).len(), 1);
        assert_eq!(missing(|t| t.fenced = 2).len(), 1);
        assert_eq!(missing(|t| t.wipes = 0).len(), 1);
        assert_eq!(missing(|t| t.corruptions = 0).len(), 1);
        assert_eq!(missing(|t| t.takeovers += 1).len(), 1);
        assert_eq!(missing(|t| t.phases.retain(|phase, _| *phase != Phase::Seal)).len(), 1);
        assert_eq!(missing(|t| t.phases.values_mut().for_each(|hits| *hits = 1)).len(), 6);
        for kind in by_kind(&plan().faults).into_keys() {
            let mut tally = fulfilled();
            *tally.done.get_mut(kind).unwrap() -= 1;
            assert_eq!(unfulfilled(&tally, &plan()).len(), 1, "{kind}");
            tally.skipped.insert(kind, "not here".to_owned());
            assert_eq!(unfulfilled(&tally, &plan()).len(), 0, "{kind}, skipped with a word");
        }
    }

    #[test]
    fn input_that_ends_too_early_or_is_not_read_is_invalid() {
        let now = clock::now();
        let later = now + Duration::from_secs(1);
        let tally = Tally { last_fault: Some(now), ..Tally::default() };
        let input = |last, read| input_missing(&tally, &Produced { records: 5, last }, read).len();
        assert_eq!(input(later, 5), 0);
        assert_eq!(input(now, 5), 1, "it ended with the last fault");
        assert_eq!(input(later, 4), 1);
        assert_eq!(input(later, 0), 2, "the checker read nothing");
    }
}
