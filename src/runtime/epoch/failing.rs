//! ABORT and RESOLVE: how epochs are taken down.
//!
//! Owns the order: first what is open at the broker is ended, then the fate of an epoch whose
//! commit has no known outcome is asked for (EOS-4), then everything is discarded or applied.

use std::time::Duration;

use super::{
    machine::{EpochMachine, LaneState},
    phase::{EpochAction, EpochPhase, Resolution},
    recovery::{Call, Failed, Recovery, recover},
};
use crate::runtime::{Lane, TransactionFailure};

/// Failing epochs are taken down in this order: what the broker has open is ended (abort or a new
/// producer), then the oldest epoch's fate is known or asked, then all is discarded or applied.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    Normal,
    Failing(Failing),
    GivenUp,
}

#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub(super) reason: String,
    /// What is still to be ended at the broker, by lane.
    pub(super) ends: [End; 2],
    /// The oldest epoch's outcome must be asked for.
    pub(super) ask: Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is open there.
    Done,
    /// Abort has to be submitted.
    Abort,
    /// Abort is submitted.
    Aborting { since: Duration },
    /// An older epoch is being committed there, and its answer is waited for.
    Committing { since: Duration },
    /// The producer has to be replaced, which ends its transaction.
    Replace,
    /// It is being replaced.
    Replacing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    No,
    Needed,
    Asked,
    Known(Resolution),
}

impl EpochMachine {
    pub(super) fn poll_failing(&mut self, now: Duration) -> Option<EpochAction> {
        let Mode::Failing(failing) = &mut self.mode else { return None };
        for lane in Lane::ALL {
            match failing.ends[lane.index()] {
                End::Abort => {
                    failing.ends[lane.index()] = End::Aborting { since: now };
                    let epoch = self.in_flight.iter().find(|e| e.lane == lane)?.epoch;
                    return Some(EpochAction::Abort { lane, epoch });
                }
                End::Replace => {
                    failing.ends[lane.index()] = End::Replacing;
                    self.lanes[lane.index()] = LaneState::Opening { since: now };
                    return Some(EpochAction::Open(lane));
                }
                End::Done | End::Aborting { .. } | End::Committing { .. } | End::Replacing => {}
            }
        }
        if failing.ends.iter().any(|end| *end != End::Done) {
            return None;
        }
        // After an epoch that was committed after all there may be none: the driver is told to
        // discard all the same, since what its tasks may do next has to be checked.
        let oldest = self.in_flight.front().map_or(self.last_epoch + 1, |e| e.epoch);
        match failing.ask {
            Ask::Needed => {
                failing.ask = Ask::Asked;
                Some(EpochAction::Resolve { epoch: oldest })
            }
            Ask::Asked => None,
            Ask::No | Ask::Known(Resolution::Aborted) => {
                let reason = std::mem::take(&mut failing.reason);
                Some(self.discard(oldest, &reason))
            }
            Ask::Known(Resolution::Committed) => {
                failing.ask = Ask::No;
                self.apply_front();
                self.apply.pop_front().map(|epoch| EpochAction::Apply { epoch })
            }
        }
    }

    pub(super) fn fail_if_lost(&mut self) {
        if self.lost && self.normal() {
            let first = self.first_undecided();
            if first < self.in_flight.len() {
                self.fail_from(first, "partitions were lost");
            } else if self.in_flight.is_empty() {
                self.lost = false;
            }
        }
    }

    /// Takes down the epochs from `first` on. An older one (`first` = 1) is being committed: its
    /// answer is waited for. With `first` = 0 an epoch that is being committed has no known
    /// outcome: its producer is replaced, then its offsets are asked for (EOS-4).
    pub(super) fn fail_from(&mut self, first: usize, reason: &str) {
        let mut ends = [End::Done; 2];
        let mut ask = Ask::No;
        for (index, epoch) in self.in_flight.iter().enumerate() {
            ends[epoch.lane.index()] = match epoch.phase {
                EpochPhase::Committing if index < first => End::Committing { since: epoch.since },
                EpochPhase::Committing => {
                    ask = Ask::Needed;
                    End::Replace
                }
                _ if epoch.begun => End::Abort,
                _ => End::Done,
            };
        }
        self.mode = Mode::Failing(Failing { reason: reason.to_owned(), ends, ask });
    }

    /// A call failed: does what [`recover`] decides.
    pub(super) fn recover_call(&mut self, call: Call, lane: Lane, failure: &TransactionFailure) {
        let recovery = match recover(&Failed::Call(call, failure)) {
            // Here the call's time is over: adapters retry within it. Opening has no such end.
            Recovery::RetryCall if call != Call::Open => {
                let over = TransactionFailure::Abandoned(failure.reason().to_owned());
                recover(&Failed::Call(call, &over))
            }
            recovery => recovery,
        };
        tracing::warn!(%lane, ?call, %failure, ?recovery, "recovering");
        match recovery {
            Recovery::RetryCall => {}
            Recovery::Abort
            | Recovery::GiveUpTasks
            | Recovery::RenewMembership
            | Recovery::StopTask => {
                // The older epoch may be committing: then only the younger one falls.
                self.fail_from(self.first_undecided(), failure.reason());
            }
            Recovery::Replace => {
                if self.normal() {
                    self.fail_from(self.first_undecided(), failure.reason());
                }
                self.replace(lane);
            }
            Recovery::Resolve => {
                if self.normal() {
                    self.fail_from(0, failure.reason());
                } else if let Mode::Failing(failing) = &mut self.mode {
                    failing.ask = Ask::Needed;
                }
                self.replace(lane);
            }
            Recovery::StopProcess => self.give_up(failure.to_string()),
        }
    }

    fn replace(&mut self, lane: Lane) {
        if let Mode::Failing(failing) = &mut self.mode {
            failing.ends[lane.index()] = End::Replace;
        }
    }

    /// Leaves what is open to the broker's time-out.
    fn give_up(&mut self, reason: String) {
        self.mode = Mode::GivenUp;
        self.give_up = Some(reason);
    }

    fn discard(&mut self, from: u64, reason: &str) -> EpochAction {
        self.in_flight.retain(|e| e.epoch < from);
        self.end_failing(reason);
        EpochAction::Discard { from }
    }

    fn end_failing(&mut self, reason: &str) {
        self.mode = Mode::Normal;
        self.lost = false;
        self.count_failure(reason);
    }

    fn count_failure(&mut self, reason: &str) {
        self.failures += 1;
        if self.failures > self.limits.tolerated_failures {
            let tolerated = self.limits.tolerated_failures;
            self.give_up(format!("{tolerated} epochs failed in a row, the last one: {reason}"));
        }
    }
}
