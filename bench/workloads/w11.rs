//! W11: the gap in the output after SIGKILL, under load: the same instance started again, and
//! another one taking over; there also the gap in the survivor's own output.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::{Message, consumer::BaseConsumer, error::KafkaError};

use super::workload::{EPOCH_MS, UNIFORM, Workload};
use crate::{
    clock,
    cluster::is_passing,
    input::PARTITIONS,
    load::{self, Paced},
    oracle::{self, Wrong},
    report, run,
    session::{Session, entry},
    systems::{Job, Operation, System},
    target::Target,
};

pub(super) const WORKLOAD: Workload = Workload { name: "W11", about: "failover", run };

/// The session's time-out of the takeover: the broker's lowest by default.
const SESSION: Duration = Duration::from_secs(6);

const LIMIT: Duration = Duration::from_secs(90);

/// Records per second: what a slow machine carries with room to spare.
const RATE: f64 = 20_000.0;

/// When outputs of each partition were last seen, and the longest gap since it was reset.
struct Watch {
    reader: BaseConsumer,
    last: Vec<Instant>,
    longest: Vec<Duration>,
}

impl Watch {
    fn start(session: &Session, job: &Job) -> Result<Self> {
        let reader = session.cluster.tail(&job.output())?;
        let count = usize::try_from(PARTITIONS)?;
        Ok(Self { reader, last: vec![clock::now(); count], longest: vec![Duration::ZERO; count] })
    }

    /// Reads for a while.
    fn watch(&mut self, time: Duration) -> Result<()> {
        let until = clock::now() + time;
        while clock::now() < until {
            match self.reader.poll(Duration::from_millis(5)) {
                Some(Ok(message)) => {
                    let partition = usize::try_from(message.partition())?;
                    let last = self.last.get_mut(partition).context("partition")?;
                    let longest = self.longest.get_mut(partition).context("partition")?;
                    *longest = (*longest).max(last.elapsed());
                    *last = clock::now();
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Begins to look for gaps anew.
    fn reset(&mut self) {
        self.longest.fill(Duration::ZERO);
    }

    /// Reads until every partition has had an output since `since`; then a second more.
    fn until_all_since(&mut self, since: Instant) -> Result<()> {
        let deadline = clock::now() + LIMIT;
        while self.last.iter().any(|last| *last < since) {
            if clock::now() > deadline {
                bail!("partitions without output for {LIMIT:?}");
            }
            self.watch(Duration::from_millis(20))?;
        }
        self.watch(Duration::from_secs(1))
    }

    fn gaps(&self) -> (f64, f64) {
        let seconds = self.longest.iter().map(Duration::as_secs_f64);
        (seconds.clone().fold(f64::MAX, f64::min), seconds.fold(0.0, f64::max))
    }
}

fn run(session: &mut Session) -> Result<()> {
    let repetitions = if session.size.quick { 1 } else { 5 };
    let restarts = restart(session, repetitions)?;
    report::line(format_args!("same instance started again: gaps {restarts:.2?} s"));
    let (taken, survivor) = takeover(session)?;
    report::line(format_args!(
        "takeover with a session of {SESSION:?}: gap {taken:.2} s, in the survivor's own \
         partitions {survivor:.2} s"
    ));
    let worst = restarts.iter().copied().fold(0.0, f64::max);
    session.targets.extend([
        Target::at_most("W11", "gap, SIGKILL and same instance again (worst)", worst, 2.0, "s"),
        Target::at_most(
            "W11",
            format!("gap beyond the session, taken over (survivor's own: {survivor:.2} s)"),
            taken - SESSION.as_secs_f64(),
            5.0,
            "s",
        ),
    ]);
    Ok(())
}

fn prepared(session: &mut Session) -> Result<Job> {
    load::preload(&session.cluster, UNIFORM, 0)?;
    let mut job = session.job(entry(System::Tidemill, EPOCH_MS), Operation::Count, UNIFORM);
    let millis = format!("{}ms", SESSION.as_millis());
    job.settings.push(("TIDEMILL_KAFKA__SESSION_TIMEOUT".to_owned(), millis));
    session.cluster.make_topic(&job.output(), PARTITIONS)?;
    session.settle();
    Ok(job)
}

/// How long all runs undisturbed before a kill.
fn calm(session: &Session) -> Duration {
    Duration::from_secs(if session.size.quick { 3 } else { 5 })
}

fn conclude(session: &Session, job: &Job, load: Paced) -> Result<()> {
    let sent = load.stop()?.records;
    let progress = run::progress(&session.place, job)?;
    clock::wait_for("all input to be committed", LIMIT, || {
        Ok((progress.records()? >= sent).then_some(()))
    })?;
    let verdict = oracle::check(&session.cluster, job, sent)?;
    if !verdict.holds() {
        return Err(Wrong::of(&verdict).into());
    }
    Ok(())
}

/// The gaps of several restarts.
fn restart(session: &mut Session, repetitions: usize) -> Result<Vec<f64>> {
    let job = prepared(session)?;
    let calm = calm(session);
    let load = Paced::start(&session.place.bootstrap, UNIFORM, 0, u64::MAX, RATE)?;
    let mut process = job.start(&session.place, 0)?;
    let mut watch = Watch::start(session, &job)?;
    watch.until_all_since(clock::now())?;
    watch.watch(calm)?;
    let mut gaps = Vec::new();
    for _ in 0..repetitions {
        watch.reset();
        process.kill()?;
        let killed = clock::now();
        process = job.start(&session.place, 0)?;
        // What was committed before the kill arrives within this time.
        watch.watch(Duration::from_millis(50))?;
        watch.until_all_since(killed.max(clock::now()))?;
        gaps.push(watch.gaps().1);
        watch.watch(calm / 2)?;
    }
    conclude(session, &job, load)?;
    process.end()?;
    run::clean(&session.place, &session.cluster, &job)?;
    Ok(gaps)
}

/// The longest gap in a partition of the dead instance, and in one of the survivor.
fn takeover(session: &mut Session) -> Result<(f64, f64)> {
    let job = prepared(session)?;
    let calm = calm(session);
    let load = Paced::start(&session.place.bootstrap, UNIFORM, 0, u64::MAX, RATE)?;
    let mut victim = job.start(&session.place, 0)?;
    let mut survivor = job.start(&session.place, 1)?;
    let mut watch = Watch::start(session, &job)?;
    // Both have joined, and the partitions have moved.
    watch.until_all_since(clock::now())?;
    watch.watch(2 * calm)?;
    watch.reset();
    let killed = clock::now();
    victim.kill()?;
    watch.watch(SESSION / 2)?;
    watch.until_all_since(killed + SESSION / 2)?;
    let (least, most) = watch.gaps();
    conclude(session, &job, load)?;
    survivor.end()?;
    run::clean(&session.place, &session.cluster, &job)?;
    Ok((most, least))
}
