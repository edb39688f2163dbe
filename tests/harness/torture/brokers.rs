//! Faults of brokers: the one that has a role dies, or all are rolled.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{fault::Role, run::Torture};
use crate::{clock, ledger_run::POSTINGS_PARTITIONS, wire};

impl Torture {
    /// The number of the broker that has a role now.
    pub(super) fn node_of(&mut self, role: Role) -> Result<i32> {
        let application = self.topics.application();
        let bootstrap = self.cluster.bootstrap();
        match role {
            Role::PartitionLeader => {
                let partition = self.random.i32(0..POSTINGS_PARTITIONS);
                self.cluster.leader(&self.topics.postings(), partition)
            }
            Role::TransactionCoordinator => {
                let victim = self.random.usize(..self.instances);
                let id = format!("{application}.i{victim}.0.a");
                wire::coordinator(bootstrap, wire::Coordinated::TransactionalId, &id)
            }
            Role::GroupCoordinator => {
                wire::coordinator(bootstrap, wire::Coordinated::Group, application)
            }
            Role::Controller => wire::controller(bootstrap),
        }
        .with_context(|| format!("who is the {}", role.name()))
    }

    /// SIGKILL of the broker with a role; it is started again, and then all must work.
    pub(super) fn kill_broker(&mut self, role: Role, away: Duration) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let node = self.node_of(role)?;
        let brokers = self.brokers.as_ref().context("no brokers to be stopped")?;
        brokers.kill(node)?;
        self.progress.event(format_args!("  broker {node} killed"));
        clock::pause(away);
        brokers.start_all()?;
        self.progress.event(format_args!("  broker {node} is back"));
        self.settle_all()?;
        self.check_all_owned().context("after the broker's death")
    }

    /// SIGTERM of each broker in turn, started again before the next.
    pub(super) fn roll_brokers(&mut self) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let numbers = self.brokers.as_ref().context("no brokers to be stopped")?.numbers();
        for node in numbers {
            let brokers = self.brokers.as_ref().context("no brokers to be stopped")?;
            brokers.stop(node)?;
            brokers.start_all()?;
            self.progress.event(format_args!("  broker {node} rolled"));
            self.settle_all()?;
        }
        self.check_all_owned().context("after the roll")
    }

    fn settle_all(&mut self) -> Result<()> {
        (0..self.instances).try_for_each(|number| self.settle(number))
    }
}
