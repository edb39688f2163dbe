//! The demonstration: the words of a real text are counted while instances are killed, added and
//! stopped; then every count is compared with one taken directly from the text.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use rdkafka::Message;

use crate::{
    clock,
    cluster::{Cluster, Isolation, value},
    instance::{Fleet, Instance},
    ledger_run::{Place, SETTLE},
    load::{Feed, Input, Load},
    outcome::Outcome,
    report::{self, Progress},
    status::Status,
    tail::Tail,
    words,
};

const LINES: &str = "lines";
const WORD_COUNTS: &str = "word-counts";
const PARTITIONS: i32 = 6;
const INSTANCES: usize = 3;

/// No output for this long means that none will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the show goes on between two events.
const SCENE: Duration = Duration::from_secs(2);

/// `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The text; several files are one text.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text: Vec<PathBuf>,
    /// The text is repeated until it has at least so many words, and at least 200 times.
    #[arg(long, default_value_t = 1_000_000)]
    words: u64,
    /// SIGKILLs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..20))]
    kills: u64,
    /// The input is spread over about so many seconds; what is left after the last event is put in
    /// at once.
    #[arg(long, default_value_t = 40, value_name = "SECONDS")]
    spread: u64,
}

struct Demo {
    fleet: Fleet,
    load: Option<Load>,
    tail: Tail,
    progress: Progress,
    lines: u64,
    kills: u64,
    rate: Rate,
}

/// Records per second, between two looks.
struct Rate {
    at: std::time::Instant,
    count: u64,
    per_second: f64,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut text = String::new();
    for file in &arguments.text {
        text += &fs::read_to_string(file).with_context(|| file.display().to_string())?;
        text.push('\n');
    }
    let once = words::count(&text);
    let words_once: u64 = once.values().sum();
    if words_once == 0 {
        bail!("there are no words in {:?}", arguments.text);
    }
    let copies = arguments.words.div_ceil(words_once).max(200);
    let expected: BTreeMap<String, u64> =
        once.into_iter().map(|(word, count)| (word, count * copies)).collect();
    let total = words_once * copies;

    let mut launch = arguments.place.launch("demo", "word-count")?;
    launch.set("TIDEMILL_STATE__PURGE_REPARTITION_TOPICS", "true");
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    cluster.make_topic(LINES, PARTITIONS)?;
    cluster.make_topic(WORD_COUNTS, PARTITIONS)?;
    report::line(format_args!(
        "{copies} copies of {}: {total} words, {} different ones; logs: {}",
        arguments.text.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(" "),
        expected.len(),
        launch.directory.display()
    ));
    let mut fleet = Fleet::new(&launch, INSTANCES)?;
    fleet.start()?;
    let tail = Tail::start(&cluster.again()?, WORD_COUNTS)?;
    let text: Vec<String> = text.lines().map(str::to_owned).collect();
    let lines = text.len() as u64 * copies;
    let load = Load::start(
        Feed::open(cluster.bootstrap(), LINES)?,
        inputs(text, copies),
        lines,
        lines / arguments.spread.max(1),
    )?;
    let rate = Rate { at: clock::now(), count: 0, per_second: 0.0 };
    let progress = Progress::start();
    let load = Some(load);
    let mut demo = Demo { fleet, load, tail, progress, lines, kills: 0, rate };
    let outlasted = demo.play(&launch, arguments.kills)?;
    demo.conclude(&cluster, &expected, total, outlasted)
}

/// The lines of all copies, spread over the partitions.
fn inputs(text: Vec<String>, copies: u64) -> impl Iterator<Item = Input> + Send + 'static {
    let lines = (0..copies).flat_map(move |_| text.clone());
    lines
        .zip((0..PARTITIONS).cycle())
        .map(|(line, partition)| Input { partition, value: line.into_bytes() })
}

impl Demo {
    /// All events; whether there was still input at the last kill.
    fn play(&mut self, launch: &crate::instance::Launch, kills: u64) -> Result<bool> {
        self.fleet.wait_ready(1)?;
        let ready = format!("{INSTANCES} instances are ready");
        self.progress.event(ready);
        self.show(SCENE)?;
        let mut outlasted = true;
        for kill in 0..kills {
            let number = (usize::try_from(kill)? + 1) % INSTANCES;
            let victim = self.fleet.get(number)?;
            victim.kill()?;
            self.kills += 1;
            outlasted = self.sent() < self.lines;
            self.progress.event(format_args!("SIGKILL to i{number}"));
            self.show(SCENE / 2)?;
            self.fleet.get(number)?.start()?;
            self.fleet.get(number)?.wait_ready(1)?;
            self.progress.event(format_args!("i{number} was started again and works"));
            self.show(SCENE)?;
        }
        let mut added = Instance::new(launch, INSTANCES)?;
        added.start()?;
        self.fleet.instances.push(added);
        self.fleet.get(INSTANCES)?.wait_ready(1)?;
        self.progress.event(format_args!("i{INSTANCES} was added"));
        self.show(SCENE)?;
        self.fleet.get(0)?.drain()?;
        self.progress.event("i0 was stopped gently: it committed its last epoch and left");
        self.show(SCENE)?;
        Ok(outlasted)
    }

