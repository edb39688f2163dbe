//! What the faults of a run came to.

use std::{collections::BTreeMap, time::Instant};

use crate::{clock, failpoint::Phase};

/// Counts as they grow.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Faults carried out, by kind.
    pub(super) done: BTreeMap<&'static str, u64>,
    /// Faults that this machine cannot make, by kind, with the reason.
    pub(super) skipped: BTreeMap<&'static str, String>,
    /// SIGKILLs, several at once included.
    pub(super) kills: u64,
    /// Of these, how many met an open transaction.
    pub(super) in_open_transaction: u64,
    /// Zombies that the broker refused.
    pub(super) fenced: u64,
    /// State directories wiped, and corrupted, and of these how many were noticed late or refused.
    pub(super) wipes: u64,
    pub(super) corruptions: u64,
    pub(super) refused_state: u64,
    /// Kills after which others took over.
    pub(super) takeovers: u64,
    /// Processes that ended by themselves because of a fault, and were started again.
    pub(super) ended: u64,
    /// Kills by the phase of the epoch that they met.
    pub(super) phases: BTreeMap<Phase, u64>,
    /// When the last fault was over.
    pub(super) last_fault: Option<Instant>,
}

impl Tally {
    /// A fault of this kind is over.
    pub(super) fn over(&mut self, kind: &'static str) {
        *self.done.entry(kind).or_default() += 1;
        self.last_fault = Some(clock::now());
    }

    /// Faults that were carried out, of all kinds.
    pub(super) fn faults(&self) -> u64 {
        self.done.values().sum()
    }

    /// Zombies of all kinds.
    pub(super) fn zombies(&self) -> u64 {
        let zombies = self.done.iter().filter(|(kind, _)| kind.starts_with("zombie"));
        zombies.map(|(_, count)| count).sum()
    }
}
