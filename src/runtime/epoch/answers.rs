//! What the machine is told: answers of the log, failures, the passing of time (`handle_*`).

use std::time::Duration;

use super::{
    failing::{Ask, End, Mode},
    machine::{EpochMachine, InFlight, LaneState},
    phase::{EpochAction, EpochPhase, Resolution},
    recovery::Call,
};
use crate::runtime::{Lane, TransactionFailure};

/// How long to wait before a lane that could not be opened is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

impl EpochMachine {
    /// Partitions were lost: no commit is started any more for what is in flight (EOS-7). A commit
    /// that is submitted runs to its end.
    pub fn handle_lost(&mut self) {
        self.lost = true;
        self.fail_if_lost();
    }

    /// A record, an operator or a task made the epoch impossible: abort everything in flight
    /// that is not being committed.
    pub fn handle_failure(&mut self, reason: &str) {
        if matches!(self.mode, Mode::Normal) && !self.in_flight.is_empty() {
            // An older one that is being committed is the broker's to decide.
            self.fail_from(self.first_undecided(), reason);
        }
    }

    /// All records of a sealed epoch are in the client's queue.
    pub fn handle_sent(&mut self, epoch: u64, now: Duration) -> Option<EpochAction> {
        let normal = self.normal();
        let sealed = self
            .in_flight
            .iter_mut()
            .find(|e| e.epoch == epoch && e.phase == EpochPhase::Sealed && e.begun && normal)?;
        sealed.phase = EpochPhase::Flushing;
        sealed.since = now;
        Some(EpochAction::Flush { lane: sealed.lane, epoch })
    }

    /// Answer to [`EpochAction::Open`].
    pub fn handle_opened(
        &mut self,
        lane: Lane,
        result: Result<(), TransactionFailure>,
        now: Duration,
    ) {
        if !matches!(self.lanes[lane.index()], LaneState::Opening { .. }) {
            return;
        }
        match result {
            Ok(()) => {
                self.lanes[lane.index()] = LaneState::Ready;
                if let Mode::Failing(failing) = &mut self.mode
                    && failing.ends[lane.index()] == End::Replacing
                {
                    failing.ends[lane.index()] = End::Done;
                }
            }
            Err(failure) => {
                self.lanes[lane.index()] = LaneState::Waiting { until: now + REOPEN_PAUSE };
                self.recover_call(Call::Open, lane, &failure);
            }
        }
    }

    /// Answer to [`EpochAction::Flush`]. A refused record is an abortable failure.
    pub fn handle_flushed(
        &mut self,
        lane: Lane,
        result: Result<(), TransactionFailure>,
        now: Duration,
    ) {
        self.step(Call::Flush, lane, EpochPhase::Flushed, result, now);
    }

    /// Answer to [`EpochAction::SendOffsets`].
    pub fn handle_offsets_sent(
        &mut self,
        lane: Lane,
        result: Result<(), TransactionFailure>,
        now: Duration,
    ) {
        self.step(Call::SendOffsets, lane, EpochPhase::OffsetsSent, result, now);
    }

    /// Answer to [`EpochAction::Commit`].
    pub fn handle_committed(&mut self, lane: Lane, result: Result<(), TransactionFailure>) {
        let committing = |e: &InFlight| e.lane == lane && e.phase == EpochPhase::Committing;
        // Always the oldest, but for the mutants of EOS-6.
        let Some(index) = self.in_flight.iter().position(committing) else { return };
        match (&mut self.mode, result) {
            (Mode::Normal, Ok(())) => {
                self.apply_at(index);
                self.fail_if_lost();
            }
            (Mode::Normal, Err(failure)) => self.recover_call(Call::Commit, lane, &failure),
            (Mode::Failing(failing), result) => {
                let end = &mut failing.ends[lane.index()];
                match (*end, result) {
                    (End::Committing { .. }, Ok(())) => {
                        *end = End::Done;
                        failing.ask = Ask::Known(Resolution::Committed);
                    }
                    (End::Committing { .. }, Err(failure)) => {
                        self.recover_call(Call::Commit, lane, &failure);
                    }
                    _ => {}
                }
            }
            (Mode::GivenUp, _) => {}
        }
    }

    /// Answer to [`EpochAction::Abort`].
    pub fn handle_aborted(&mut self, lane: Lane, result: Result<(), TransactionFailure>) {
        let Mode::Failing(failing) = &mut self.mode else { return };
        let end = &mut failing.ends[lane.index()];
        if !matches!(end, End::Aborting { .. }) {
            return;
        }
        match result {
            Ok(()) => *end = End::Done,
            Err(failure) => self.recover_call(Call::Abort, lane, &failure),
        }
    }

    /// Answer to [`EpochAction::Resolve`].
    pub fn handle_resolved(&mut self, epoch: u64, resolution: Resolution) {
        let oldest = self.in_flight.front().map(|e| e.epoch);
        if let Mode::Failing(failing) = &mut self.mode
            && failing.ask == Ask::Asked
            && oldest == Some(epoch)
        {
            failing.ask = Ask::Known(resolution);
        }
    }

    /// Time passes: what is without an answer for too long counts as unknown.
    pub fn handle_tick(&mut self, now: Duration) {
        for lane in Lane::ALL {
            match self.lanes[lane.index()] {
                LaneState::Opening { since } if now >= since + self.limits.timeout => {
                    self.lanes[lane.index()] = LaneState::Waiting { until: now };
                    self.recover_call(Call::Open, lane, &silence("open"));
                }
                _ => {}
            }
            let Mode::Failing(failing) = &self.mode else { continue };
            match failing.ends[lane.index()] {
                End::Aborting { since } if now >= since + self.limits.timeout => {
                    self.recover_call(Call::Abort, lane, &silence("abort"));
                }
                End::Committing { since } if now >= since + self.limits.timeout => {
                    self.recover_call(Call::Commit, lane, &silence("commit"));
                }
                _ => {}
            }
        }
        if !self.normal() {
            return;
        }
        let late = |e: &InFlight| e.phase.call().is_some() && now >= e.since + self.limits.timeout;
        if let Some(index) = self.in_flight.iter().position(late) {
            let (lane, phase) = (self.in_flight[index].lane, self.in_flight[index].phase);
            if let Some(call) = phase.call() {
                self.recover_call(call, lane, &silence(phase.name()));
            }
        }
    }

    /// One answered step; false where nothing waited for the answer.
    fn step(
        &mut self,
        call: Call,
        lane: Lane,
        next: EpochPhase,
        result: Result<(), TransactionFailure>,
        now: Duration,
    ) -> bool {
        if !self.normal() {
            return false;
        }
        let Some(epoch) = self.at_mut(lane).filter(|e| e.phase.call() == Some(call)) else {
            return false;
        };
        match result {
            Ok(()) => {
                epoch.phase = next;
                epoch.since = now;
            }
            Err(failure) => self.recover_call(call, lane, &failure),
        }
        true
    }

    fn at_mut(&mut self, lane: Lane) -> Option<&mut InFlight> {
        self.in_flight.iter_mut().find(|e| e.lane == lane)
    }
}

/// The call's time is over without a word, whoever else watches it.
fn silence(what: &str) -> TransactionFailure {
    TransactionFailure::Abandoned(format!("no answer to {what}"))
}
