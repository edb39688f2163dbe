//! `tidemill-bench`: Tidemill beside librdkafka's limits and Kafka Streams, on one local broker.
//!
//! `run` is the runner; each system under test is a child process of it, some of them this very
//! program. Start at [`session`] for what is compared and [`run`] for how one run is measured.
//! Exit codes: 0 measured, 1 Tidemill's output was wrong, 2 INVALID: the session says nothing.

#[allow(dead_code)] // shared with the harness, which uses more of it
#[path = "../tests/harness/cgroup.rs"]
mod cgroup;
#[path = "../tests/harness/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../tests/harness/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../tests/harness/report.rs"]
mod report;

mod changelog;
mod input;
mod latency;
mod launch;
mod limits;
mod load;
mod oracle;
mod picture;
mod process;
mod progress;
mod quiet;
mod run;
mod runner;
mod schedule;
mod session;
mod stalls;
mod systems;
mod target;
mod topologies;
mod workloads;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tidemill beside librdkafka's limits and Kafka Streams.
#[derive(Debug, Parser)]
#[command(name = "tidemill-bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure and compare.
    Run(runner::Arguments),
    /// Be a rung of the limit ladder (started by `run`).
    Limit(limits::Arguments),
}

fn main() -> ExitCode {
    if let Some(code) = topologies::run() {
        return code;
    }
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => runner::run(&arguments),
        Command::Limit(arguments) => limits::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        report::line(format_args!("INVALID: {error:#}"));
        ExitCode::from(2)
    })
}
