//! `tidemill-fault-proxy`: stands in front of Kafka's brokers and does what networks do.
//!
//! Prints the addresses that clients are to use, then follows commands from stdin, one per line
//! (`tidemill::testing::proxy::Command`), until `quit` or the end of stdin.

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use tidemill::testing::proxy::{Command, FaultProxy};

/// Stands in front of Kafka's brokers and does what networks do, as commands on stdin say:
///
/// arm APIS FAULT [NUMBER] [client=TEXT] [times=N] [skip=N] [permille=N], clear,
/// cut NODE [client=TEXT], heal, counts, nodes, quit.
///
/// FAULT is drop-request, drop-answer, delay MS, reset-request, reset-answer, hold MS (the broker
/// hears of it that long after the client gave up) or refuse CODE.
#[derive(Debug, Parser)]
#[command(name = "tidemill-fault-proxy", max_term_width = 100)]
struct Arguments {
    /// The brokers themselves.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap: String,
    /// Decides whom chances strike.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let proxy = FaultProxy::start(&arguments.bootstrap, arguments.seed)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", proxy.bootstrap())?;
    for line in io::stdin().lock().lines() {
        let answer = match Command::parse(&line?) {
            Ok(Command::Quit) => break,
            Ok(command) => command.apply(&proxy).unwrap_or_else(|error| error.to_string()),
            Err(error) => error.to_string(),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
