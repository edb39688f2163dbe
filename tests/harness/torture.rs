//! The ledger on real Kafka, killed at will while load runs; then the checker's verdict.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    clock,
    cluster::Cluster,
    compare_state,
    failpoint::{Action, Phase, Point},
    faults::{Aftermath, Fault, KILLS_MIN, Moment, Plan},
    instance::Fleet,
    ledger_run::{self, BALANCES, Place, SESSION, TASKS, TRANSFERS, Topics},
    load::{Feed, Load},
    open_transaction,
    outcome::Outcome,
    report::{self, Progress},
    status::Status,
    tail::Tail,
};

/// How long a thread may take to reach an armed failpoint.
const REACH: Duration = Duration::from_secs(30);

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the broker says to a zombie.
const REFUSALS: [&str; 6] = [
    "ILLEGAL_GENERATION",
    "UNKNOWN_MEMBER_ID",
    "FENCED_INSTANCE_ID",
    "PRODUCER_FENCED",
    "INVALID_PRODUCER_EPOCH",
    "_FENCED",
];

/// `torture`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// SIGKILLs.
    #[arg(long, default_value_t = 30)]
    kills: usize,
    /// Seed of the schedule and of the input.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Instances.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..10))]
    instances: u8,
    /// Transfers, at the least: more are made while faults go on.
    #[arg(long, default_value_t = 1_000_000)]
    transfers: u64,
    /// Accounts.
    #[arg(long, default_value_t = 100_000)]
    accounts: u64,
    /// How long an epoch lasts.
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    epoch_interval: u64,
    /// Wipe the state directory at every kill.
    #[arg(long)]
    restore_wipe: bool,
    /// Afterwards, compare each task's state directory with its changelog.
    #[arg(long)]
    compare_state: bool,
}

/// What the faults came to.
#[derive(Default)]
struct Tally {
    kills: u64,
    in_open_transaction: u64,
    zombies: u64,
    fenced: u64,
    scales: u64,
    wipes: u64,
    takeovers: u64,
    phases: BTreeMap<Phase, u64>,
    last_fault: Option<Instant>,
}

struct Torture {
    cluster: Cluster,
    topics: Topics,
    fleet: Fleet,
    load: Load,
    tail: Tail,
    tally: Tally,
    progress: Progress,
    epoch: Duration,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    if arguments.kills < KILLS_MIN {
        bail!("with fewer than {KILLS_MIN} kills not every phase is hit twice");
    }
    let instances = usize::from(arguments.instances);
    let plan = Plan::make(arguments.seed, arguments.kills, instances, arguments.restore_wipe);
    report::line(format_args!("schedule, seed {}:", arguments.seed));
    for (number, fault) in plan.faults.iter().enumerate() {
        report::line(format_args!("  {:>2}. {fault}", number + 1));
    }
    let mut launch = arguments.place.launch("torture", "ledger")?;
    launch.set("TIDEMILL_EPOCH__INTERVAL", &format!("{}ms", arguments.epoch_interval));
    report::line(format_args!("logs and state: {}", launch.directory.display()));

    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    let topics = Topics::make(&cluster, &launch.application)?;
    let rate = arguments.transfers / plan.duration().as_secs().max(1);
    let mut fleet = Fleet::new(&launch, instances)?;
    fleet.start()?;
    let tail = Tail::start(&cluster.again()?, BALANCES)?;
    let feed = Feed::open(cluster.bootstrap(), TRANSFERS)?;
    let inputs = ledger_run::inputs(arguments.seed, arguments.accounts);
    let load = Load::start(feed, inputs, arguments.transfers, rate.max(100))?;
    let progress = Progress::start();
    let epoch = Duration::from_millis(arguments.epoch_interval);
    let tally = Tally::default();
    let mut torture = Torture { cluster, topics, fleet, load, tail, tally, progress, epoch };
    torture.fleet.wait_ready(2)?;
    torture.check_all_owned()?;
    for fault in &plan.faults {
        torture.carry_out(*fault).with_context(|| format!("fault: {fault}"))?;
    }
    torture.conclude(arguments, &plan, &launch.directory)
}

