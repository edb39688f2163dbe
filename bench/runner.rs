//! `run`: workload after workload, then the table, the JSON and the picture.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    clock, launch,
    oracle::Wrong,
    picture, process, report,
    session::{Comparison, Session, Size},
    systems::Place,
    target::Target,
    workloads,
};

/// `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The broker.
    #[arg(long)]
    bootstrap: String,
    /// Its process.
    #[arg(long)]
    broker_pid: u32,
    /// Its log directory.
    #[arg(long)]
    broker_data: PathBuf,
    /// State and logs of runs.
    #[arg(long)]
    directory: PathBuf,
    /// The Kafka Streams program with its jars.
    #[arg(long)]
    peer: PathBuf,
    /// The tidemill binary, whose size is measured.
    #[arg(long)]
    tidemill: PathBuf,
    /// Where results are written.
    #[arg(long)]
    out: PathBuf,
    /// Everything in under five minutes on a quiet machine: one run each, small inputs.
    #[arg(long)]
    quick: bool,
    /// Only these workloads; may be repeated.
    #[arg(long = "workload", value_name = "W2")]
    workloads: Vec<String>,
    /// Records of a backlog.
    #[arg(long)]
    records: Option<u64>,
    /// Runs of each system.
    #[arg(long)]
    repetitions: Option<usize>,
    /// How long an idle machine is waited for before each run, in seconds (60; quick: 3).
    #[arg(long)]
    idle_wait: Option<u64>,
    /// Broker and driver on the first processor, each system under test on the second one.
    #[arg(long)]
    pin: bool,
}

/// A workload and how long it took.
#[derive(Debug, Serialize)]
struct Took {
    workload: &'static str,
    seconds: f64,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Results<'a> {
    version: &'static str,
    size: Size,
    machine: String,
    pinned: bool,
    /// Measurements, and those before which the machine was not idle.
    runs: usize,
    disturbed: usize,
    took: &'a [Took],
    invalid: &'a [String],
    wrong: &'a [String],
    targets: &'a [Target],
    comparisons: &'a [Comparison],
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    end_with_signals()?;
    let size = Size {
        quick: arguments.quick,
        records: arguments.records.unwrap_or(if arguments.quick { 1_500_000 } else { 5_000_000 }),
        repetitions: arguments.repetitions.unwrap_or(if arguments.quick { 1 } else { 5 }),
        paced_s: if arguments.quick { 6.0 } else { 40.0 },
        // With few records the JVM is cold for the larger part of them.
        warm: if arguments.quick { 0.6 } else { 0.4 },
        idle_wait_s: arguments.idle_wait.unwrap_or(if arguments.quick { 3 } else { 60 }),
    };
    fs::create_dir_all(&arguments.directory)?;
    if arguments.pin {
        launch::pin_driver(arguments.broker_pid)?;
    }
    let place = Place {
        bootstrap: arguments.bootstrap.clone(),
        broker_pid: arguments.broker_pid,
        broker_data: arguments.broker_data.clone(),
        directory: arguments.directory.canonicalize()?,
        peer: arguments.peer.clone(),
        program: std::env::current_exe()?,
        tidemill: arguments.tidemill.clone(),
        pinned: arguments.pin,
    };
    let mut session = Session::new(place, size)?;
    let (began, mut took) = (clock::now(), Vec::new());
    for workload in chosen(&arguments.workloads)? {
        report::line(format_args!("\n== {}: {}", workload.name, workload.about));
        let began = clock::now();
        if let Err(error) = (workload.run)(&mut session) {
            failed(&mut session, workload.name, &error);
        }
        took.push(Took { workload: workload.name, seconds: began.elapsed().as_secs_f64() });
    }
    conclude(&mut session, &took, began, &arguments.out)
}

/// A workload that did not come to its end; the others are measured all the same.
fn failed(session: &mut Session, workload: &str, error: &anyhow::Error) {
    let line = format!("{workload}: {error:#}");
    report::line(format_args!("  FAILED: {line}"));
    if error.downcast_ref::<Wrong>().is_some() {
        session.wrong.push(line);
    } else {
        session.invalid.push(line);
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static workloads::Workload>> {
    let known = || workloads::ALL.iter().map(|workload| workload.name);
    if let Some(unknown) = names.iter().find(|name| !known().any(|known| known == **name)) {
        bail!(
            "there is no workload {unknown}; there are {}",
            known().collect::<Vec<_>>().join(", ")
        );
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(workloads::ALL.iter().filter(|workload| wanted(workload.name)).collect())
}

/// Prints and writes what was found. A session that is INVALID passes and misses nothing.
fn conclude(session: &mut Session, took: &[Took], began: Instant, out: &Path) -> Result<ExitCode> {
    if !session.invalid.is_empty() {
        session.targets.iter_mut().for_each(Target::void);
    }
    let (runs, disturbed) = session.runs;
    let results = Results {
        version: env!("CARGO_PKG_VERSION"),
        size: session.size,
        machine: machine(),
        pinned: session.place.pinned,
        runs,
        disturbed,
        took,
        invalid: &session.invalid,
        wrong: &session.wrong,
        targets: &session.targets,
        comparisons: &session.comparisons,
    };
    fs::create_dir_all(out)?;
    fs::write(out.join("results.json"), serde_json::to_vec_pretty(&results)?)?;
    for theme in picture::THEMES {
        let name = format!("results-{}.svg", theme.name);
        fs::write(out.join(name), picture::draw(&session.comparisons, &session.targets, theme))?;
    }
    report::line("\nTargets");
    for target in &session.targets {
        report::line(target.line());
    }
    report::line(format_args!("\nwritten: {}/results.json, results-*.svg", out.display()));
    let times = took.iter().map(|took| format!("{} {:.0} s", took.workload, took.seconds));
    let times = times.collect::<Vec<_>>().join(", ");
    report::line(format_args!("took {:.0} s: {times}", began.elapsed().as_secs_f64()));
    report::line(format_args!("{disturbed} of {runs} runs began on a machine that was not idle"));
    for line in &session.wrong {
        report::line(format_args!("WRONG: {line}"));
    }
    for reason in &session.invalid {
        report::line(format_args!("INVALID: {reason}"));
    }
    // A wrong output is wrong on a slow machine too.
    Ok(ExitCode::from(match (session.wrong.is_empty(), session.invalid.is_empty()) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => 0,
    }))
}

/// Processor and kernel, as the kernel names them.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = cpus.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models.clone().next().unwrap_or_default().trim_start_matches([' ', '\t', ':']);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {model}, Linux {}", models.count(), kernel.trim())
}

/// Ends all children when this program is ended by SIGINT or SIGTERM.
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
            process::kill_all();
            std::process::exit(130);
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("no thread")?;
    Ok(())
}
