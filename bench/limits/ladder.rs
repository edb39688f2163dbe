//! The loops of the ladder, each a process of its own.
//!
//! L1 copies records one to one without transactions; L2 adds offsets and a transaction every
//! epoch, on two producers, so that an epoch is read and produced while the one before commits;
//! L3 counts in memory and writes one changelog record per changed key and epoch; L4 is L3 on
//! RocksDB. Timestamps are not carried over: that is a floor, and only cheaper for it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use super::{
    raw::{Client, Fetch, Offsets, Topic},
    state::Counts,
};
use crate::{clock, stalls::Stalls};

/// Records taken off the fetch queue at once.
const FETCH: usize = 4_096;

/// L1 tells how far it is this often, without transactions: its runs take seconds.
const COMMIT_EVERY: Duration = Duration::from_millis(250);

/// `limit`: a rung as a child process of the runner.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// l1, l2, l3 or l4.
    rung: String,
    #[arg(long)]
    bootstrap: String,
    /// The application: group and transactional ids.
    #[arg(long)]
    application: String,
    #[arg(long)]
    input: String,
    #[arg(long)]
    output: String,
    /// Partitions of all topics.
    #[arg(long)]
    partitions: i32,
    /// The epoch in milliseconds.
    #[arg(long, default_value_t = 100)]
    epoch_ms: u64,
    /// L4's store.
    #[arg(long)]
    directory: PathBuf,
    /// Where the stalls are written at the end.
    #[arg(long)]
    report: PathBuf,
}

/// What a rung does with a record.
enum Work {
    Copy,
    Count { counts: Vec<Counts>, changelog: [Option<Topic>; 2] },
}

/// Runs until SIGTERM.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let stop = stop_signal()?;
    let consumer = Client::consumer(
        &arguments.bootstrap,
        &arguments.application,
        &arguments.input,
        arguments.partitions,
    )?;
    if arguments.rung == "l1" {
        plain(arguments, &consumer, &stop)
    } else {
        Ladder::new(arguments)?.run(&consumer, &stop)
    }
}

/// L1.
fn plain(arguments: &Arguments, consumer: &Client, stop: &AtomicBool) -> Result<()> {
    let producer = Client::producer(&arguments.bootstrap, None)?;
    let output = producer.topic(&arguments.output)?;
    let mut positions = Positions::new(arguments);
    let mut fetch = Fetch::with_capacity(FETCH);
    let mut last = clock::now();
    while !stop.load(Ordering::Relaxed) {
        consumer.fetch(&mut fetch, 10);
        for record in fetch.records() {
            let record = record?;
            output.produce(&producer, record.partition, record.key, record.value)?;
            positions.moved(record.partition, record.offset);
        }
        producer.poll();
        if last.elapsed() >= COMMIT_EVERY && positions.has_moved() {
            producer.flush()?;
            consumer.commit_offsets(&positions.take()?)?;
            last = clock::now();
        }
    }
    Ok(())
}

struct Positions {
    topic: String,
    next: Vec<Option<i64>>,
}

impl Positions {
    fn new(arguments: &Arguments) -> Self {
        let partitions = usize::try_from(arguments.partitions).unwrap_or(0);
        Self { topic: arguments.input.clone(), next: vec![None; partitions] }
    }

    fn moved(&mut self, partition: i32, offset: i64) {
        let place = usize::try_from(partition).ok().and_then(|p| self.next.get_mut(p));
        if let Some(place) = place {
            *place = Some(offset + 1);
        }
    }

    fn has_moved(&self) -> bool {
        self.next.iter().any(Option::is_some)
    }

    fn take(&mut self) -> Result<Offsets> {
        let moved = (0..).zip(&mut self.next).filter_map(|(p, next)| Some((p, next.take()?)));
        Offsets::new(moved, &self.topic)
    }
}

/// Commits epochs in order, beside the loop.
struct Committer {
    work: SyncSender<(Arc<Client>, Offsets)>,
    done: Receiver<Result<()>>,
    pending: usize,
}