impl Torture {
    fn carry_out(&mut self, fault: Fault) -> Result<()> {
        if self.load.is_over() {
            bail!("the load has ended before the last fault");
        }
        self.progress.event(fault);
        match fault {
            Fault::Kill { victim, moment, after, aftermath } => {
                self.kill(victim, moment, after, aftermath)
            }
            Fault::Zombie { victim } => self.zombie(victim),
            Fault::Scale { survivor } => self.scale(survivor),
        }?;
        self.stand()
    }

    fn stand(&mut self) -> Result<()> {
        let (sent, committed) = (self.load.sent(), self.tail.count());
        let kills = self.tally.kills;
        self.progress
            .stand(|| format!("{sent} transfers in, {committed} balances out, {kills} kills"));
        self.fleet.check_alive()
    }

    fn kill(
        &mut self,
        number: usize,
        moment: Moment,
        after: Duration,
        aftermath: Aftermath,
    ) -> Result<()> {
        let victim = self.fleet.get(number)?;
        victim.wait_ready(2)?;
        clock::pause(after);
        let status = victim.status()?;
        let phase = match moment {
            Moment::Random => {
                victim.kill()?;
                victim.failpoints().last_point().and_then(Point::phase)
            }
            Moment::InTransaction => {
                clock::wait_for("a transaction of the victim", REACH, || {
                    let open = open_transaction::in_output(&self.cluster, &status)?;
                    Ok(open.unwrap_or(true).then_some(()))
                })?;
                clock::pause(after / 40);
                victim.kill()?;
                victim.failpoints().last_point().and_then(Point::phase)
            }
            Moment::At(point) => {
                victim.failpoints().arm(point, Action::Kill)?;
                victim.reap(&format!("killed {}", point.name()), REACH)?;
                if !victim.failpoints().hit(point) {
                    bail!("{} ended without reaching {}", victim.name(), point.name());
                }
                victim.failpoints().disarm();
                point.phase()
            }
        };
        self.tally.kills += 1;
        self.tally.last_fault = Some(clock::now());
        if let Some(phase) = phase {
            *self.tally.phases.entry(phase).or_default() += 1;
        }
        let open =
            open_transaction::of_victim(&self.cluster, &self.topics, Some(&status), self.epoch)?;
        self.tally.in_open_transaction += u64::from(open.is_some());
        let phase = phase.map_or("between epochs".to_owned(), |phase| phase.to_string());
        let open = open.map_or("no transaction open".to_owned(), |at| format!("open at {at}"));
        self.progress.event(format_args!("  killed in phase {phase}, {open}"));
        self.follow(number, aftermath)
    }

    fn follow(&mut self, number: usize, aftermath: Aftermath) -> Result<()> {
        match aftermath {
            Aftermath::Restart => {}
            Aftermath::Takeover => {
                clock::pause(SESSION);
                self.check_all_owned().context("takeover")?;
                self.tally.takeovers += 1;
            }
            Aftermath::Wipe => {
                self.fleet.get(number)?.wipe()?;
                self.tally.wipes += 1;
            }
        }
        self.fleet.get(number)?.start()
    }

