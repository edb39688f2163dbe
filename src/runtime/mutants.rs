//! Switches that break a guarantee on purpose, so that the checks can show that they see it.
//!
//! Without the feature `mutants` there is only [`Mutant::None`].

/// Which guarantee is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutant {
    /// None.
    #[default]
    None,
    /// Offsets are committed beside the transaction, before it commits (breaks EOS-1).
    #[cfg(feature = "mutants")]
    OffsetsOutsideTransaction,
    /// The sealed epoch is written to the byte store before it is committed (breaks EOS-2).
    #[cfg(feature = "mutants")]
    StateBeforeCommit,
    /// Restores read uncommitted changelog records (breaks EOS-5).
    #[cfg(feature = "mutants")]
    ChangelogReadUncommitted,
    /// An abort keeps resident entries (breaks DESIGN section 6).
    #[cfg(feature = "mutants")]
    AbortKeepsResident,
    /// Nobody looks at the memory that a thread holds (breaks MEM-1).
    #[cfg(feature = "mutants")]
    MemoryUnbounded,
}

impl Mutant {
    /// The mutant of that name; an error names those that this build has.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "" | "none" => Ok(Self::None),
            #[cfg(feature = "mutants")]
            "offsets-outside-transaction" => Ok(Self::OffsetsOutsideTransaction),
            #[cfg(feature = "mutants")]
            "state-before-commit" => Ok(Self::StateBeforeCommit),
            #[cfg(feature = "mutants")]
            "changelog-read-uncommitted" => Ok(Self::ChangelogReadUncommitted),
            #[cfg(feature = "mutants")]
            "abort-keeps-resident" => Ok(Self::AbortKeepsResident),
            #[cfg(feature = "mutants")]
            "memory-unbounded" => Ok(Self::MemoryUnbounded),
            other => Err(format!(
                "no mutant {other:?} in this build{}",
                if cfg!(feature = "mutants") { "" } else { " (feature `mutants` is off)" }
            )),
        }
    }

    /// Breaks EOS-1.
    pub fn offsets_outside_transaction(self) -> bool {
        #[cfg(feature = "mutants")]
        return self == Self::OffsetsOutsideTransaction;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// Breaks EOS-2.
    pub fn state_before_commit(self) -> bool {
        #[cfg(feature = "mutants")]
        return self == Self::StateBeforeCommit;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// Breaks EOS-5.
    pub fn changelog_read_uncommitted(self) -> bool {
        #[cfg(feature = "mutants")]
        return self == Self::ChangelogReadUncommitted;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// Keeps resident entries across an abort.
    pub fn abort_keeps_resident(self) -> bool {
        #[cfg(feature = "mutants")]
        return self == Self::AbortKeepsResident;
        #[cfg(not(feature = "mutants"))]
        false
    }

    /// Breaks MEM-1.
    pub fn memory_unbounded(self) -> bool {
        #[cfg(feature = "mutants")]
        return self == Self::MemoryUnbounded;
        #[cfg(not(feature = "mutants"))]
        false
    }
}