    /// Lines put in so far.
    fn sent(&self) -> u64 {
        self.load.as_ref().map_or(self.lines, Load::sent)
    }

    /// Shows the live line for a while.
    fn show(&mut self, time: Duration) -> Result<()> {
        let until = clock::now() + time;
        while clock::now() < until {
            self.stand()?;
            clock::pause(Duration::from_millis(100));
        }
        Ok(())
    }

    fn stand(&mut self) -> Result<()> {
        self.fleet.check_alive()?;
        let statuses = self.fleet.statuses();
        let count = self.tail.count();
        let seconds = self.rate.at.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            let per_second = (count - self.rate.count) as f64 / seconds;
            self.rate = Rate { at: clock::now(), count, per_second };
        }
        let (epoch, lag) = (
            statuses.iter().map(|status| status.epoch).max().unwrap_or(0),
            statuses.iter().map(Status::lag).sum::<i64>(),
        );
        let (rate, sent, lines) = (self.rate.per_second, self.sent(), self.lines);
        let instances = statuses.len();
        self.progress.stand(|| {
            format!(
                "{count} words counted, {rate:.0} records/s, lag {lag}, epoch {epoch}, \
                 {instances} instances, {sent} of {lines} lines put in"
            )
        });
        Ok(())
    }

    fn conclude(
        mut self,
        cluster: &Cluster,
        expected: &BTreeMap<String, u64>,
        total: u64,
        outlasted: bool,
    ) -> Result<Outcome> {
        // The rest goes in at once; the thread ends by itself.
        let lines = self.lines;
        let Some(load) = self.load.take() else { bail!("the load has ended already") };
        let produced = load.finish()?;
        if produced.records != lines {
            bail!("{} of {lines} lines were put in", produced.records);
        }
        let mut last = (self.tail.count(), clock::now());
        loop {
            self.stand()?;
            let count = self.tail.count();
            if count != last.0 {
                last = (count, clock::now());
            }
            let limit = if count >= total { Duration::from_secs(1) } else { PATIENCE };
            if last.1.elapsed() >= limit {
                break;
            }
            clock::pause(Duration::from_millis(100));
        }
        self.fleet.drain()?;
        self.progress.finish();
        cluster.hanging(&[WORD_COUNTS], SETTLE)?;
        let outputs = read(cluster)?;
        let verdict = words::compare(expected, &outputs);
        table(expected, &outputs);
        report::line(format_args!(
            "word-count: {total} words, {} kills, {} lost, {} duplicated",
            self.kills, verdict.lost, verdict.duplicated
        ));
        if verdict != words::Verdict::default() {
            return Ok(Outcome::Fail);
        }
        if !outlasted {
            report::line("INVALID: the input ran out before the last kill");
            return Ok(Outcome::Invalid);
        }
        Ok(Outcome::Pass)
    }
}

/// All counts of each word, in their order.
fn read(cluster: &Cluster) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut outputs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    cluster.read(WORD_COUNTS, Isolation::Committed, |message| {
        let word = std::str::from_utf8(message.key().unwrap_or_default())?;
        let count = std::str::from_utf8(value(message))?.parse()?;
        match outputs.get_mut(word) {
            Some(counts) => counts.push(count),
            None => drop(outputs.insert(word.to_owned(), vec![count])),
        }
        Ok(())
    })?;
    Ok(outputs)
}

/// The top words beside their direct counts.
fn table(expected: &BTreeMap<String, u64>, outputs: &BTreeMap<String, Vec<u64>>) {
    let mut top: Vec<(&String, &u64)> = expected.iter().collect();
    top.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
    report::line(format_args!("{:<14} {:>12} {:>14}", "word", "tidemill", "from the text"));
    for (word, count) in top.into_iter().take(10) {
        let found = outputs.get(word).and_then(|counts| counts.last()).copied().unwrap_or(0);
        report::line(format_args!("{word:<14} {found:>12} {count:>14}"));
    }
}
