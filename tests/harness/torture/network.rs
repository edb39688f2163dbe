//! Faults of single requests, and silence between an instance and brokers, made by the proxy.

use std::time::Duration;

use anyhow::{Context, Result};
use tidemill::testing::proxy::{Api, Fault, Rule};

use super::{fault::Role, run::Torture};
use crate::clock;

/// How long a request may take to come along, and a fault to be carried out: a held request waits
/// for its client to give up first.
const COME_ALONG: Duration = Duration::from_secs(45);

/// Longer than the transaction timeout of these runs (10 s).
const SLOW_RESTORE: Duration = Duration::from_secs(13);

impl Torture {
    /// One request of the victim suffers `fault`.
    pub(super) fn network(
        &mut self,
        number: usize,
        api: Api,
        fault: Fault,
        restart: bool,
    ) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let name = fault.name();
        let done = |torture: &Self| {
            torture.proxy.counts().faults.get(&(api, name)).copied().unwrap_or_default()
        };
        let before = done(self);
        let victim = self.fleet.get(number)?;
        let rule = Rule::once(api, &format!(".{}.", victim.name()), fault);
        if restart {
            victim.drain()?;
            self.proxy.arm(rule);
            self.fleet.get(number)?.start()?;
        } else {
            self.proxy.arm(rule);
        }
        let carried_out = clock::wait_for(&format!("{api} to suffer {fault}"), COME_ALONG, || {
            Ok((done(self) > before).then_some(()))
        });
        self.proxy.disarm();
        carried_out?;
        self.settle(number)?;
        self.check_all_owned().with_context(|| format!("after {api} {fault}"))
    }

    /// Silence between the victim and one broker, or all.
    pub(super) fn cut(
        &mut self,
        number: usize,
        broker: Option<Role>,
        time: Duration,
    ) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let address = match broker {
            None => None,
            Some(role) => {
                let node = self.node_of(role)?;
                let address = self.proxy.nodes().get(&node).cloned();
                Some(address.with_context(|| format!("broker {node} was never named"))?)
            }
        };
        let client = format!(".{}.", self.fleet.get(number)?.name());
        self.proxy.cut(address.as_deref(), &client);
        clock::pause(time);
        self.proxy.heal();
        self.progress.event("  healed");
        self.settle(number)?;
        self.check_all_owned().context("after the cut")
    }

    /// A wiped instance whose restore hears nothing for longer than transactions last.
    pub(super) fn slow_restore(&mut self, number: usize) -> Result<()> {
        self.fleet.wait_ready(2)?;
        let victim = self.fleet.get(number)?;
        let name = victim.name().to_owned();
        victim.kill()?;
        victim.wipe()?;
        self.damaged.remove(&number);
        self.proxy.cut(None, &format!(".{name}.0.restore"));
        self.fleet.get(number)?.start()?;
        let started = clock::now();
        clock::pause(SLOW_RESTORE);
        let early = self.fleet.get(number)?.is_ready();
        self.proxy.heal();
        self.settle(number)?;
        let took = started.elapsed().as_secs();
        let restored = if early { "it needed none" } else { "restored" };
        self.progress.event(format_args!("  {restored} after {took} s"));
        self.check_all_owned().context("after the slow restore")
    }
}
