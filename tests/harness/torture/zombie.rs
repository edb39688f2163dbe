//! Processes and threads that stand still and wake up again, and ids that others take.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer},
};

use super::{
    fault::Sleep,
    run::{REACH, Torture},
};
use crate::{
    clock,
    cluster::ANSWER,
    failpoint::{Action, Point},
    ledger_run::SESSION,
};

/// What the broker says to a zombie.
const REFUSALS: [&str; 8] = [
    "ILLEGAL_GENERATION",
    "UNKNOWN_MEMBER_ID",
    "FENCED_INSTANCE_ID",
    "PRODUCER_FENCED",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "_FENCED",
    "fenced",
];

/// The transaction timeout of these runs (10 s), the broker's look for it, and a margin.
const BEYOND_TRANSACTION: Duration = Duration::from_secs(14);

/// Shorter than session, transaction and request timeouts.
const MOMENT: Duration = Duration::from_millis(1_500);

impl Torture {
    /// Stopped at a point of an epoch, woken later.
    pub(super) fn zombie(&mut self, number: usize, sleep: Sleep) -> Result<()> {
        self.fleet.wait_ready(2)?;
        if sleep == Sleep::Transaction {
            // Its session has to outlast its transaction.
            self.restart_with_session(number, "40s")?;
        }
        let point = match sleep {
            Sleep::Session => Point::BeforeSendOffsets,
            Sleep::Transaction | Sleep::Both | Sleep::Short => Point::BeforeCommit,
        };
        let victim = self.fleet.get(number)?;
        let epochs = victim.status()?.counter("epochs_committed");
        victim.failpoints().arm(point, Action::Stop)?;
        let failpoints = victim.failpoints().clone();
        clock::wait_for("the zombie to be stopped", REACH, || {
            Ok(failpoints.hit(point).then_some(()))
        })?;
        let heard = victim.log().len();
        match sleep {
            Sleep::Session => clock::pause(SESSION),
            Sleep::Transaction | Sleep::Both => clock::pause(BEYOND_TRANSACTION),
            Sleep::Short => clock::pause(MOMENT),
        }
        if matches!(sleep, Sleep::Session | Sleep::Both) {
            self.check_owned_without(number).context("takeover from the zombie")?;
        }
        let victim = self.fleet.get(number)?;
        victim.failpoints().disarm();
        victim.signal("CONT")?;
        if sleep == Sleep::Short {
            // One more may have been committed before it fell asleep.
            let enough = epochs + 2;
            clock::wait_for("the woken zombie to commit", REACH, || {
                Ok(victim.status().ok().filter(|s| s.counter("epochs_committed") >= enough))
            })
            .with_context(|| victim.log_tail())?;
        } else {
            self.wait_refused(number, heard)?;
            self.tally.fenced += 1;
        }
        // It may rejoin, or end and be started again as a supervisor would.
        clock::pause(Duration::from_secs(1));
        self.settle(number)?;
        if sleep == Sleep::Transaction {
            self.restart_with_session(number, &format!("{}s", SESSION.as_secs()))?;
        }
        self.check_all_owned().context("after the zombie")
    }

    /// Another producer takes the transactional id of a lane, in the middle of the victim's work.
    pub(super) fn hijack(&mut self, number: usize, lane: char) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let application = self.topics.application().to_owned();
        let victim = self.fleet.get(number)?;
        let heard = victim.log().len();
        let id = format!("{application}.{}.0.{lane}", victim.name());
        let thief: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap())
            .set("transactional.id", &id)
            .create()?;
        thief.init_transactions(ANSWER).with_context(|| format!("hijack of {id}"))?;
        self.wait_refused(number, heard)?;
        self.settle(number)?;
        self.check_all_owned().context("after the hijack")
    }

    /// The thread stands still at a point; its clients go on, heartbeats included.
    pub(super) fn freeze(&mut self, number: usize, point: Point, time: Duration) -> Result<()> {
        let victim = self.fleet.get(number)?;
        victim.wait_ready(2)?;
        victim.failpoints().arm(point, Action::Freeze(time))?;
        let failpoints = victim.failpoints().clone();
        clock::wait_for(&format!("the freeze at {}", point.name()), REACH, || {
            Ok(failpoints.hit(point).then_some(()))
        })?;
        let epochs = victim.status()?.counter("epochs_committed");
        clock::pause(time);
        victim.failpoints().disarm();
        self.settle(number)?;
        let victim = self.fleet.get(number)?;
        clock::wait_for("the thawed thread to commit", REACH, || {
            Ok(victim.status().ok().filter(|s| s.counter("epochs_committed") != epochs))
        })
        .map(|_| ())
        .with_context(|| victim.log_tail())
    }

    /// Waits until a refusal of the broker stands in the log behind what was heard before.
    fn wait_refused(&mut self, number: usize, heard: usize) -> Result<()> {
        let progress = &self.progress;
        let victim = self.fleet.get(number)?;
        let refusal = clock::wait_for("the broker's refusal in the victim's log", REACH, || {
            let log = victim.log();
            let new = log.get(heard..).unwrap_or_default();
            let refused = |line: &&str| REFUSALS.iter().any(|word| line.contains(word));
            Ok(new.lines().find(refused).map(str::to_owned))
        })
        .with_context(|| victim.log_tail())?;
        progress.event(format_args!("  refused: {}", refusal.trim()));
        Ok(())
    }

    fn restart_with_session(&mut self, number: usize, session: &str) -> Result<()> {
        let victim = self.fleet.get(number)?;
        victim.drain()?;
        victim.set("TIDEMILL_KAFKA__SESSION_TIMEOUT", session);
        victim.start()?;
        self.check_all_owned().context("with another session timeout")?;
        self.fleet.get(number)?.wait_ready(2).map(|_| ())
    }
}
