//! `tidemill-harness`: proves exactly-once from the outside, on real brokers with real processes.
//!
//! It starts the real `tidemill` binary, kills, stops and scales it, and looks at nothing but
//! topics, probes and logs. Exit codes: 0 shown, 1 not so, 2 the run proved nothing (INVALID).

mod broker_processes;
mod cgroup;
mod check;
mod clock;
mod cluster;
mod cold_start;
mod compare_state;
mod controls;
mod demo;
mod failpoint;
mod generate;
mod instance;
mod ledger;
mod ledger_run;
mod load;
mod memory_limit;
mod open_transaction;
mod outcome;
mod report;
mod restart_cost;
mod restore_speed;
mod status;
mod tail;
mod torture;
mod wire;
mod words;

use std::{process::ExitCode, thread};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::outcome::Outcome;

/// Proves exactly-once from the outside.
#[derive(Debug, Parser)]
#[command(name = "tidemill-harness", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Produce seeded transfers for the ledger.
    Generate(generate::Arguments),
    /// Check the ledger's topics: every posting, every output record.
    Check(check::Arguments),
    /// Run the ledger and kill it at will; then check.
    Torture(torture::Arguments),
    /// Break a guarantee at a time; the checker must see each.
    Controls(controls::Arguments),
    /// Count the words of a real text while instances are killed; compare with a plain count.
    Demo(demo::Arguments),
    /// Run the ledger, drain it, compare state directories with changelogs.
    CompareState(compare_state::Arguments),
    /// What a restart after SIGKILL replays, before and after a spill.
    RestartCost(restart_cost::Arguments),
    /// Seconds to the first committed output: cold, and after SIGKILL.
    ColdStart(cold_start::Arguments),
    /// State ten times `memory.limit`, in a cgroup that kills what is 15 % over it.
    MemoryLimit(memory_limit::Arguments),
    /// How fast state is restored, beside a raw consumer of the same changelog.
    RestoreSpeed(restore_speed::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = end_with_signals() {
        report::line(format_args!("INVALID: {error:#}"));
        return Outcome::Invalid.exit_code();
    }
    let outcome = match &arguments.command {
        Command::Generate(arguments) => generate::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Torture(arguments) => torture::run(arguments),
        Command::Controls(arguments) => controls::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::CompareState(arguments) => compare_state::run(arguments),
        Command::RestartCost(arguments) => restart_cost::run(arguments),
        Command::ColdStart(arguments) => cold_start::run(arguments),
        Command::MemoryLimit(arguments) => memory_limit::run(arguments),
        Command::RestoreSpeed(arguments) => restore_speed::run(arguments),
    };
    match outcome {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            report::line(format_args!("INVALID: {error:#}"));
            Outcome::Invalid.exit_code()
        }
    }
}

/// Ends all instances when the harness is ended by SIGINT or SIGTERM.
fn end_with_signals() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            instance::kill_all();
            torture::unmount_all();
            std::process::exit(130);
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("no thread")?;
    Ok(())
}
