//! RUN, SEAL, FLUSH, COMMIT, APPLY, ABORT, RESOLVE: events in (`handle_*`), actions out (`poll`).
//!
//! Owns the order of steps of up to two overlapping epochs on two producers ([`Lane`]), and
//! nothing else: no I/O, no clock, no data. Time is an argument. The driver (`stream_thread`)
//! carries out every [`EpochAction`] and reports its outcome.
//!
//! ```text
//!           seal()      handle_sent    handle_flushed   (turn)     handle_offsets_sent  handle_committed
//! Running ────────▶ Sealed ─────▶ Flushing ─────▶ Flushed ─▶ SendingOffsets ─▶ OffsetsSent ─▶ Committing ─▶ applied
//!    │                 │              │               │             │              │             │
//!    └─────────────────┴── abortable ─┴───────────────┴─────────────┴──────────────┘             │ not OK
//!                            ▼                                                                   ▼
//!                         abort ──(not OK)──▶ replace the producer ──▶ discard      replace, ask, decide (EOS-4)
//! ```
//!
//! Rules upheld here: EOS-3 (an epoch's offsets go out with its commit), EOS-4, EOS-6 (the younger
//! epoch sends nothing before the older is flushed, neither offsets nor commit before the older is
//! committed, and falls with it), EOS-7 (a lost membership starts no commit).

use std::{collections::VecDeque, time::Duration};

use super::{
    failing::{Ask, Mode},
    phase::{EpochAction, EpochLimits, EpochPhase},
};
use crate::runtime::{Lane, mutants::Mutant};

#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) epoch: u64,
    pub(super) lane: Lane,
    pub(super) phase: EpochPhase,
    /// The transaction is begun at its producer.
    pub(super) begun: bool,
    pub(super) since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneState {
    Closed,
    Opening {
        since: Duration,
    },
    Ready,
    /// Opening failed: try again at this time.
    Waiting {
        until: Duration,
    },
}

/// The epoch state machine of one stream thread.
#[derive(Debug, Clone)]
pub struct EpochMachine {
    pub(super) limits: EpochLimits,
    pub(super) lanes: [LaneState; 2],
    /// Oldest first; at most two, only the last one `Running`.
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) mode: Mode,
    pub(super) last_epoch: u64,
    pub(super) last_lane: Lane,
    pub(super) last_seal: Option<Duration>,
    pub(super) drain: bool,
    pub(super) lost: bool,
    pub(super) failures: u32,
    pub(super) apply: VecDeque<u64>,
    pub(super) give_up: Option<String>,
    mutant: Mutant,
}

impl EpochMachine {
    /// A machine without epochs; both lanes are closed.
    pub fn new(limits: EpochLimits) -> Self {
        Self {
            limits,
            lanes: [LaneState::Closed; 2],
            in_flight: VecDeque::new(),
            mode: Mode::Normal,
            last_epoch: 0,
            last_lane: Lane::B,
            last_seal: None,
            drain: false,
            lost: false,
            failures: 0,
            apply: VecDeque::new(),
            give_up: None,
            mutant: Mutant::None,
        }
    }

    /// Breaks a rule on purpose.
    #[must_use]
    pub fn with_mutant(self, mutant: Mutant) -> Self {
        Self { mutant, ..self }
    }

    // --- questions ---------------------------------------------------------------------------

    /// The running epoch's number, if one has begun.
    pub fn running(&self) -> Option<u64> {
        self.in_flight.back().filter(|e| e.phase == EpochPhase::Running).map(|e| e.epoch)
    }

    /// Whether records may be processed now: an epoch runs, or one could begin.
    pub fn may_process(&self) -> bool {
        self.normal() && !self.drain && !self.lost && (self.running().is_some() || self.may_begin())
    }

    /// Whether nothing is in flight and nothing is failing: tasks may be closed.
    pub fn is_idle(&self) -> bool {
        matches!(self.mode, Mode::GivenUp)
            || (self.in_flight.is_empty() && self.normal() && self.apply.is_empty())
    }

    /// Whether the epoch's records may go to the producer (EOS-6), and to which.
    pub fn may_send(&self, epoch: u64) -> Option<Lane> {
        self.in_flight.iter().find(|e| e.epoch == epoch && e.begun).map(|e| e.lane)
    }

