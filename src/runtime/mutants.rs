//! Switches that break a guarantee on purpose, so that the checks can show that they see it.
//!
//! Without the feature `mutants` none can be named, and [`Mutant::is`] is false at compile time.
//!
//! Most act in the runtime, so that the simulation shows what becomes of the code that runs in
//! production. Three guarantees are upheld by the client below the seam (`runtime::log`): the
//! engine asks for *the* committed offsets, for *a* transaction, and never sees a transactional
//! id. Their mutants act in the adapter (`kafka`) and, since the simulation has another client, a
//! second time in that one (`testing`); what the simulation shows there is that the *log's* promise
//! is needed.

/// Which guarantee is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutant {
    /// None.
    #[default]
    None,
    /// Offsets are committed beside the transaction, before it commits (breaks EOS-1).
    OffsetsOutsideTransaction,
    /// The sealed epoch is written to the byte store before it is committed (breaks EOS-2).
    StateBeforeCommit,
    /// Restores read uncommitted changelog records (breaks EOS-5).
    ChangelogReadUncommitted,
    /// An abort keeps resident entries (breaks DESIGN section 6).
    AbortKeepsResident,
    /// Nobody looks at the memory that a thread holds (breaks MEM-1).
    MemoryUnbounded,
    /// Epoch n+1 sends its offsets before n's commit returned (breaks EOS-6).
    YoungerOffsetsFirst,
    /// Epoch n+1 commits before n (breaks EOS-6).
    YoungerCommitsFirst,
    /// Epoch n+1 sends records before n's are acknowledged (breaks EOS-6).
    YoungerSendsEarly,
    /// RESOLVE does not compare the epoch's number (breaks EOS-4).
    ResolveIgnoresEpoch,
    /// RESOLVE does not compare the incarnation (breaks EOS-4).
    ResolveIgnoresIncarnation,
    /// An unknown commit is taken for an aborted one without asking (breaks EOS-4).
    UnknownIsAborted,
    /// A producer whose connection was disturbed begins another transaction (facts 9.7). Below the
    /// seam: `kafka::lane`, and the simulated client, which also takes a producer up again of
    /// which a call was given up (librdkafka would not let the adapter do that).
    KeepsDisturbedProducer,
    /// Committed offsets are one too high (breaks EOS-1).
    OffsetOffByOne,
    /// Offsets are read while a transaction on them is undecided (breaks EOS-5). Below the seam:
    /// `kafka::group_questions`, and the simulated client; no request of the seam could ask so.
    UnstableOffsets,
    /// A restore ends at the last stable offset, whatever marker it has seen (breaks EOS-5). Acts
    /// in `runtime::restore`, which is the same code on every log.
    LastStableTarget,
    /// An epoch that only fired timers carries no offsets (breaks EOS-3).
    TimerEpochWithoutOffsets,
    /// Offsets are sent with the membership that the thread had first (breaks EOS-3).
    StaleGroupMetadata,
    /// Offsets are sent without a membership (breaks EOS-3).
    MissingGroupMetadata,
    /// Transactional ids are random, and offsets are sent without a membership. The second half
    /// acts in the stream thread, the first below the seam, where ids are made:
    /// `kafka::settings` (by process) and the simulated client.
    RandomTransactionalIds,
    /// A missing marker is not looked for: the id goes on writing there (facts 9.6).
    MissingMarkerIgnored,
    /// Nobody looks whether tasks move.
    StallsIgnored,
    /// A task that is opened does not know its watermark (breaks TIME-1).
    WatermarkForgotten,
    /// Event-time timers fire at the end of the epoch (breaks DESIGN section 5).
    EventTimersAtSeal,
}

impl Mutant {
    /// All that break something, by name.
    pub const ALL: [(&'static str, Self); 23] = [
        ("offsets-outside-transaction", Self::OffsetsOutsideTransaction),
        ("state-before-commit", Self::StateBeforeCommit),
        ("changelog-read-uncommitted", Self::ChangelogReadUncommitted),
        ("abort-keeps-resident", Self::AbortKeepsResident),
        ("younger-offsets-first", Self::YoungerOffsetsFirst),
        ("younger-commits-first", Self::YoungerCommitsFirst),
        ("younger-sends-early", Self::YoungerSendsEarly),
        ("resolve-ignores-epoch", Self::ResolveIgnoresEpoch),
        ("resolve-ignores-incarnation", Self::ResolveIgnoresIncarnation),
        ("unknown-is-aborted", Self::UnknownIsAborted),
        ("keeps-disturbed-producer", Self::KeepsDisturbedProducer),
        ("offset-off-by-one", Self::OffsetOffByOne),
        ("unstable-offsets", Self::UnstableOffsets),
        ("last-stable-target", Self::LastStableTarget),
        ("timer-epoch-without-offsets", Self::TimerEpochWithoutOffsets),
        ("stale-group-metadata", Self::StaleGroupMetadata),
        ("missing-group-metadata", Self::MissingGroupMetadata),
        ("random-transactional-ids", Self::RandomTransactionalIds),
        ("missing-marker-ignored", Self::MissingMarkerIgnored),
        ("stalls-ignored", Self::StallsIgnored),
        ("memory-unbounded", Self::MemoryUnbounded),
        ("watermark-forgotten", Self::WatermarkForgotten),
        ("event-timers-at-seal", Self::EventTimersAtSeal),
    ];

    /// The mutant of that name; an error names those that this build has.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        match (name, found) {
            ("" | "none", _) => Ok(Self::None),
            (_, Some((_, mutant))) if cfg!(feature = "mutants") => Ok(*mutant),
            _ if cfg!(feature = "mutants") => {
                let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
                Err(format!("no mutant {name:?}; there are {}", names.join(", ")))
            }
            _ => Err(format!("no mutant {name:?} in this build (feature `mutants` is off)")),
        }
    }

    /// Whether that is broken; never without the feature `mutants`.
    pub fn is(self, broken: Self) -> bool {
        cfg!(feature = "mutants") && self == broken
    }

    /// Breaks EOS-1.
    pub fn offsets_outside_transaction(self) -> bool {
        self.is(Self::OffsetsOutsideTransaction)
    }

    /// Breaks EOS-2.
    pub fn state_before_commit(self) -> bool {
        self.is(Self::StateBeforeCommit)
    }

    /// Breaks EOS-5.
    pub fn changelog_read_uncommitted(self) -> bool {
        self.is(Self::ChangelogReadUncommitted)
    }

    /// Keeps resident entries across an abort.
    pub fn abort_keeps_resident(self) -> bool {
        self.is(Self::AbortKeepsResident)
    }

    /// Breaks MEM-1.
    pub fn memory_unbounded(self) -> bool {
        self.is(Self::MemoryUnbounded)
    }

    /// Sends offsets that no group fences.
    pub fn sends_no_membership(self) -> bool {
        self.is(Self::MissingGroupMetadata) || self.is(Self::RandomTransactionalIds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_have_names_only_where_the_feature_is_on() {
        for (name, mutant) in Mutant::ALL {
            assert_eq!(Mutant::parse(name).is_ok(), cfg!(feature = "mutants"), "{name}");
            assert_eq!(mutant.is(mutant), cfg!(feature = "mutants"));
        }
        assert_eq!(Mutant::parse("none"), Ok(Mutant::None));
        assert!(Mutant::parse("nonsense").is_err());
    }
}
