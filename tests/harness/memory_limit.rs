//! MEM-1 where the kernel watches: state ten times `memory.limit`, in a cgroup that kills what is
//! 15 % over. Fill, touch at random, SIGKILL, restore without local state; never a kill.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{
    cgroup::MemoryCgroup,
    clock,
    cluster::Cluster,
    instance::Instance,
    ledger_run::Place,
    load::{Feed, Input, Load},
    outcome::Outcome,
    report,
    tail::Tail,
};

const LINES: &str = "lines";
const WORD_COUNTS: &str = "word-counts";
const PARTITIONS: i32 = 4;

/// Letters of a word: a key of the state.
const LETTERS: usize = 1_000;

/// What the process may take over the limit, in hundredths.
const OVER_PERCENT: u64 = 15;

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the restore of all of it may take.
const RESTORED: Duration = Duration::from_secs(900);

/// `memory-limit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// `memory.limit`, in MiB.
    #[arg(long, default_value_t = 128)]
    limit: u64,
    /// The state is so many times the limit.
    #[arg(long, default_value_t = 10)]
    times: u64,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let limit = arguments.limit << 20;
    let most = limit * (100 + OVER_PERCENT) / 100;
    let group = match MemoryCgroup::make(most) {
        Ok(group) => group,
        Err(reason) => {
            report::line(format_args!("SKIPPED: no memory cgroup is to be had here ({reason:#})"));
            return Ok(Outcome::Pass);
        }
    };
    let mut launch = arguments.place.launch("memory-limit", "word-count")?;
    launch.binary = inside(&group, &launch.binary, &launch.directory)?;
    launch.set("TIDEMILL_MEMORY__LIMIT", &format!("{}MiB", arguments.limit));
    launch.set("TIDEMILL_STATE__PURGE_REPARTITION_TOPICS", "true");
    launch.set("TIDEMILL_LOG__LEVEL", "info");
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    cluster.make_topic(LINES, PARTITIONS)?;
    cluster.make_topic(WORD_COUNTS, PARTITIONS)?;
    let words = limit * arguments.times / LETTERS as u64;
    report::line(format_args!(
        "{words} words of {LETTERS} letters under memory.limit {} MiB, killed above {} MiB",
        arguments.limit,
        most >> 20
    ));
    let tail = Tail::start(&cluster.again()?, WORD_COUNTS)?;
    let mut instance = Instance::new(&launch, 0)?;
    let mut run = Run { tail, peak: 0, committed: 0 };
    instance.start()?;
    instance.wait_ready(1)?;
    run.feed(&cluster, &mut instance, "filled", 0..words)?;
    // Those that are on disk by now come back, in no order.
    let again = (0..words / 20).map(move |n| n.wrapping_mul(7_919) % words);
    run.feed(&cluster, &mut instance, "touched at random", again)?;
    instance.kill()?;
    instance.wipe()?;
    let began = clock::now();
    instance.start()?;
    let ready = instance.wait_ready_within(0, RESTORED)?;
    let restored = ready.counter("restored_records");
    run.peak = run.peak.max(peak_bytes(&instance)?);
    report::line(format_args!(
        "restored {restored} records in {:.1} s, peak {} MiB",
        began.elapsed().as_secs_f64(),
        peak_bytes(&instance)? >> 20
    ));
    instance.drain()?;
    let kills = group.kills()?;
    report::line(format_args!(
        "memory.limit {} MiB, state {} MiB: peak resident {} MiB ({} %), {kills} kills",
        arguments.limit,
        (words * LETTERS as u64) >> 20,
        run.peak >> 20,
        run.peak * 100 / limit,
    ));
    if restored < words {
        report::line(format_args!("INVALID: {restored} of {words} words were restored"));
        return Ok(Outcome::Invalid);
    }
    Ok(Outcome::of(kills == 0 && run.peak <= most))
}

struct Run {
    tail: Tail,
    peak: u64,
    committed: u64,
}

impl Run {
    /// Feeds words and waits for their counts.
    fn feed(
        &mut self,
        cluster: &Cluster,
        instance: &mut Instance,
        what: &str,
        words: impl Iterator<Item = u64> + Send + Clone + 'static,
    ) -> Result<()> {
        let began = clock::now();
        let count = words.clone().count() as u64;
        let inputs = words.zip((0..PARTITIONS).cycle());
        let inputs = inputs.map(|(number, partition)| Input { partition, value: word(number) });
        let load = Load::start(Feed::open(cluster.bootstrap(), LINES)?, inputs, count, u64::MAX)?;
        self.committed += count;
        let (quiet, expected) = (Duration::from_millis(200), self.committed);
        let found = self.tail.wait(expected, quiet, PATIENCE, |_| {
            if let Some(status) = instance.ended()? {
                bail!("the instance ended with {status}:\n    {}", instance.log_tail());
            }
            Ok(())
        })?;
        load.finish()?;
        if found != expected {
            bail!("{found} of {expected} counts came:\n    {}", instance.log_tail());
        }
        let status = instance.status()?;
        let peak = peak_bytes(instance)?;
        self.peak = self.peak.max(peak);
        report::line(format_args!(
            "{what}: {count} words in {:.1} s, peak {} MiB, {} spills, {} waits",
            began.elapsed().as_secs_f64(),
            peak >> 20,
            status.counter("spills"),
            status.counter("memory_waits")
        ));
        Ok(())
    }
}

/// Word number `number`: its own in the first letters, the rest compresses by half.
fn word(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word: Vec<u8> =
        (0..16).map(|place| b'a' + ((number >> (4 * place)) & 15) as u8).collect();
    while word.len() < LETTERS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.extend((0..8).map(|byte| b'a' + ((state >> (8 * byte)) & 15) as u8));
    }
    word.truncate(LETTERS);
    word
}

/// A program that goes into the group and becomes the binary.
fn inside(group: &MemoryCgroup, binary: &Path, directory: &Path) -> Result<std::path::PathBuf> {
    let path = directory.join("tidemill-inside");
    let script = format!(
        "#!/bin/sh\necho $$ > '{}' && exec '{}' \"$@\"\n",
        group.entrance().display(),
        binary.display()
    );
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The most that the process ever had resident.
fn peak_bytes(instance: &Instance) -> Result<u64> {
    let pid = instance.pid().context("the instance does not run")?;
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kilobytes: u64 = kilobytes.context("no VmHWM")?.trim().parse()?;
    Ok(kilobytes * 1024)
}
