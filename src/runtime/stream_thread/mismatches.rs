//! How often a task's changelog has shown another epoch than its committed offsets name.
//!
//! A commit of the previous owner may come between the two questions, and a thread that has not
//! heard that its partition is another's may see one at every try. Only offsets that stand still
//! while the changelog is ahead were changed by somebody else.

/// How often the same offsets are met before they are a failure.
const MEETINGS_MAX: u32 = 5;

/// The mismatches of one task's restores.
#[derive(Debug, Clone, Default)]
pub(super) struct Mismatches {
    expected: String,
    met: u32,
}

impl Mismatches {
    /// One more, with the epoch that the offsets name. Whether they are to be asked for again.
    pub(super) fn may_pass(&mut self, expected: &str) -> bool {
        if self.expected != expected {
            *self = Self { expected: expected.to_owned(), met: 0 };
        }
        self.met += 1;
        self.met <= MEETINGS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_offsets_that_stand_still_were_changed_by_somebody_else() {
        let mut mismatches = Mismatches::default();
        for epoch in 0..100 {
            assert!(mismatches.may_pass(&format!("epoch {epoch}")), "an owner that commits");
        }
        let tries = (0..10).filter(|_| mismatches.may_pass("epoch 99")).count();
        assert_eq!(tries, 4, "the first meeting was the last of the hundred");
        assert!(mismatches.may_pass("epoch 100"));
    }
}