    /// Stopped right before it sends its offsets, woken once others have what it had.
    fn zombie(&mut self, number: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let victim = self.fleet.get(number)?;
        victim.failpoints().arm(Point::BeforeSendOffsets, Action::Stop)?;
        let failpoints = victim.failpoints().clone();
        clock::wait_for("the zombie to be stopped", REACH, || {
            Ok(failpoints.hit(Point::BeforeSendOffsets).then_some(()))
        })?;
        let heard = victim.log().len();
        clock::pause(SESSION);
        self.check_owned_without(number).context("takeover from the zombie")?;
        let progress = &self.progress;
        let victim = self.fleet.get(number)?;
        victim.signal("CONT")?;
        self.tally.zombies += 1;
        let refusal = clock::wait_for("the broker's refusal in the zombie's log", REACH, || {
            let log = victim.log();
            let new = log.get(heard..).unwrap_or_default();
            let refused = |line: &&str| REFUSALS.iter().any(|word| line.contains(word));
            Ok(new.lines().find(refused).map(str::to_owned))
        })
        .with_context(|| victim.log_tail())?;
        progress.event(format_args!("  refused: {}", refusal.trim()));
        self.tally.fenced += 1;
        victim.failpoints().disarm();
        self.tally.last_fault = Some(clock::now());
        // It may rejoin, or end and be started again as a supervisor would.
        clock::pause(Duration::from_secs(1));
        clock::wait_for("the refused zombie to work again", crate::instance::READY, || {
            if let Some(status) = victim.ended()? {
                progress.event(format_args!("  the zombie ended with {status}; started again"));
                victim.start()?;
            }
            Ok(victim.is_ready().then_some(()))
        })
    }

    fn scale(&mut self, survivor: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let others: Vec<usize> =
            (0..self.fleet.instances.len()).filter(|number| *number != survivor).collect();
        for number in &others {
            self.fleet.get(*number)?.drain()?;
        }
        self.check_all_owned().context("scaled to one")?;
        for number in &others {
            self.fleet.get(*number)?.start()?;
        }
        self.fleet.wait_ready(2)?;
        self.check_all_owned().context("scaled back")?;
        self.tally.scales += 1;
        self.tally.last_fault = Some(clock::now());
        Ok(())
    }

    fn check_all_owned(&mut self) -> Result<()> {
        self.check_owned_without(usize::MAX)
    }

    /// Waits until all tasks run and have committed, on other instances than `absent`.
    fn check_owned_without(&mut self, absent: usize) -> Result<()> {
        let mut before: Option<u64> = None;
        let fleet = &mut self.fleet;
        clock::wait_for("all tasks to run", crate::instance::READY, || {
            let others = fleet.instances.iter_mut().enumerate();
            let statuses: Vec<_> = others
                .filter(|(number, instance)| *number != absent && instance.is_running())
                .filter_map(|(_, instance)| instance.status().ok())
                .collect();
            let running: usize = statuses.iter().map(Status::running).sum();
            if running < TASKS {
                before = None;
                return Ok(None);
            }
            let epochs = statuses.iter().map(|status| status.counter("epochs_committed")).sum();
            let base = *before.get_or_insert(epochs);
            Ok((epochs > base + 2).then_some(()))
        })
    }

