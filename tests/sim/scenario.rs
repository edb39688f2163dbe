//! How a run is set up, and what it left behind.

use std::{collections::BTreeMap, time::Duration};

use tidemill::{
    runtime::{Guarantee, mutants::Mutant},
    testing::FaultKind,
};

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
    /// Their kinds.
    pub(crate) kinds: &'static [Fault],
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
    /// Whether the oracle is asked; not where only the digests of a run are compared.
    pub(crate) judged: bool,
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
            kinds: &Fault::ALL,
            pipelining: seed % 2 == 1,
            guarantee: Guarantee::ExactlyOnce,
            mutant: Mutant::None,
            patience: Duration::from_secs(600),
            duplicates: 0.01,
            slow_markers: 0.01,
            judged: true,
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
    /// The digest of all that happened, in order: it differs when anything did.
    pub(crate) fingerprint: u64,
    /// The digest of all logs as they were in the end.
    pub(crate) logs: u64,
    /// Faults that took effect, by what the cluster saw of them.
    pub(crate) kinds: BTreeMap<FaultKind, u64>,
    /// What went wrong besides the oracle's verdict.
    pub(crate) problems: Vec<String>,
    /// Virtual time that it took.
    pub(crate) virtual_time: Duration,
    /// Steps that its instances took.
    pub(crate) steps: u64,
    /// Records of the repartition topic that were deleted, control records too.
    pub(crate) purged: i64,
}
