//! Instances that come and go in good order.

use anyhow::{Context, Result};

use super::run::Torture;
use crate::instance::Instance;

impl Torture {
    /// Down to one, and back.
    pub(super) fn scale(&mut self, survivor: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        self.leave_alone(survivor)?;
        for number in (0..self.instances).filter(|number| *number != survivor) {
            self.fleet.get(number)?.start()?;
        }
        self.fleet.wait_ready(2)?;
        self.check_all_owned().context("scaled back")
    }

    /// Down to one, up to `to` at once, one of which dies while partitions move; and back.
    pub(super) fn rescale(&mut self, survivor: usize, to: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        self.leave_alone(survivor)?;
        while self.fleet.instances.len() < to {
            let number = self.fleet.instances.len();
            let launch = self.fleet.get(0)?.launch().clone();
            self.fleet.instances.push(Instance::new(&launch, number)?);
        }
        for number in (0..to).filter(|number| *number != survivor) {
            self.fleet.get(number)?.start()?;
        }
        // In the middle of the rebalance: as soon as one of the new ones has joined.
        let victim = self.instances;
        self.fleet.get(victim)?.wait_ready(0)?;
        self.fleet.get(victim)?.kill()?;
        self.fleet.get(victim)?.start()?;
        self.fleet.wait_ready(1)?;
        self.check_all_owned().with_context(|| format!("scaled to {to}"))?;
        for number in self.instances..to {
            self.fleet.get(number)?.drain()?;
        }
        self.check_all_owned().context("scaled back")
    }

    /// Every instance in turn is stopped gently and started again.
    pub(super) fn roll_workers(&mut self) -> Result<()> {
        self.fleet.wait_ready(2)?;
        for number in 0..self.instances {
            let worker = self.fleet.get(number)?;
            worker.drain()?;
            worker.start()?;
            worker.wait_ready(1)?;
        }
        self.check_all_owned().context("after the roll")
    }

    fn leave_alone(&mut self, survivor: usize) -> Result<()> {
        for number in (0..self.instances).filter(|number| *number != survivor) {
            self.fleet.get(number)?.drain()?;
        }
        self.check_all_owned().context("scaled to one")
    }
}