impl Committer {
    fn start(group: String) -> Result<Self> {
        let (work, todo) = sync_channel::<(Arc<Client>, Offsets)>(1);
        let (report, done) = sync_channel(2);
        let serve = move || {
            for (producer, offsets) in todo {
                if report.send(producer.commit(&offsets, &group)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("commit".to_owned()).spawn(serve)?;
        Ok(Self { work, done, pending: 0 })
    }

    /// Waits until no commit is under way.
    fn settle(&mut self) -> Result<()> {
        while self.pending > 0 {
            self.done.recv().map_err(|_| anyhow!("the commit thread is gone"))??;
            self.pending -= 1;
        }
        Ok(())
    }

    fn submit(&mut self, producer: &Arc<Client>, offsets: Offsets) -> Result<()> {
        self.pending += 1;
        self.work.send((Arc::clone(producer), offsets)).map_err(|_| anyhow!("no commit thread"))
    }
}

struct Ladder {
    outputs: [Topic; 2],
    work: Work,
    producers: [Arc<Client>; 2],
    epoch: Duration,
    positions: Positions,
    committer: Committer,
    report: PathBuf,
}

impl Ladder {
    fn new(arguments: &Arguments) -> Result<Self> {
        let application = &arguments.application;
        let producer = |lane: &str| {
            Client::producer(&arguments.bootstrap, Some(&format!("{application}.{lane}")))
                .map(Arc::new)
        };
        let producers = [producer("a")?, producer("b")?];
        let [a, b] = &producers;
        let topics = |name: &str| anyhow::Ok([a.topic(name)?, b.topic(name)?]);
        let partitions = usize::try_from(arguments.partitions)?;
        let resident = || (0..partitions).map(|_| Ok(Counts::resident())).collect();
        let stored = || {
            let place = |p: usize| arguments.directory.join(format!("store-{p}"));
            (0..partitions).map(|p| Counts::stored(&place(p))).collect()
        };
        let counts: Result<Vec<Counts>> = match arguments.rung.as_str() {
            "l2" => Ok(vec![]),
            "l3" => resident(),
            "l4" => stored(),
            rung => bail!("there is no rung {rung}"),
        };
        let counts = counts?;
        let work = if counts.is_empty() {
            Work::Copy
        } else {
            let [a, b] = topics(&format!("{application}-changelog"))?;
            Work::Count { counts, changelog: [Some(a), Some(b)] }
        };
        Ok(Self {
            outputs: topics(&arguments.output)?,
            work,
            epoch: Duration::from_millis(arguments.epoch_ms),
            positions: Positions::new(arguments),
            committer: Committer::start(application.clone())?,
            report: arguments.report.clone(),
            producers,
        })
    }

    fn run(mut self, consumer: &Client, stop: &AtomicBool) -> Result<()> {
        let mut fetch = Fetch::with_capacity(FETCH);
        let stalls = Stalls::default();
        let mut number = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let lane = usize::try_from(number % 2)?;
            let producer = Arc::clone(self.producers.get(lane).context("lane")?);
            let mut began: Option<Instant> = None;
            while began.is_none_or(|began| began.elapsed() < self.epoch) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                consumer.fetch(&mut fetch, 10);
                if fetch.is_empty() {
                    continue;
                }
                if began.is_none() {
                    producer.begin()?;
                    began = Some(clock::now());
                }
                self.process(&fetch, lane, &producer, number, &stalls)?;
            }
            if began.is_some() {
                self.seal(lane, &producer)?;
                number += 1;
            }
        }
        self.committer.settle()?;
        stalls.write(&self.report)
    }

    fn process(
        &mut self,
        fetch: &Fetch,
        lane: usize,
        producer: &Client,
        epoch: u64,
        stalls: &Stalls,
    ) -> Result<()> {
        let output = self.outputs.get(lane).context("lane")?;
        for record in fetch.records() {
            let record = record?;
            stalls.record();
            match &mut self.work {
                Work::Copy => {
                    output.produce(producer, record.partition, record.key, record.value)?;
                }
                Work::Count { counts, .. } => {
                    let counts = counts.get_mut(usize::try_from(record.partition)?);
                    let key = record.key.try_into().context("a key has 16 bytes")?;
                    let count = counts.context("partition")?.add(key, epoch)?;
                    let value = count.to_be_bytes();
                    output.produce(producer, record.partition, record.key, &value)?;
                }
            }
            self.positions.moved(record.partition, record.offset);
        }
        Ok(())
    }

    /// The changelog, the acknowledgements, the commit of the epoch before, then this one's.
    fn seal(&mut self, lane: usize, producer: &Arc<Client>) -> Result<()> {
        if let Work::Count { counts, changelog } = &mut self.work {
            let topic = changelog.get(lane).and_then(Option::as_ref).context("lane")?;
            for (partition, counts) in (0..).zip(counts) {
                counts.drain(|key, count| {
                    topic.produce(producer, partition, key, &count.to_be_bytes())
                })?;
            }
        }
        producer.flush()?;
        self.committer.settle()?;
        self.committer.submit(producer, self.positions.take()?)
    }
}

fn stop_signal() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = Arc::clone(&stop);
    let wait = move || {
        runtime.block_on(async {
            if let Ok(mut terminate) = signal(SignalKind::terminate()) {
                terminate.recv().await;
            }
            told.store(true, Ordering::Relaxed);
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(stop)
}
