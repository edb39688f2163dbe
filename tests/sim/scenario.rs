//! How a run is set up, and what it left behind.

use std::{collections::BTreeMap, time::Duration};

use tidemill::runtime::{Guarantee, mutants::Mutant};

use crate::{faults::Fault, oracle::Verdict};

/// How a run is set up.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Decides everything.
    pub(crate) seed: u64,
    /// Input records.
    pub(crate) transfers: u64,
    /// Faults to be made.
    pub(crate) faults: usize,
    /// Overlapping epochs.
    pub(crate) pipelining: bool,
    /// What is guaranteed.
    pub(crate) guarantee: Guarantee,
    /// A guarantee that is broken on purpose.
    pub(crate) mutant: Mutant,
    /// Virtual time after which the run counts as stuck.
    pub(crate) patience: Duration,
    /// The chance that an EndTxn arrives twice.
    pub(crate) duplicates: f64,
    /// The chance that a marker comes late.
    pub(crate) slow_markers: f64,
    /// A readable trace.
    pub(crate) trace: bool,
    /// `max.message.bytes` of the output topic, which the instances do not know of.
    pub(crate) unknown_limit: Option<u32>,
    /// How often consumed records of the repartition topic are deleted, if they are.
    pub(crate) purge: Option<Duration>,
}

impl Scenario {
    /// What a seed runs.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            transfers: 500,
            faults: 6,
            pipelining: seed % 2 == 1,
            guarantee: Guarantee::ExactlyOnce,
            mutant: Mutant::None,
            patience: Duration::from_secs(600),
            duplicates: 0.01,
            slow_markers: 0.01,
            trace: false,
            unknown_limit: None,
            purge: None,
        }
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Report {
    /// The oracle's verdict.
    pub(crate) verdict: Verdict,
    /// Faults that took effect, by kind and the phase that they met.
    pub(crate) met: BTreeMap<(Fault, &'static str), u64>,
    /// Epochs committed.
    pub(crate) epochs: u64,
    /// Epochs aborted.
    pub(crate) aborted: u64,
    /// Outcomes resolved.
    pub(crate) resolved: u64,
    /// Dead owners fenced.
    pub(crate) takeovers: u64,
    /// A number that differs when anything differed.
    pub(crate) fingerprint: u64,
    /// What went wrong besides the oracle's verdict.
    pub(crate) problems: Vec<String>,
    /// Virtual time that it took.
    pub(crate) virtual_time: Duration,
    /// Records of the repartition topic that were deleted, control records too.
    pub(crate) purged: i64,
}
