//! Whether a task stands still that should move, why, and what is done about it (pure).
//!
//! A task moves when its slot changes, its positions grow, or an epoch of it is committed. One
//! that has not moved for a minute is idle, or something is wrong that no time-out of its own has
//! met. Only the partition's end tells an idle task from one that is not given its records, and
//! even that not surely: behind the last record there may be markers, which are never delivered.
//! So a task that seems to be behind is read again, quietly; it was stuck if that delivers a record
//! that was there before.

use std::time::Duration;

/// A task that has not moved for so long is looked into.
pub(crate) const STILL: Duration = Duration::from_secs(60);

/// What must be seen behind a task for so long is no record that is about to be delivered.
pub(crate) const SURE: Duration = Duration::from_secs(5);

/// How often a task is read again in vain, each time after more has come.
const VAIN_MAX: u32 = 3;

/// What a task is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Stopped with a reason, and looked at again by itself.
    Stopped,
    /// Waiting for its stable committed offsets.
    Asking,
    /// Its changelog is being read.
    Restoring {
        /// Records left, as far as known.
        remaining: i64,
    },
    /// Waiting for the bounds of inputs without a committed offset.
    Bounds,
    /// Its start position is being committed.
    Starting,
    /// Waiting for its last commit to show in its changelog.
    Checking,
    /// Processing.
    Running,
}

/// What is known of a task that has not moved for [`STILL`].
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) at: At,
    /// Why it is blocked, where that is known.
    pub(crate) blocked: Option<String>,
    /// An epoch that it takes part in, or that is being taken down, and its phase.
    pub(crate) epoch: Option<(u64, &'a str)>,
    /// Its thread gives partitions back, or ends.
    pub(crate) draining: bool,
    /// Records wait for memory (MEM-1).
    pub(crate) memory_short: bool,
    /// Records of it are fetched, and not processed.
    pub(crate) fetched: bool,
    /// What is known of the ends of its inputs.
    pub(crate) ends: Ends,
}

/// The stable ends of a task's inputs, next to its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ends {
    /// Not asked for since it stands still.
    #[default]
    Unknown,
    /// The question is out.
    Asked,
    /// There is something behind its position, seen for [`SURE`] or less long. The sum of the
    /// stable ends tells whether more has come.
    Behind {
        /// Seen for longer than [`SURE`].
        sure: bool,
        /// The sum of the stable ends.
        end: i64,
        /// The sum at which it was last read again, without moving, and how often it was.
        read_again: Option<(i64, u32)>,
    },
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Nothing: it is idle, or it is not sure yet.
    Nothing,
    /// Ask where its inputs end.
    AskEnds,
    /// Read its inputs again from its positions; say so only if it moves then.
    ReadAgain,
    /// Say it. Every step that it waits for has a time-out of its own.
    Report,
    /// Say it, and start the task anew: from its committed offsets and its changelog.
    Reopen,
}

/// Why it stands still and what is done about it.
pub(crate) fn decide(facts: &Facts<'_>) -> (Cure, String) {
    let because = |words: &str| match &facts.blocked {
        Some(blocked) => format!("{words}: {blocked}"),
        None => words.to_owned(),
    };
    if let (Some((number, phase)), false) = (facts.epoch, facts.at == At::Stopped) {
        return (Cure::Report, because(&format!("epoch {number} does not get beyond {phase}")));
    }
    match facts.at {
        At::Stopped => (Cure::Nothing, String::new()),
        At::Asking => (Cure::Reopen, because("its committed offsets are not to be had")),
        At::Restoring { remaining } => {
            (Cure::Reopen, because(&format!("no restore advances, {remaining} records left")))
        }
        At::Starting | At::Running if facts.draining => {
            (Cure::Report, because("its thread is draining"))
        }
        At::Bounds => (Cure::Reopen, because("the bounds of its inputs are not to be had")),
        At::Starting => (Cure::Reopen, because("its start position is not committed")),
        At::Checking => (Cure::Reopen, because("its changelog does not show its last commit")),
        At::Running if facts.memory_short => (Cure::Report, because("it waits for memory (MEM-1)")),
        At::Running if facts.fetched => {
            (Cure::Report, because("records are fetched and not processed"))
        }
        At::Running => not_given(facts.ends),
    }
}

fn not_given(ends: Ends) -> (Cure, String) {
    match ends {
        Ends::Unknown => (Cure::AskEnds, String::new()),
        Ends::Asked | Ends::Behind { sure: false, .. } => (Cure::Nothing, String::new()),
        // Markers alone: nothing has come since it was read again in vain.
        Ends::Behind { end, read_again: Some((before, _)), .. } if end <= before => {
            (Cure::Nothing, String::new())
        }
        Ends::Behind { read_again: Some((_, vain)), .. } if vain >= VAIN_MAX => {
            let words = "records behind its position are not delivered, also when read again";
            (Cure::Reopen, words.to_owned())
        }
        Ends::Behind { .. } => (Cure::ReadAgain, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(at: At) -> Facts<'static> {
        Facts {
            at,
            blocked: None,
            epoch: None,
            draining: false,
            memory_short: false,
            fetched: false,
            ends: Ends::Unknown,
        }
    }

    #[test]
    fn every_standstill_has_its_reason_and_its_cure() {
        let behind = |sure, end, read_again| Facts {
            ends: Ends::Behind { sure, end, read_again },
            ..facts(At::Running)
        };
        let table = [
            (facts(At::Stopped), Cure::Nothing, ""),
            (facts(At::Asking), Cure::Reopen, "committed offsets are not to be had"),
            (facts(At::Restoring { remaining: 7 }), Cure::Reopen, "7 records left"),
            (facts(At::Bounds), Cure::Reopen, "bounds of its inputs"),
            (facts(At::Starting), Cure::Reopen, "start position is not committed"),
            (facts(At::Checking), Cure::Reopen, "does not show its last commit"),
            (Facts { epoch: Some((9, "offsets")), ..facts(At::Running) }, Cure::Report, "epoch 9"),
            (Facts { epoch: Some((9, "flush")), ..facts(At::Starting) }, Cure::Report, "flush"),
            (Facts { draining: true, ..facts(At::Running) }, Cure::Report, "draining"),
            (Facts { memory_short: true, ..facts(At::Running) }, Cure::Report, "MEM-1"),
            (Facts { fetched: true, ..facts(At::Running) }, Cure::Report, "not processed"),
            (facts(At::Running), Cure::AskEnds, ""),
            (Facts { ends: Ends::Asked, ..facts(At::Running) }, Cure::Nothing, ""),
            (behind(false, 5, None), Cure::Nothing, ""),
            (behind(true, 5, None), Cure::ReadAgain, ""),
            // Read again in vain: markers, until more comes.
            (behind(true, 5, Some((5, 1))), Cure::Nothing, ""),
            (behind(true, 6, Some((5, 2))), Cure::ReadAgain, ""),
            (behind(true, 6, Some((5, 3))), Cure::Reopen, "also when read again"),
            (behind(true, 6, Some((6, 3))), Cure::Nothing, ""),
        ];
        for (facts, cure, words) in table {
            let (found, reason) = decide(&facts);
            assert_eq!(found, cure, "{facts:?}");
            assert!(reason.contains(words), "{reason:?} for {facts:?}");
        }
        let blocked = Facts { blocked: Some("by app.x.0.a".to_owned()), ..facts(At::Asking) };
        assert!(decide(&blocked).1.contains("by app.x.0.a"));
    }
}
