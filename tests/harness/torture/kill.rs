//! SIGKILL, of one and of several, and what comes after it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{
    fault::{Aftermath, Moment},
    run::{REACH, Torture},
};
use crate::{
    clock,
    failpoint::{Action, Phase, Point},
    ledger_run::SESSION,
    open_transaction,
    status::Status,
};

impl Torture {
    pub(super) fn kill(
        &mut self,
        number: usize,
        moment: Moment,
        after: Duration,
        aftermath: Aftermath,
    ) -> Result<()> {
        let victim = self.fleet.get(number)?;
        victim.wait_ready(2)?;
        clock::pause(after);
        let status = victim.status()?;
        let phase = match moment {
            Moment::Random => {
                victim.kill()?;
                victim.failpoints().last_point().and_then(Point::phase)
            }
            Moment::InTransaction => {
                wait_in_transaction(&self.cluster, &status)?;
                clock::pause(after / 40);
                victim.kill()?;
                victim.failpoints().last_point().and_then(Point::phase)
            }
            Moment::At(point) => {
                victim.failpoints().arm(point, Action::Kill)?;
                victim.reap(&format!("killed {}", point.name()), REACH)?;
                if !victim.failpoints().hit(point) {
                    bail!("{} ended without reaching {}", victim.name(), point.name());
                }
                victim.failpoints().disarm();
                point.phase()
            }
        };
        self.count_kill(&status, phase)?;
        self.follow(number, aftermath)
    }

    /// SIGKILL of several that have transactions open; then all are started again.
    pub(super) fn kill_together(&mut self, first: usize, count: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let victims: Vec<usize> = (first..first + count).map(|n| n % self.instances).collect();
        let mut statuses = Vec::new();
        for number in &victims {
            statuses.push(self.fleet.get(*number)?.status()?);
        }
        for status in &statuses {
            wait_in_transaction(&self.cluster, status)?;
        }
        for number in &victims {
            self.fleet.get(*number)?.kill()?;
        }
        for (number, status) in victims.iter().zip(&statuses) {
            let phase = self.fleet.get(*number)?.failpoints().last_point().and_then(Point::phase);
            self.count_kill(status, phase)?;
        }
        for number in &victims {
            self.fleet.get(*number)?.start()?;
        }
        self.fleet.wait_ready(1)?;
        self.check_all_owned().context("all killed ones are back")
    }

    fn count_kill(&mut self, victim: &Status, phase: Option<Phase>) -> Result<()> {
        self.tally.kills += 1;
        if let Some(phase) = phase {
            *self.tally.phases.entry(phase).or_default() += 1;
        }
        let open =
            open_transaction::of_victim(&self.cluster, &self.topics, Some(victim), self.epoch)?;
        self.tally.in_open_transaction += u64::from(open.is_some());
        let phase = phase.map_or("between epochs".to_owned(), |phase| phase.to_string());
        let open = open.map_or("no transaction open".to_owned(), |at| format!("open at {at}"));
        self.progress.event(format_args!("  killed in phase {phase}, {open}"));
        Ok(())
    }

    fn follow(&mut self, number: usize, aftermath: Aftermath) -> Result<()> {
        match aftermath {
            Aftermath::Restart => {}
            Aftermath::Takeover => {
                clock::pause(SESSION);
                self.check_all_owned().context("takeover")?;
                self.tally.takeovers += 1;
            }
            Aftermath::Wipe => {
                self.fleet.get(number)?.wipe()?;
                self.damaged.remove(&number);
                self.tally.wipes += 1;
            }
            Aftermath::Corrupt => return self.corrupt(number),
        }
        self.fleet.get(number)?.start()
    }
}

fn wait_in_transaction(cluster: &crate::cluster::Cluster, status: &Status) -> Result<()> {
    clock::wait_for("a transaction of the victim", REACH, || {
        let open = open_transaction::in_output(cluster, status)?;
        Ok(open.unwrap_or(true).then_some(()))
    })
}