    /// Whether the running epoch should be sealed now.
    pub fn seal_due(&self, now: Duration, records: u64, bytes: u64) -> bool {
        if self.running().is_none() || !self.normal() || self.lost {
            return false;
        }
        let since_seal = self.last_seal.map_or(Duration::MAX, |at| now.saturating_sub(at));
        self.drain
            || since_seal >= self.limits.interval.max(self.limits.min_pause)
            || (since_seal >= self.limits.min_pause
                && (records >= self.limits.max_records || bytes >= self.limits.max_bytes))
    }

    /// The next moment at which [`Self::seal_due`] may turn true or a time-out passes.
    pub fn next_deadline(&self) -> Option<Duration> {
        let seal = self.running().and(self.last_seal).map(|at| at + self.limits.interval);
        let steps = self.in_flight.iter().filter(|e| e.phase.call().is_some()).map(|e| e.since);
        let opens = self.lanes.iter().filter_map(|lane| match *lane {
            LaneState::Opening { since } => Some(since + self.limits.timeout),
            LaneState::Waiting { until } => Some(until),
            LaneState::Closed | LaneState::Ready => None,
        });
        steps.map(|since| since + self.limits.timeout).chain(opens).chain(seal).min()
    }

    /// The phase to show: the oldest epoch's, or what else goes on.
    pub fn shown_phase(&self) -> &'static str {
        match (&self.mode, self.in_flight.front()) {
            (Mode::Failing(failing), _) if failing.ask != Ask::No => "resolve",
            (Mode::Failing(_), _) => "abort",
            (Mode::GivenUp, _) => "given-up",
            (Mode::Normal, Some(epoch)) => epoch.phase.name(),
            (Mode::Normal, None) => "idle",
        }
    }

    /// The epoch that is in flight on a lane.
    pub fn epoch_at(&self, lane: Lane) -> Option<u64> {
        self.in_flight.iter().find(|e| e.lane == lane).map(|e| e.epoch)
    }

    /// The number of the last epoch that began.
    pub fn last_epoch(&self) -> u64 {
        self.last_epoch
    }

    /// The phase of the oldest epoch in flight.
    pub fn oldest_phase(&self) -> Option<EpochPhase> {
        self.in_flight.front().map(|e| e.phase)
    }

    // --- mutators ----------------------------------------------------------------------------

    /// Begins an epoch if none runs and one may; `floor` is the highest committed epoch of all
    /// tasks. Gives the running epoch's number.
    pub fn begin(&mut self, now: Duration, floor: u64) -> Option<u64> {
        if !self.normal() || self.drain || self.lost {
            return None;
        }
        if let Some(epoch) = self.running() {
            return Some(epoch);
        }
        if !self.may_begin() {
            return None;
        }
        let lane = self.next_lane();
        self.last_lane = lane;
        self.last_epoch = self.last_epoch.max(floor) + 1;
        self.in_flight.push_back(InFlight {
            epoch: self.last_epoch,
            lane,
            phase: EpochPhase::Running,
            begun: false,
            since: now,
        });
        Some(self.last_epoch)
    }

    /// The driver has sealed the running epoch; its records are queued or about to be.
    pub fn seal(&mut self, now: Duration) {
        if let Some(epoch) = self.in_flight.back_mut().filter(|e| e.phase == EpochPhase::Running) {
            epoch.phase = EpochPhase::Sealed;
            epoch.since = now;
            self.last_seal = Some(now);
        }
    }

    /// Finish what runs and begin nothing new until [`Self::end_drain`]: before partitions are
    /// given up (EOS-7), and at shutdown.
    pub fn start_drain(&mut self) {
        self.drain = true;
    }

    /// Epochs may begin again.
    pub fn end_drain(&mut self) {
        self.drain = false;
    }

    /// Whether a drain is on.
    pub fn is_draining(&self) -> bool {
        self.drain
    }

    // --- actions -----------------------------------------------------------------------------

    /// The next action; call until `None`.
    pub fn poll(&mut self, now: Duration) -> Option<EpochAction> {
        debug_assert!(
            self.mutant != Mutant::None || self.keeps_order(),
            "EOS-6: {:?}",
            self.in_flight
        );
        if let Some(epoch) = self.apply.pop_front() {
            return Some(EpochAction::Apply { epoch });
        }
        if let Some(reason) = self.give_up.take() {
            return Some(EpochAction::GiveUp { reason });
        }
        self.poll_lanes(now).or_else(|| match self.mode {
            Mode::Normal => self.poll_normal(now),
            Mode::Failing(_) => self.poll_failing(now),
            Mode::GivenUp => None,
        })
    }

    fn poll_lanes(&mut self, now: Duration) -> Option<EpochAction> {
        if matches!(self.mode, Mode::GivenUp) {
            return None;
        }
        for lane in Lane::ALL {
            let open = match self.lanes[lane.index()] {
                // The second lane waits for the first: a cold start needs only one.
                LaneState::Closed => {
                    lane == Lane::A || self.lanes[Lane::A.index()] == LaneState::Ready
                }
                LaneState::Waiting { until } => now >= until,
                LaneState::Opening { .. } | LaneState::Ready => false,
            };
            if open {
                self.lanes[lane.index()] = LaneState::Opening { since: now };
                return Some(EpochAction::Open(lane));
            }
        }
        None
    }

    fn poll_normal(&mut self, now: Duration) -> Option<EpochAction> {
        for index in 0..self.in_flight.len() {
            let older_flushed = index == 0
                || self.in_flight[index - 1].phase >= EpochPhase::Flushed
                || self.mutant.is(Mutant::YoungerSendsEarly);
            let epoch = &mut self.in_flight[index];
            let ready = self.lanes[epoch.lane.index()] == LaneState::Ready;
            if !epoch.begun && older_flushed && ready {
                epoch.begun = true;
                return Some(EpochAction::Begin { lane: epoch.lane, epoch: epoch.epoch });
            }
        }
        // Offsets and commit are the oldest epoch's alone: the younger waits for APPLY (EOS-6).
        let lost = self.lost;
        let turn = self.turn();
        let oldest = self.in_flight.get_mut(turn).filter(|_| !lost)?;
        let (lane, epoch) = (oldest.lane, oldest.epoch);
        match oldest.phase {
            EpochPhase::Flushed => {
                oldest.phase = EpochPhase::SendingOffsets;
                oldest.since = now;
                Some(EpochAction::SendOffsets { lane, epoch })
            }
            EpochPhase::OffsetsSent => {
                oldest.phase = EpochPhase::Committing;
                oldest.since = now;
                Some(EpochAction::Commit { lane, epoch })
            }
            _ => None,
        }
    }

    // --- inside ------------------------------------------------------------------------------

    pub(super) fn normal(&self) -> bool {
        matches!(self.mode, Mode::Normal)
    }

    /// EOS-6, as a state: a younger epoch has begun only behind acknowledged records, and sends
    /// neither offsets nor commits while there is an older one.
    fn keeps_order(&self) -> bool {
        let (Some(older), Some(younger)) = (self.in_flight.front(), self.in_flight.get(1)) else {
            return true;
        };
        let acknowledged = older.phase >= EpochPhase::Flushed;
        older.epoch < younger.epoch
            && older.lane != younger.lane
            && (acknowledged || !younger.begun || !self.normal())
            && younger.phase <= EpochPhase::Flushed
    }

    /// Whose turn it is to send offsets and to commit: the oldest's (EOS-6).
    fn turn(&self) -> usize {
        let (Some(older), Some(younger)) = (self.in_flight.front(), self.in_flight.get(1)) else {
            return 0;
        };
        let waits = older.phase == EpochPhase::Flushed;
        let offsets_first =
            self.mutant.is(Mutant::YoungerOffsetsFirst) && younger.phase < EpochPhase::OffsetsSent;
        let commits_first = self.mutant.is(Mutant::YoungerCommitsFirst);
        usize::from(waits && (offsets_first || commits_first))
    }

    fn may_begin(&self) -> bool {
        let depth = if self.limits.pipelining { 2 } else { 1 };
        self.in_flight.len() < depth
            && self.in_flight.iter().all(|e| e.phase != EpochPhase::Running)
    }

    /// Alternate: the next transaction on the same id would wait for the last one's markers.
    fn next_lane(&self) -> Lane {
        let other = self.last_lane.other();
        if self.in_flight.iter().any(|e| e.lane == other) {
            return self.last_lane;
        }
        let usable = |lane: Lane| self.lanes[lane.index()] == LaneState::Ready;
        if !usable(other)
            && usable(self.last_lane)
            && self.in_flight.iter().all(|e| e.lane != self.last_lane)
        {
            return self.last_lane;
        }
        other
    }

    /// The first epoch that is not yet the broker's to decide.
    pub(super) fn first_undecided(&self) -> usize {
        usize::from(self.in_flight.front().is_some_and(|e| e.phase == EpochPhase::Committing))
    }

    pub(super) fn apply_front(&mut self) {
        self.apply_at(0);
    }

    pub(super) fn apply_at(&mut self, index: usize) {
        if let Some(done) = self.in_flight.remove(index) {
            self.apply.push_back(done.epoch);
            self.failures = 0;
        }
        if self.in_flight.is_empty() {
            self.lost = false;
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
