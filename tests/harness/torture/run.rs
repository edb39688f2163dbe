//! A run: load, instances behind the fault proxy, the planned faults one by one, the verdict.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tidemill::testing::proxy::FaultProxy;

use super::{
    fault::Fault,
    schedule::{KILLS_MIN, Plan, Tier, Wish},
    tally::Tally,
    verdict::{self, NotRecovered},
};
use crate::{
    broker_processes::BrokerProcesses,
    clock,
    cluster::Cluster,
    instance::{Fleet, READY},
    ledger_run::{self, BALANCES, Place, TASKS, TRANSFERS, Topics},
    load::{Feed, Load},
    outcome::Outcome,
    report::{self, Progress},
    status::Status,
    tail::Tail,
};

/// How long a thread may take to reach an armed failpoint.
pub(super) const REACH: Duration = Duration::from_secs(30);

/// A request without an answer is given up after this time, in place of the default of 10 s.
const SOCKET_TIMEOUT: &str = "3s";

/// A transaction call that takes longer costs its producer, in place of the default of 30 s.
const CALL_TIMEOUT: &str = "8s";

/// `torture`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// How much is tried: 0 takes minutes on one broker, 1 a dozen on three, 2 an hour.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    tier: u8,
    /// SIGKILLs of one instance [without it: as the tier has it].
    #[arg(long)]
    kills: Option<usize>,
    /// Seed of the schedule and of the input.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Instances.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..6))]
    instances: u8,
    /// Transfers, at the least: more are made while faults go on [without it: the tier's].
    #[arg(long)]
    transfers: Option<u64>,
    /// Accounts [without it: the tier's].
    #[arg(long)]
    accounts: Option<u64>,
    /// How long an epoch lasts.
    #[arg(long, default_value_t = 1_000, value_name = "MS")]
    epoch_interval: u64,
    /// Overlapping epochs [without it: the default of the settings].
    #[arg(long, value_name = "true|false")]
    pipelining: Option<bool>,
    /// Wipe the state directory at every kill.
    #[arg(long)]
    restore_wipe: bool,
    /// Afterwards, compare each task's state directory with its changelog.
    #[arg(long)]
    pub(super) compare_state: bool,
    /// Only the faults of these kinds, of the same plan (for example network,zombie-both).
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the brokers' processes are kept (`./dev kafka`); without it none is stopped.
    #[arg(long, value_name = "DIRECTORY", requires = "dev")]
    kafka_dir: Option<PathBuf>,
    /// The `./dev` that starts and stops them.
    #[arg(long, value_name = "SCRIPT")]
    dev: Option<PathBuf>,
    /// Write a report of the run (Markdown) into this file.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

impl Arguments {
    fn tier(&self) -> Tier {
        match self.tier {
            0 => Tier::T0,
            1 => Tier::T1,
            _ => Tier::T2,
        }
    }

    /// The run in words, for the report.
    pub(super) fn title(&self) -> String {
        format!("tier {}, seed {}, epochs of {} ms", self.tier, self.seed, self.epoch_interval)
    }

    fn plan(&self, three_brokers: bool) -> Plan {
        let tier = self.tier();
        let mut plan = Plan::make(Wish {
            tier,
            seed: self.seed,
            kills: self.kills.unwrap_or(tier.kills()),
            instances: usize::from(self.instances),
            wipe_always: self.restore_wipe,
            three_brokers,
        });
        if !self.only.is_empty() {
            plan.faults.retain(|fault| self.only.iter().any(|kind| kind == fault.kind()));
        }
        plan
    }
}