    fn conclude(
        mut self,
        arguments: &Arguments,
        plan: &Plan,
        directory: &std::path::Path,
    ) -> Result<Outcome> {
        // Load goes on behind the last fault, too.
        clock::pause(Duration::from_secs(1));
        self.progress.event("faults are over; the rest of the input follows");
        let produced = self.load.finish()?;
        let expected = 2 * produced.records;
        let (tail, fleet, progress) = (&self.tail, &mut self.fleet, &mut self.progress);
        let committed = tail.wait(expected, Duration::from_secs(2), PATIENCE, |count| {
            progress.stand(|| format!("{count} of {expected} balances out"));
            fleet.check_alive()
        })?;
        progress.event(format_args!("{committed} of {expected} balances committed; draining"));
        let rebalanced = fleet.statuses().len();
        fleet.drain()?;
        progress.finish();
        let (findings, examples) = self.topics.check(&self.cluster)?;
        examples.iter().for_each(report::line);

        let tally = &self.tally;
        let mut missing = unfulfilled(tally, plan, arguments.kills as u64);
        if tally.last_fault.is_none_or(|fault| fault >= produced.last) {
            missing.push("the input did not outlast the last fault".to_owned());
        }
        if findings.inputs != produced.records {
            missing.push(format!("{} inputs produced, {} read", produced.records, findings.inputs));
        }
        if rebalanced != self.fleet.instances.len() {
            missing.push(format!("{rebalanced} instances ran at the end"));
        }
        let phases: Vec<String> =
            tally.phases.iter().map(|(phase, hits)| format!("{phase}={hits}")).collect();
        report::line(format_args!("phases hit: {}", phases.join(" ")));
        report::line(format_args!(
            "takeovers after kills: {}, wipes: {}, scale 3-1-3: {}, producers fenced by \
             successors: {}",
            tally.takeovers,
            tally.wipes,
            tally.scales,
            self.fleet.total("takeovers")
        ));
        let mut outcome = Outcome::of(findings.is_clean());
        if arguments.compare_state {
            let compared = compare_state::of(&self.cluster, &self.topics, directory)?;
            outcome = if compared { outcome } else { Outcome::Fail };
        }
        report::line(format_args!(
            "inputs={} outputs={} kills={} in_open_txn={} zombies={} fenced={} rebalances={} \
             {findings}",
            findings.inputs,
            findings.outputs,
            tally.kills,
            tally.in_open_transaction,
            tally.zombies,
            tally.fenced,
            self.fleet.total("rebalances"),
        ));
        if outcome == Outcome::Pass && !missing.is_empty() {
            outcome = Outcome::Invalid;
        }
        for what in missing {
            report::line(format_args!("INVALID: {what}"));
        }
        Ok(outcome)
    }
}

/// What was planned and did not happen.
fn unfulfilled(tally: &Tally, plan: &Plan, kills: u64) -> Vec<String> {
    let mut missing = Vec::new();
    let planned = plan.kills() as u64;
    if tally.kills != planned || tally.kills < kills {
        missing.push(format!("{} of {planned} kills happened", tally.kills));
    }
    if tally.in_open_transaction * 10 < tally.kills * 7 {
        missing.push(format!(
            "{} of {} kills met an open transaction, 70 % are asked for",
            tally.in_open_transaction, tally.kills
        ));
    }
    for phase in Phase::ALL {
        let hits = tally.phases.get(&phase).copied().unwrap_or(0);
        if hits < 2 {
            missing.push(format!("phase {phase} was hit {hits} times, twice is asked for"));
        }
    }
    for (what, count) in [
        ("zombie stopped and woken", tally.zombies),
        ("zombie refused by the broker", tally.fenced),
        ("scale down and up", tally.scales),
        ("wipe of a state directory", tally.wipes),
    ] {
        if count == 0 {
            missing.push(format!("no {what}"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fulfilled() -> Tally {
        Tally {
            kills: 30,
            in_open_transaction: 21,
            zombies: 1,
            fenced: 1,
            scales: 1,
            wipes: 1,
            takeovers: 0,
            phases: Phase::ALL.into_iter().map(|phase| (phase, 2)).collect(),
            last_fault: None,
        }
    }

    #[test]
    fn a_run_in_which_a_planned_fault_did_not_happen_is_invalid() {
        let plan = Plan::make(7, 30, 3, false);
        let missing = |change: fn(&mut Tally)| {
            let mut tally = fulfilled();
            change(&mut tally);
            unfulfilled(&tally, &plan, 30)
        };
        assert_eq!(missing(|_| ()), Vec::<String>::new());
        assert_eq!(missing(|t| t.kills = 29).len(), 1);
        assert_eq!(missing(|t| t.in_open_transaction = 20).len(), 1);
        assert_eq!(missing(|t| t.zombies = 0).len(), 1);
        assert_eq!(missing(|t| t.fenced = 0).len(), 1);
        assert_eq!(missing(|t| t.scales = 0).len(), 1);
        assert_eq!(missing(|t| t.wipes = 0).len(), 1);
        assert_eq!(missing(|t| t.phases.retain(|phase, _| *phase != Phase::Seal)).len(), 1);
        assert_eq!(missing(|t| t.phases.values_mut().for_each(|hits| *hits = 1)).len(), 6);
    }
}
