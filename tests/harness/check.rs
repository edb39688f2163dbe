//! Checks the ledger's topics as an application left them.

use anyhow::Result;

use crate::{cluster::Cluster, ledger_run::Topics, outcome::Outcome, report};

/// `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap: String,
    /// The application id, by which its repartition topic and changelogs are named.
    #[arg(long, default_value = "ledger")]
    application: String,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cluster = Cluster::connect(&arguments.bootstrap)?;
    let (findings, examples) = Topics::of(&arguments.application).check(&cluster)?;
    examples.iter().for_each(report::line);
    report::line(format_args!(
        "inputs={} postings={} outputs={} {findings}",
        findings.inputs, findings.postings, findings.outputs
    ));
    Ok(Outcome::of(findings.is_clean()))
}