/// A run in progress.
pub(super) struct Torture {
    pub(super) cluster: Cluster,
    pub(super) topics: Topics,
    pub(super) fleet: Fleet,
    /// Until it is finished.
    pub(super) load: Option<Load>,
    pub(super) tail: Tail,
    pub(super) tally: Tally,
    pub(super) progress: Progress,
    pub(super) epoch: Duration,
    pub(super) proxy: FaultProxy,
    pub(super) brokers: Option<BrokerProcesses>,
    /// What is not in the plan: which bytes are corrupted, which partition's leader is meant.
    pub(super) random: fastrand::Rng,
    /// Instances whose state was corrupted: they may end when they meet it.
    pub(super) damaged: BTreeSet<usize>,
    /// How many instances there are between faults.
    pub(super) instances: usize,
    pub(super) directory: PathBuf,
    pub(super) started: Instant,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    if arguments.kills.is_some_and(|kills| kills < KILLS_MIN) {
        bail!("with fewer than {KILLS_MIN} kills not every phase is hit twice");
    }
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    let brokers = match (&arguments.dev, &arguments.kafka_dir) {
        (Some(dev), Some(directory)) => BrokerProcesses::of(dev, directory)?,
        _ => None,
    };
    let plan = arguments.plan(brokers.is_some());
    report::line(format_args!("schedule, seed {}:", arguments.seed));
    for (number, fault) in plan.faults.iter().enumerate() {
        report::line(format_args!("  {:>2}. {fault}", number + 1));
    }
    let mut torture = Torture::start(arguments, cluster, brokers, &plan)?;
    let carried_out = torture.carry_out_all(&plan);
    carried_out
        .and_then(|()| verdict::conclude(&mut torture, arguments, &plan))
        .or_else(|error| verdict::broken_off(&torture, arguments, &plan, &error))
}

/// What the proxy does to requests, one line each, beside the instances' logs.
fn log_proxy(directory: &Path) -> Result<()> {
    let log = File::create(directory.join("proxy.log"))?;
    // Set already: by an earlier run of this process, whose file then goes on.
    let _set = tracing_subscriber::fmt()
        .with_env_filter("tidemill::testing::proxy=info")
        .with_ansi(false)
        .with_writer(log)
        .try_init();
    Ok(())
}

impl Torture {
    fn start(
        arguments: &Arguments,
        cluster: Cluster,
        brokers: Option<BrokerProcesses>,
        plan: &Plan,
    ) -> Result<Self> {
        let mut launch = arguments.place.launch("torture", "ledger")?;
        log_proxy(&launch.directory)?;
        let proxy = FaultProxy::start(&arguments.place.bootstrap, arguments.seed)?;
        proxy.bootstrap().clone_into(&mut launch.bootstrap);
        launch.set("TIDEMILL_EPOCH__INTERVAL", &format!("{}ms", arguments.epoch_interval));
        launch.set("TIDEMILL_KAFKA__SOCKET_TIMEOUT", SOCKET_TIMEOUT);
        launch.set("TIDEMILL_KAFKA__CALL_TIMEOUT", CALL_TIMEOUT);
        // Often enough that a full disk is met.
        launch.set("TIDEMILL_STATE__SPILL_INTERVAL", "3s");
        if let Some(pipelining) = arguments.pipelining {
            launch.set("TIDEMILL_EPOCH__PIPELINING", &pipelining.to_string());
        }
        report::line(format_args!("logs and state: {}", launch.directory.display()));
        let topics = Topics::make(&cluster, &launch.application)?;
        let (transfers, accounts) = arguments.tier().input();
        let transfers = arguments.transfers.unwrap_or(transfers);
        let rate = transfers / plan.duration().as_secs().max(1);
        let instances = usize::from(arguments.instances);
        let mut fleet = Fleet::new(&launch, instances)?;
        fleet.start()?;
        let tail = Tail::start(&cluster.again()?, BALANCES)?;
        let feed = Feed::open(cluster.bootstrap(), TRANSFERS)?;
        let inputs = ledger_run::inputs(arguments.seed, arguments.accounts.unwrap_or(accounts));
        let load = Load::start(feed, inputs, transfers, rate.clamp(100, 4_000))?;
        Ok(Self {
            cluster,
            topics,
            fleet,
            load: Some(load),
            tail,
            tally: Tally::default(),
            progress: Progress::start(),
            epoch: Duration::from_millis(arguments.epoch_interval),
            proxy,
            brokers,
            random: fastrand::Rng::with_seed(!arguments.seed),
            damaged: BTreeSet::new(),
            instances,
            directory: launch.directory,
            started: clock::now(),
        })
    }

