//! What a restart after SIGKILL with its local state replays: all of the changelog before the
//! first spill, the unspilled tail after one.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    clock,
    cluster::Cluster,
    instance::{Instance, READY},
    ledger_run::{self, BALANCES, Place, Topics},
    load::Input,
    outcome::Outcome,
    report,
    tail::Tail,
};

/// After a spill at most this share of the changelog is replayed.
const REPLAYED_MAX_PERCENT: u64 = 10;

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// `restart-cost`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Transfers.
    #[arg(long, default_value_t = 200_000)]
    transfers: u64,
    /// Accounts.
    #[arg(long, default_value_t = 20_000)]
    accounts: u64,
}

struct Run {
    cluster: Cluster,
    topics: Topics,
    tail: Tail,
    instance: Instance,
    produced: u64,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut launch = arguments.place.launch("restart-cost", "ledger")?;
    launch.set("TIDEMILL_STATE__SPILL_INTERVAL", "1h");
    // Nothing is short: only the interval spills.
    launch.set("TIDEMILL_MEMORY__LIMIT", "8GiB");
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    let topics = Topics::make(&cluster, &launch.application)?;
    let tail = Tail::start(&cluster.again()?, BALANCES)?;
    let mut inputs = ledger_run::inputs(5, arguments.accounts);
    let instance = Instance::new(&launch, 0)?;
    let mut run = Run { cluster, topics, tail, instance, produced: 0 };
    run.instance.start()?;
    run.instance.wait_ready(1)?;
    run.process(&mut inputs, arguments.transfers)?;
    run.instance.set("TIDEMILL_STATE__SPILL_INTERVAL", "3s");
    let (replayed, size) = run.restart()?;
    report::line(format_args!("before a spill: {replayed} of {size} changelog records replayed"));

    run.process(&mut inputs, arguments.transfers / 2)?;
    run.spill()?;
    // The unspilled tail.
    run.process(&mut inputs, (arguments.transfers / 100).max(1))?;
    let (replayed, size) = run.restart()?;
    let percent = 100.0 * replayed as f64 / size.max(1) as f64;
    report::line(format_args!(
        "after a spill: {replayed} of {size} changelog records replayed ({percent:.1} %)"
    ));
    run.instance.drain()?;
    Ok(Outcome::of(size > 0 && replayed * 100 <= size * REPLAYED_MAX_PERCENT))
}

impl Run {
    fn process(&mut self, inputs: &mut dyn Iterator<Item = Input>, count: u64) -> Result<()> {
        ledger_run::produce(&self.cluster, inputs, count)?;
        self.produced += count;
        let expected = 2 * self.produced;
        let quiet = Duration::from_millis(200);
        let found = self.tail.wait(expected, quiet, PATIENCE, |_| Ok(()))?;
        if found != expected {
            let log = self.instance.log_tail();
            bail!("{found} of {expected} balances were committed:\n    {log}");
        }
        Ok(())
    }

    /// Waits until every task with state has been spilled since now.
    fn spill(&mut self) -> Result<()> {
        let spills =
            |instance: &mut Instance| -> Result<u64> { Ok(instance.status()?.counter("spills")) };
        let before = spills(&mut self.instance)?;
        let tasks = u64::try_from(ledger_run::POSTINGS_PARTITIONS)?;
        let instance = &mut self.instance;
        clock::wait_for("all tasks to be spilled", READY, || {
            let spilled = spills(instance)?;
            Ok((spilled >= before + tasks || before >= tasks).then_some(()))
        })?;
        // What was spilled is on its way to the disk, beside the stream thread.
        clock::pause(Duration::from_secs(4));
        Ok(())
    }

    /// SIGKILL and start: records replayed, and records in the changelog.
    fn restart(&mut self) -> Result<(u64, u64)> {
        self.instance.kill()?;
        let mut size = 0;
        for changelog in self.topics.changelogs(&self.cluster)? {
            size += ledger_run::count(&self.cluster, &changelog)?;
        }
        self.instance.start()?;
        let status = self.instance.wait_ready(0)?;
        Ok((status.counter("restored_records"), size))
    }
}
