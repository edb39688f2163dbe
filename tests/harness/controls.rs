//! Negative controls: a guarantee is broken on purpose, or the output is altered, and the same
//! checker must see it. A control that the checker passes is a failure of the proof.
//!
//! Each breakage is made certain by a directed failpoint, in one instance with long epochs: input
//! is drained, a burst follows, and the process dies at a known point of a known epoch.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{
    clock,
    cluster::{Cluster, Isolation},
    failpoint::{Action, Point},
    instance::Instance,
    ledger::Findings,
    ledger_run::{self, BALANCES, Output, Place, Topics},
    load::Input,
    outcome::Outcome,
    report,
    tail::Tail,
};

const ACCOUNTS: u64 = 200;
const WARM_UP: u64 = 4_000;
const BURST: u64 = 2_000;

/// Long enough to arm a failpoint within an epoch whose content is known.
const EPOCH: &str = "1s";

/// How long the process may take to reach its failpoint.
const REACH: Duration = Duration::from_secs(30);

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(15);

/// `controls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Only the controls whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Which epoch of the burst is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The one that reads the transfers and writes the postings.
    Transfers,
    /// The one that reads the postings and writes balances and state.
    Postings,
}

/// A guarantee that is broken.
struct Control {
    name: &'static str,
    variable: Option<(&'static str, &'static str)>,
    target: Target,
    point: Point,
    action: Action,
    wipe: bool,
}

/// Nothing is broken: the scenario itself must pass, or the controls show nothing.
const BASELINE: Control = Control {
    name: "nothing-broken",
    variable: None,
    target: Target::Postings,
    point: Point::BeforeCommit,
    action: Action::KillLater,
    wipe: true,
};

const CONTROLS: [Control; 4] = [
    // The outputs are committed, the offsets are not: the restart reads the transfers again.
    Control {
        name: "at-least-once",
        variable: Some(("TIDEMILL_EPOCH__GUARANTEE", "at-least-once")),
        target: Target::Transfers,
        point: Point::BeforeApply,
        action: Action::Kill,
        wipe: false,
    },
    // The offsets are committed, the transaction with the postings is not: they are lost.
    Control {
        name: "offsets-outside-transaction",
        variable: Some(("TIDEMILL_MUTANT", "offsets-outside-transaction")),
        target: Target::Transfers,
        point: Point::BeforeCommit,
        action: Action::KillLater,
        wipe: false,
    },
    // The image holds the aborted epoch: its postings are booked twice.
    Control {
        name: "state-before-commit",
        variable: Some(("TIDEMILL_MUTANT", "state-before-commit")),
        target: Target::Postings,
        point: Point::BeforeCommit,
        action: Action::KillLater,
        wipe: false,
    },
    // The restored state holds the aborted epoch: its postings are booked twice.
    Control {
        name: "changelog-read-uncommitted",
        variable: Some(("TIDEMILL_MUTANT", "changelog-read-uncommitted")),
        target: Target::Postings,
        point: Point::BeforeCommit,
        action: Action::KillLater,
        wipe: true,
    },
];

/// How the output is read, and what is then done to it.
type Alteration = (&'static str, Isolation, fn(&mut Vec<Output>));

const ALTERATIONS: [Alteration; 4] = [
    // The scenario leaves an aborted epoch behind.
    ("reader-uncommitted", Isolation::Uncommitted, |_| ()),
    ("output-deleted", Isolation::Committed, |outputs| {
        outputs.remove(outputs.len() / 2);
    }),
    ("output-doubled", Isolation::Committed, |outputs| {
        let middle = outputs.len() / 2;
        if let Some(output) = outputs.get(middle).cloned() {
            outputs.insert(middle, output);
        }
    }),
    ("output-swapped", Isolation::Committed, |outputs| {
        // Of one account: records of different accounts have no order.
        let account = outputs.first().map(|output| output.key.clone());
        let same = |output: &Output| Some(&output.key) == account.as_ref();
        if let Some(later) = outputs.iter().skip(1).position(same) {
            outputs.swap(0, later + 1);
        }
    }),
];

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    let wanted = |name: &str| name.contains(&arguments.only);
    let (mut caught, mut total) = (0, 0);

    let (topics, findings, note) = scenario(&BASELINE, arguments, &cluster)?;
    report::line(format_args!("{:<28} {findings}", BASELINE.name));
    if !findings.is_clean() {
        bail!("the scenario fails with nothing broken{}", note.map_or(String::new(), |n| n));
    }
    for (name, isolation, alter) in ALTERATIONS.into_iter().filter(|(name, ..)| wanted(name)) {
        let (findings, _) = topics.check_altered(&cluster, isolation, alter)?;
        judge(name, &findings, None, &mut caught);
        total += 1;
    }
    for control in CONTROLS.iter().filter(|control| wanted(control.name)) {
        let (_, findings, note) = scenario(control, arguments, &cluster)
            .with_context(|| format!("control {}", control.name))?;
        judge(control.name, &findings, note, &mut caught);
        total += 1;
    }
    report::line(format_args!("controls: {caught} / {total} caught"));
    Ok(if total == 0 { Outcome::Invalid } else { Outcome::of(caught == total) })
}

