//! Member ids that this thread has had, and the one that it found in its place when it started.
//!
//! A member id is all that tells a process's membership from another one's: when a static member
//! comes back, the coordinator keeps the client id and the host of the one before it, so what a
//! group's description says of these is about whoever came first.

use crate::runtime::{Namesake, Standing};

/// How many of its own member ids a thread remembers; each loss of a membership makes one.
const OWN_MAX: usize = 16;

/// What one stream thread's connection knows of the members that had its instance id.
#[derive(Debug, Default)]
pub(super) struct KnownMembers {
    own: Vec<String>,
    before: Option<String>,
}

impl KnownMembers {
    /// The group gave this id to us.
    pub(super) fn is_ours(&mut self, member_id: &str) {
        if !self.own.iter().any(|own| own == member_id) {
            if self.own.len() == OWN_MAX {
                self.own.remove(0);
            }
            self.own.push(member_id.to_owned());
        }
    }

    /// This one had the place when it was looked at, before or while this thread joined.
    pub(super) fn was_before(&mut self, member_id: String) {
        self.before = Some(member_id);
    }

    /// The holder of the instance id, with whose it is.
    pub(super) fn told(&self, member_id: String) -> Namesake {
        let process = if self.own.contains(&member_id) {
            Standing::Ours
        } else if self.before.as_ref() == Some(&member_id) {
            Standing::Older
        } else {
            Standing::Unknown
        };
        Namesake { member_id, process }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_ours_or_was_there_before_us_or_is_a_stranger() {
        let mut known = KnownMembers::default();
        let told = |known: &KnownMembers, id: &str| known.told(id.to_owned()).process;
        assert_eq!(told(&known, "m0"), Standing::Unknown);
        known.was_before("m0".to_owned());
        known.is_ours("m1");
        known.is_ours("m1");
        known.is_ours("m2");
        assert_eq!(told(&known, "m0"), Standing::Older);
        assert_eq!([told(&known, "m1"), told(&known, "m2")], [Standing::Ours; 2]);
        assert_eq!(told(&known, "m3"), Standing::Unknown);
        // Looked at too late, it was ourselves.
        known.was_before("m2".to_owned());
        assert_eq!(told(&known, "m2"), Standing::Ours);
        for number in 0..OWN_MAX {
            known.is_ours(&format!("n{number}"));
        }
        assert_eq!(known.own.len(), OWN_MAX);
        assert_eq!(told(&known, "m1"), Standing::Unknown);
    }
}
