//! Whether a fenced instance id means that another process lives (a twin), or that the group fell
//! back to an older membership.
//!
//! Pure: who holds the instance id in, one decision out. A coordinator that takes a group over may
//! load a membership that this one had replaced already: a join is written down when its
//! rebalance ends, not when it is answered. Then the older membership fences the newer one, and
//! nobody else lives. Two processes that do live must not push each other out in turn: the one
//! that started later goes on, the other one watches it for a session and ends.

use std::time::Duration;

use crate::runtime::{Namesake, Standing};

/// What a fenced thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesakeDecision {
    /// Joins anew: whoever holds the id is this process, one before it, or nobody.
    Rejoin,
    /// Asks again: a dead holder's session ends.
    Watch,
    /// Ends: another live process has the id.
    Twin,
}

/// Decides. `watched` is the member id that was found before, and for how long it has been the
/// same; `session` is how long a silent member is kept by the group.
pub fn decide(
    namesake: Option<&Namesake>,
    watched: Option<(&str, Duration)>,
    session: Duration,
) -> NamesakeDecision {
    let Some(namesake) = namesake else { return NamesakeDecision::Rejoin };
    match namesake.process {
        Standing::Ours | Standing::Older => NamesakeDecision::Rejoin,
        Standing::Newer | Standing::Unknown => match watched {
            Some((member_id, held)) if member_id == namesake.member_id && held > session => {
                NamesakeDecision::Twin
            }
            _ => NamesakeDecision::Watch,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_holder_that_outlives_its_session_is_a_twin() {
        use NamesakeDecision as D;
        use Standing as S;
        let session = Duration::from_secs(15);
        let (short, long) = (Duration::from_secs(15), Duration::from_secs(16));
        let table = [
            (None, None, D::Rejoin),
            (None, Some(("m", long)), D::Rejoin),
            (Some(S::Ours), None, D::Rejoin),
            // A coordinator came back with what was there before this process.
            (Some(S::Older), None, D::Rejoin),
            (Some(S::Older), Some(("m", long)), D::Rejoin),
            (Some(S::Newer), None, D::Watch),
            (Some(S::Newer), Some(("m", short)), D::Watch),
            (Some(S::Newer), Some(("m", long)), D::Twin),
            // Its holder has changed: watched anew.
            (Some(S::Newer), Some(("other", long)), D::Watch),
            (Some(S::Unknown), None, D::Watch),
            (Some(S::Unknown), Some(("m", short)), D::Watch),
            (Some(S::Unknown), Some(("m", long)), D::Twin),
        ];
        for (process, watched, expected) in table {
            let namesake = process.map(|process| Namesake { member_id: "m".to_owned(), process });
            let decision = decide(namesake.as_ref(), watched, session);
            assert_eq!(decision, expected, "{process:?} {watched:?}");
        }
    }
}