fn judge(name: &str, findings: &Findings, note: Option<String>, caught: &mut u32) {
    // A transaction left open is no evidence of what was broken.
    let seen = findings.violations() > findings.hanging_txn;
    *caught += u32::from(seen && !findings.is_clean());
    let word = if seen { "caught" } else { "NOT CAUGHT" };
    report::line(format_args!("{name:<28} {word}: {findings}{}", note.unwrap_or_default()));
}

/// One run; what the checker found, and what else there is to say.
fn scenario(
    control: &Control,
    arguments: &Arguments,
    cluster: &Cluster,
) -> Result<(Topics, Findings, Option<String>)> {
    let mut launch = arguments.place.launch(&format!("control-{}", control.name), "ledger")?;
    launch.set("TIDEMILL_EPOCH__INTERVAL", EPOCH);
    if let Some((name, value)) = control.variable {
        launch.set(name, value);
    }
    let topics = Topics::make(cluster, &launch.application)?;
    let tail = Tail::start(&cluster.again()?, BALANCES)?;
    let mut inputs = ledger_run::inputs(11, ACCOUNTS);
    let mut instance = Instance::new(&launch, 0)?;
    instance.start()?;
    instance.wait_ready(1)?;
    ledger_run::produce(cluster, &mut inputs, WARM_UP)?;
    let quiet = Duration::from_secs(2);
    if tail.wait(2 * WARM_UP, quiet, REACH, |_| Ok(()))? < 2 * WARM_UP {
        bail!("the warm-up was not processed:\n    {}", instance.log_tail());
    }

    burst(control, cluster, &topics, &mut inputs, &instance)?;
    instance.reap(control.point.name(), REACH)?;
    if !instance.failpoints().hit(control.point) {
        bail!("it ended without reaching {}:\n    {}", control.point.name(), instance.log_tail());
    }
    if control.wipe {
        instance.wipe()?;
    }
    instance.start()?;
    ledger_run::produce(cluster, &mut inputs, BURST)?;
    let expected = 2 * (WARM_UP + 2 * BURST);
    let waited = tail.wait(expected, quiet, PATIENCE, |_| match instance.ended()? {
        Some(status) => bail!("it ended with {status}: {}", last_line(&instance.log())),
        None => Ok(()),
    });
    let note = waited.err().map(|error| format!(" ({error})"));
    if instance.is_running() {
        instance.kill()?;
    }
    let (findings, _) = topics.check(cluster)?;
    Ok((topics, findings, note))
}

/// Produces the burst and arms the failpoint for the epoch that is meant.
fn burst(
    control: &Control,
    cluster: &Cluster,
    topics: &Topics,
    inputs: &mut dyn Iterator<Item = Input>,
    instance: &Instance,
) -> Result<()> {
    let arm = || instance.failpoints().arm(control.point, control.action);
    match control.target {
        Target::Transfers => {
            // Everything is drained: the next epoch is the one that reads the burst.
            arm()?;
            ledger_run::produce(cluster, inputs, BURST)
        }
        Target::Postings => {
            let visible = || -> Result<i64> {
                Ok(cluster.ends(&topics.postings())?.iter().map(|ends| ends.last_stable).sum())
            };
            let before = visible()?;
            ledger_run::produce(cluster, inputs, BURST)?;
            clock::wait_for("the burst's postings to be committed", REACH, || {
                Ok((visible()? > before).then_some(()))
            })?;
            arm()
        }
    }
}

fn last_line(log: &str) -> &str {
    log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default()
}
