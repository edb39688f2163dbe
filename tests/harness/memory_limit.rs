//! MEM-1 where the kernel watches: state ten times `memory.limit`, in a cgroup that kills what is
//! 15 % over. Fill, touch at random, SIGKILL, restore without local state; never a kill.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

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
    let mut run = Run { tail, watch: Watch::default(), committed: 0 };
    let ran = run.all(&cluster, &mut instance, words);
    let (kills, peak) = (group.kills()?, run.watch.peak);
    report::line(format_args!(
        "memory.limit {} MiB, state {} MiB: peak resident {} MiB ({} %), {kills} kills by the kernel",
        arguments.limit,
        (words * LETTERS as u64) >> 20,
        peak >> 20,
        peak * 100 / limit,
    ));
    report::line(format_args!("at the peak it held {}", run.watch.words()));
    match ran {
        // The kernel's verdict on the bound is one, whatever else came of it.
        Err(error) if kills > 0 => {
            report::line(format_args!("{error:#}"));
            Ok(Outcome::Fail)
        }
        Err(error) => Err(error),
        Ok(restored) if restored < words => {
            report::line(format_args!("INVALID: {restored} of {words} words were restored"));
            Ok(Outcome::Invalid)
        }
        Ok(_) => Ok(Outcome::of(kills == 0 && peak <= most)),
    }
}

/// The most that a process had resident, and what it said that it held then.
#[derive(Default)]
struct Watch {
    peak: u64,
    resident: u64,
    held: BTreeMap<String, u64>,
}

impl Watch {
    /// Looks at the process; its own words are asked for when it is larger than ever.
    fn look(&mut self, instance: &mut Instance) -> Result<()> {
        if let Some(status) = instance.ended()? {
            bail!("the instance ended with {status}:\n    {}", instance.log_tail());
        }
        let Ok((resident, peak)) = resident_bytes(instance) else { return Ok(()) };
        self.peak = self.peak.max(peak);
        if resident > self.resident {
            self.resident = resident;
            // Not before its port is open.
            if let Ok(status) = instance.status() {
                self.held = status.memory;
            }
        }
        Ok(())
    }

    fn words(&self) -> String {
        let large = self.held.iter().filter(|(_, bytes)| **bytes >> 20 > 0);
        let words: Vec<String> =
            large.map(|(what, bytes)| format!("{what} {} MiB", bytes >> 20)).collect();
        words.join(", ")
    }
}

struct Run {
    tail: Tail,
    watch: Watch,
    committed: u64,
}

impl Run {
    /// Fills, touches, kills, restores; gives the records that were restored.
    fn all(&mut self, cluster: &Cluster, instance: &mut Instance, words: u64) -> Result<u64> {
        instance.start()?;
        instance.wait_ready(1)?;
        self.feed(cluster, instance, "filled", 0..words)?;
        // Those that are on disk by now come back, in no order.
        let again = (0..words / 20).map(move |n| n.wrapping_mul(7_919) % words);
        self.feed(cluster, instance, "touched at random", again)?;
        instance.kill()?;
        instance.wipe()?;
        let began = clock::now();
        instance.start()?;
        clock::wait_for("the restore", RESTORED, || {
            self.watch.look(instance)?;
            Ok(instance.is_ready().then_some(()))
        })?;
        let restored = instance.status()?.counter("restored_records");
        let (seconds, peak) = (began.elapsed().as_secs_f64(), resident_bytes(instance)?.1);
        report::line(format_args!(
            "restored {restored} records in {seconds:.1} s ({:.1} MB/s), peak {} MiB",
            (restored * LETTERS as u64) as f64 / 1e6 / seconds,
            peak >> 20
        ));
        instance.drain()?;
        Ok(restored)
    }

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
        let watch = &mut self.watch;
        let found = self.tail.wait(expected, quiet, PATIENCE, |_| watch.look(instance))?;
        load.finish()?;
        if found != expected {
            bail!("{found} of {expected} counts came:\n    {}", instance.log_tail());
        }
        let status = instance.status()?;
        report::line(format_args!(
            "{what}: {count} words in {:.1} s, peak {} MiB, {} spills, {} waits",
            began.elapsed().as_secs_f64(),
            resident_bytes(instance)?.1 >> 20,
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

/// What the process has resident now, and the most that it ever had.
fn resident_bytes(instance: &Instance) -> Result<(u64, u64)> {
    let pid = instance.pid().context("the instance does not run")?;
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes: u64 = kilobytes.context("no resident memory")?.trim().parse()?;
        anyhow::Ok(kilobytes * 1024)
    };
    Ok((bytes("VmRSS:")?, bytes("VmHWM:")?))
}
