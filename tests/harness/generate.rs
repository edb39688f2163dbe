//! Produces seeded transfers.

use anyhow::{Result, bail};

use crate::{
    clock,
    cluster::Cluster,
    ledger_run::{self, TRANSFERS, TRANSFERS_PARTITIONS},
    load::{Feed, Load},
    outcome::Outcome,
    report::{self, Progress},
};

/// `generate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap: String,
    /// How many transfers.
    #[arg(long, default_value_t = 1_000_000)]
    transfers: u64,
    /// Between how many accounts.
    #[arg(long, default_value_t = 100_000)]
    accounts: u64,
    /// The same seed makes the same transfers.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Transfers per second [without it: as fast as the brokers take them].
    #[arg(long)]
    rate: Option<u64>,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cluster = Cluster::connect(&arguments.bootstrap)?;
    match cluster.partitions(TRANSFERS)? {
        Some(TRANSFERS_PARTITIONS) => {}
        Some(other) => bail!("{TRANSFERS} has {other} partitions, not {TRANSFERS_PARTITIONS}"),
        None => cluster.make_topic(TRANSFERS, TRANSFERS_PARTITIONS)?,
    }
    let started = clock::now();
    let feed = Feed::open(&arguments.bootstrap, TRANSFERS)?;
    let count = usize::try_from(arguments.transfers)?;
    let inputs = ledger_run::inputs(arguments.seed, arguments.accounts).take(count);
    let rate = arguments.rate.unwrap_or(u64::MAX);
    let load = Load::start(feed, inputs, arguments.transfers, rate)?;
    let mut progress = Progress::start();
    while !load.is_over() {
        progress.stand(|| format!("{} of {} transfers", load.sent(), arguments.transfers));
        clock::pause(std::time::Duration::from_millis(100));
    }
    progress.finish();
    let produced = load.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    report::line(format_args!(
        "{} transfers in {seconds:.1} s, {:.0} per second",
        produced.records,
        produced.records as f64 / seconds
    ));
    Ok(Outcome::of(produced.records == arguments.transfers))
}