    fn carry_out_all(&mut self, plan: &Plan) -> Result<()> {
        self.fleet.wait_ready(2)?;
        self.check_all_owned()?;
        for (number, fault) in plan.faults.iter().enumerate() {
            let name = format!("fault {}: {fault}", number + 1);
            self.carry_out(*fault, number + 1).with_context(|| name)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, fault: Fault, number: usize) -> Result<()> {
        if self.load.as_ref().is_none_or(Load::is_over) {
            bail!("the load has ended before the last fault");
        }
        self.progress.event(format_args!("{number}. {fault}"));
        let done = match fault {
            Fault::Kill { victim, moment, after, aftermath } => {
                self.kill(victim, moment, after, aftermath).map(|()| true)
            }
            Fault::KillTogether { first, count } => self.kill_together(first, count).map(|()| true),
            Fault::Zombie { victim, sleep } => self.zombie(victim, sleep).map(|()| true),
            Fault::Hijack { victim, lane } => self.hijack(victim, lane).map(|()| true),
            Fault::Freeze { victim, point, time } => {
                self.freeze(victim, point, time).map(|()| true)
            }
            Fault::Broker { role, away } => self.kill_broker(role, away).map(|()| true),
            Fault::RollBrokers => self.roll_brokers().map(|()| true),
            Fault::RollWorkers => self.roll_workers().map(|()| true),
            Fault::Cut { victim, broker, time } => self.cut(victim, broker, time).map(|()| true),
            Fault::Scale { survivor } => self.scale(survivor).map(|()| true),
            Fault::Rescale { survivor, to } => self.rescale(survivor, to).map(|()| true),
            Fault::DiskFull { victim } => self.fill_disk(victim),
            Fault::SlowRestore { victim } => self.slow_restore(victim).map(|()| true),
            Fault::Network { victim, api, fault, restart } => {
                self.network(victim, api, fault, restart).map(|()| true)
            }
        }?;
        if done {
            self.tally.over(fault.kind());
        }
        self.stand()
    }

    fn stand(&mut self) -> Result<()> {
        let sent = self.load.as_ref().map_or(0, Load::sent);
        let committed = self.tail.count();
        let faults = self.tally.faults();
        self.progress
            .stand(|| format!("{sent} transfers in, {committed} balances out, {faults} faults"));
        self.replace_damaged()?;
        self.fleet.check_alive().context(NotRecovered)
    }

    /// Waits until an instance works; one that ended is started again, as a supervisor would.
    pub(super) fn settle(&mut self, number: usize) -> Result<()> {
        let (progress, tally) = (&self.progress, &mut self.tally);
        let victim = self.fleet.get(number)?;
        let name = victim.name().to_owned();
        clock::wait_for(&format!("{name} to work again"), READY, || {
            if let Some(status) = victim.ended()? {
                let last = victim.log_tail();
                let last = last.lines().last().unwrap_or_default().trim();
                progress.event(format_args!("  {name} ended with {status}: {last}"));
                tally.ended += 1;
                victim.start()?;
            }
            Ok(victim.is_ready().then_some(()))
        })
        .with_context(|| victim.log_tail())
        .context(NotRecovered)
    }

    pub(super) fn check_all_owned(&mut self) -> Result<()> {
        self.check_owned_without(usize::MAX)
    }

    /// Waits until all tasks run and have committed, on other instances than `absent`.
    pub(super) fn check_owned_without(&mut self, absent: usize) -> Result<()> {
        let mut before: Option<u64> = None;
        let mut seen = String::new();
        let fleet = &mut self.fleet;
        clock::wait_for("all tasks to run", READY, || {
            let others = fleet.instances.iter_mut().enumerate();
            let statuses: Vec<_> = others
                .filter(|(number, instance)| *number != absent && instance.is_running())
                .filter_map(|(_, instance)| instance.status().ok())
                .collect();
            let running: usize = statuses.iter().map(Status::running).sum();
            let waiting = statuses.iter().flat_map(|status| &status.tasks);
            seen = waiting
                .filter(|task| task.phase != "running")
                .map(|task| format!("{} {}", task.task, task.phase))
                .collect::<Vec<_>>()
                .join(", ");
            if running < TASKS {
                before = None;
                return Ok(None);
            }
            let epochs = statuses.iter().map(|status| status.counter("epochs_committed")).sum();
            let base = *before.get_or_insert(epochs);
            Ok((epochs > base + 2).then_some(()))
        })
        .with_context(|| format!("not running: {seen}"))
        .context(NotRecovered)
    }
}
