//! The epoch machine by script, and by random walk against a model of the broker.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::runtime::{
    TransactionFailure,
    epoch::{EpochAction as Do, Resolution},
};

fn limits(pipelining: bool) -> EpochLimits {
    EpochLimits {
        interval: Duration::from_millis(100),
        min_pause: Duration::ZERO,
        max_records: 1000,
        max_bytes: 1 << 20,
        timeout: Duration::from_secs(30),
        pipelining,
        tolerated_failures: 1_000_000,
    }
}

const T: Duration = Duration::from_secs(1);

fn abortable() -> Result<(), TransactionFailure> {
    Err(TransactionFailure::Abortable("ILLEGAL_GENERATION".into()))
}

fn unknown() -> Result<(), TransactionFailure> {
    Err(TransactionFailure::Unknown("_TIMED_OUT".into()))
}

fn ready(pipelining: bool) -> EpochMachine {
    let mut machine = EpochMachine::new(limits(pipelining));
    for lane in Lane::ALL {
        assert_eq!(machine.poll(T), Some(Do::Open(lane)));
        machine.handle_opened(lane, Ok(()), T);
    }
    assert_eq!(machine.poll(T), None);
    machine
}

/// Runs an epoch up to its submitted commit; gives its lane.
fn commit_submitted(machine: &mut EpochMachine, epoch: u64) -> Lane {
    assert_eq!(machine.begin(T, 0), Some(epoch));
    let Some(Do::Begin { lane, .. }) = machine.poll(T) else { panic!("no begin") };
    machine.seal(T);
    assert_eq!(machine.handle_sent(epoch, T), Some(Do::Flush { lane, epoch }));
    machine.handle_flushed(lane, Ok(()), T);
    assert_eq!(machine.poll(T), Some(Do::SendOffsets { lane, epoch }));
    machine.handle_offsets_sent(lane, Ok(()), T);
    assert_eq!(machine.poll(T), Some(Do::Commit { lane, epoch }));
    lane
}

#[test]
fn an_epoch_runs_from_begin_to_apply_and_the_next_one_takes_the_other_lane() {
    let mut machine = ready(false);
    let lane = commit_submitted(&mut machine, 1);
    assert!(!machine.may_process(), "depth 1 waits for the commit");
    machine.handle_committed(lane, Ok(()));
    assert_eq!(machine.poll(T), Some(Do::Apply { epoch: 1 }));
    assert!(machine.is_idle());
    assert_eq!(commit_submitted(&mut machine, 2), lane.other());
}

#[test]
fn numbers_continue_behind_the_highest_committed_epoch_of_the_tasks() {
    let mut machine = ready(false);
    assert_eq!(machine.begin(T, 41), Some(42));
}

#[test]
fn the_younger_epoch_sends_nothing_before_the_older_is_flushed() {
    let mut machine = ready(true);
    machine.begin(T, 0);
    let Some(Do::Begin { lane, .. }) = machine.poll(T) else { panic!() };
    machine.seal(T);
    assert_eq!(machine.begin(T, 0), Some(2));
    assert_eq!(machine.poll(T), None, "EOS-6: no begin while epoch 1 is not flushed");
    assert_eq!(machine.may_send(2), None);
    machine.handle_sent(1, T);
    machine.handle_flushed(lane, Ok(()), T);
    assert_eq!(machine.poll(T), Some(Do::Begin { lane: lane.other(), epoch: 2 }));
    assert_eq!(machine.may_send(2), Some(lane.other()));
}

#[test]
fn the_younger_epoch_sends_no_offsets_before_the_older_is_committed() {
    let mut machine = ready(true);
    let lane = commit_submitted(&mut machine, 1);
    machine.begin(T, 0);
    machine.poll(T);
    machine.seal(T);
    machine.handle_sent(2, T);
    machine.handle_flushed(lane.other(), Ok(()), T);
    assert_eq!(machine.poll(T), None, "EOS-6: epoch 1 is not committed");
    machine.handle_committed(lane, Ok(()));
    assert_eq!(machine.poll(T), Some(Do::Apply { epoch: 1 }));
    assert_eq!(machine.poll(T), Some(Do::SendOffsets { lane: lane.other(), epoch: 2 }));
}

#[test]
fn an_abortable_failure_aborts_and_discards() {
    let mut machine = ready(false);
    machine.begin(T, 0);
    let Some(Do::Begin { lane, .. }) = machine.poll(T) else { panic!() };
    machine.seal(T);
    machine.handle_sent(1, T);
    machine.handle_flushed(lane, Ok(()), T);
    machine.poll(T);
    machine.handle_offsets_sent(lane, abortable(), T);
    assert!(!machine.may_process());
    assert_eq!(machine.poll(T), Some(Do::Abort { lane, epoch: 1 }));
    assert_eq!(machine.poll(T), None, "nothing is replayed before the broker has aborted");
    machine.handle_aborted(lane, Ok(()));
    assert_eq!(machine.poll(T), Some(Do::Discard { from: 1 }));
    assert_eq!(machine.begin(T, 0), Some(2), "a number is not used again");
}

#[test]
fn an_unknown_commit_is_resolved_and_applied_or_discarded() {
    for resolution in [Resolution::Committed, Resolution::Aborted] {
        let mut machine = ready(false);
        let lane = commit_submitted(&mut machine, 1);
        machine.handle_committed(lane, unknown());
        assert_eq!(machine.poll(T), Some(Do::Open(lane)));
        assert_eq!(machine.poll(T), None, "nothing is asked before the old producer is fenced");
        machine.handle_opened(lane, Ok(()), T);
        assert_eq!(machine.poll(T), Some(Do::Resolve { epoch: 1 }));
        machine.handle_resolved(1, resolution);
        let expected = match resolution {
            Resolution::Committed => Do::Apply { epoch: 1 },
            Resolution::Aborted => Do::Discard { from: 1 },
        };
        let applied = matches!(expected, Do::Apply { .. });
        assert_eq!(machine.poll(T), Some(expected));
        // Nothing is left to drop, but the tasks are told that something failed.
        assert_eq!(machine.poll(T), applied.then_some(Do::Discard { from: 2 }));
        assert!(machine.is_idle());
    }
}

#[test]
fn a_younger_epoch_falls_with_the_older_one() {
    let mut machine = ready(true);
    let lane = commit_submitted(&mut machine, 1);
    machine.begin(T, 0);
    assert!(matches!(machine.poll(T), Some(Do::Begin { epoch: 2, .. })));
    machine.handle_committed(lane, unknown());
    let mut actions = vec![];
    for _ in 0..8 {
        match machine.poll(T) {
            Some(Do::Open(lane)) => machine.handle_opened(lane, Ok(()), T),
            Some(Do::Abort { lane, .. }) => machine.handle_aborted(lane, Ok(())),
            Some(Do::Resolve { epoch }) => machine.handle_resolved(epoch, Resolution::Aborted),
            Some(other) => actions.push(other),
            None => break,
        }
    }
    assert_eq!(actions, [Do::Discard { from: 1 }]);
}

#[test]
fn a_failing_younger_epoch_waits_for_the_older_ones_commit() {
    let mut machine = ready(true);
    let lane = commit_submitted(&mut machine, 1);
    machine.begin(T, 0);
    machine.poll(T);
    machine.handle_failure("poison record");
    assert_eq!(machine.poll(T), Some(Do::Abort { lane: lane.other(), epoch: 2 }));
    machine.handle_aborted(lane.other(), Ok(()));
    assert_eq!(machine.poll(T), None);
    machine.handle_committed(lane, Ok(()));
    assert_eq!(machine.poll(T), Some(Do::Apply { epoch: 1 }));
    assert_eq!(machine.poll(T), Some(Do::Discard { from: 2 }));
    assert!(machine.is_idle());
}

#[test]
fn lost_partitions_start_no_commit() {
    let mut machine = ready(false);
    machine.begin(T, 0);
    let Some(Do::Begin { lane, .. }) = machine.poll(T) else { panic!() };
    machine.seal(T);
    machine.handle_sent(1, T);
    machine.handle_flushed(lane, Ok(()), T);
    assert_eq!(machine.poll(T), Some(Do::SendOffsets { lane, epoch: 1 }));
    machine.handle_lost();
    machine.handle_offsets_sent(lane, Ok(()), T);
    assert_eq!(machine.poll(T), Some(Do::Abort { lane, epoch: 1 }), "EOS-7");
}

#[test]
fn too_many_failures_in_a_row_give_up() {
    let mut machine = EpochMachine::new(EpochLimits { tolerated_failures: 2, ..limits(false) });
    for lane in Lane::ALL {
        machine.poll(T);
        machine.handle_opened(lane, Ok(()), T);
    }
    for _ in 0..3 {
        machine.begin(T, 0);
        machine.poll(T);
        machine.handle_failure("boom");
        if let Some(Do::Abort { lane, .. }) = machine.poll(T) {
            machine.handle_aborted(lane, Ok(()));
        }
        assert!(matches!(machine.poll(T), Some(Do::Discard { .. })));
    }
    assert_eq!(
        machine.poll(T),
        Some(Do::GiveUp { reason: "2 epochs failed in a row, the last one: boom".into() })
    );
    assert_eq!(machine.begin(T, 0), None);
}

/// What the broker knows of the two producers.
#[derive(Default)]
struct Model {
    open: [Option<u64>; 2],
    flushed: BTreeMap<u64, bool>,
    committed: Vec<u64>,
    applied: Vec<u64>,
    discarded: Vec<u64>,
    waiting: Vec<Do>,
}

impl Model {
    fn decided(&self, epoch: u64) -> bool {
        self.applied.contains(&epoch) || self.discarded.contains(&epoch)
    }

    /// Checks an action against the rules and takes it in.
    fn take(&mut self, action: Do, live: &mut Vec<u64>) {
        let older_decided = |m: &Self, epoch: u64| {
            (1..epoch).all(|older| m.decided(older) || !live.contains(&older))
        };
        match &action {
            Do::Begin { lane, epoch } => {
                assert_eq!(self.open[lane.index()], None, "begin on a lane with a transaction");
                for older in live.iter().filter(|older| *older < epoch) {
                    assert!(
                        self.decided(*older) || self.flushed.get(older) == Some(&true),
                        "EOS-6: {epoch} sends before {older} is flushed"
                    );
                }
                self.open[lane.index()] = Some(*epoch);
            }
            Do::SendOffsets { epoch, .. } | Do::Commit { epoch, .. } => {
                assert!(older_decided(self, *epoch), "EOS-6: {epoch} before an older one");
            }
            Do::Apply { epoch } => {
                assert!(self.committed.contains(epoch), "EOS-2: {epoch} is not committed");
                self.applied.push(*epoch);
            }
            Do::Discard { from } => {
                for epoch in live.iter().filter(|e| *e >= from && !self.applied.contains(e)) {
                    assert!(!self.committed.contains(epoch), "{epoch} is committed and dropped");
                    assert!(!self.open.contains(&Some(*epoch)), "{epoch} is open and dropped");
                }
                self.discarded.extend(live.iter().filter(|e| *e >= from));
                live.retain(|e| e < from);
            }
            Do::GiveUp { .. } => panic!("gave up"),
            _ => {}
        }
        if let Do::Open(lane) = action {
            self.waiting.retain(|w| lane_of(w) != Some(lane));
        }
        if !matches!(action, Do::Begin { .. } | Do::Apply { .. } | Do::Discard { .. }) {
            self.waiting.push(action);
        }
    }

    /// Answers one outstanding request, well or badly.
    fn answer(&mut self, machine: &mut EpochMachine, rng: &mut fastrand::Rng, now: Duration) {
        if self.waiting.is_empty() {
            return;
        }
        // One lane answers in the order of its requests; a new producer's answers are all there is.
        let index = rng.usize(..self.waiting.len());
        let lane = lane_of(&self.waiting[index]);
        let first = self.waiting.iter().position(|w| lane_of(w) == lane).unwrap();
        let action = self.waiting.remove(first);
        let bad = rng.u8(..100) < 12;
        match action {
            Do::Open(lane) => {
                if bad {
                    return machine.handle_opened(lane, unknown(), now);
                }
                self.open[lane.index()] = None;
                machine.handle_opened(lane, Ok(()), now);
            }
            Do::Flush { lane, epoch } => {
                self.flushed.insert(epoch, !bad);
                let failure = if rng.bool() { abortable() } else { unknown() };
                machine.handle_flushed(lane, if bad { failure } else { Ok(()) }, now);
            }
            Do::SendOffsets { lane, .. } => {
                let failure = if rng.bool() { abortable() } else { unknown() };
                machine.handle_offsets_sent(lane, if bad { failure } else { Ok(()) }, now);
            }
            Do::Commit { lane, epoch } => {
                // A bad answer says nothing of the outcome.
                let applied = self.open[lane.index()] == Some(epoch) && (!bad || rng.bool());
                if applied {
                    self.committed.push(epoch);
                    self.open[lane.index()] = None;
                }
                let result = if bad || !applied { unknown() } else { Ok(()) };
                machine.handle_committed(lane, result);
            }
            Do::Abort { lane, .. } => {
                if !bad {
                    self.open[lane.index()] = None;
                }
                machine.handle_aborted(lane, if bad { unknown() } else { Ok(()) });
            }
            Do::Resolve { epoch } => {
                let committed = self.committed.contains(&epoch);
                machine.handle_resolved(
                    epoch,
                    if committed { Resolution::Committed } else { Resolution::Aborted },
                );
            }
            Do::Begin { .. } | Do::Apply { .. } | Do::Discard { .. } | Do::GiveUp { .. } => {}
        }
    }
}

fn lane_of(action: &Do) -> Option<Lane> {
    match action {
        Do::Open(lane)
        | Do::Flush { lane, .. }
        | Do::SendOffsets { lane, .. }
        | Do::Commit { lane, .. }
        | Do::Abort { lane, .. } => Some(*lane),
        _ => None,
    }
}

fn walk(seed: u64, pipelining: bool) -> (usize, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut machine = EpochMachine::new(limits(pipelining));
    let mut model = Model::default();
    let mut live: Vec<u64> = vec![];
    let mut now = T;
    for step in 0..2_000 {
        now += Duration::from_millis(rng.u64(..30));
        machine.handle_tick(now);
        while let Some(action) = machine.poll(now) {
            model.take(action, &mut live);
        }
        let finishing = step > 1_800;
        match rng.u8(..10) {
            0..=3 => model.answer(&mut machine, &mut rng, now),
            4 | 5 if !finishing => {
                if let Some(epoch) = machine.begin(now, 0)
                    && !live.contains(&epoch)
                {
                    live.push(epoch);
                }
            }
            6 if !finishing && rng.u8(..10) == 0 => machine.handle_failure("poison"),
            7 if !finishing && rng.u8(..20) == 0 => machine.handle_lost(),
            _ => {
                if machine.seal_due(now, 0, 0) || finishing {
                    machine.seal(now);
                }
            }
        }
        for epoch in live.clone() {
            if machine.may_send(epoch).is_some()
                && let Some(flush) = machine.handle_sent(epoch, now)
            {
                model.take(flush, &mut live);
            }
        }
    }
    for _ in 0..200 {
        now += Duration::from_millis(300);
        machine.seal(now);
        machine.handle_tick(now);
        while let Some(action) = machine.poll(now) {
            model.take(action, &mut live);
        }
        for epoch in live.clone() {
            if let Some(flush) = machine.handle_sent(epoch, now) {
                model.take(flush, &mut live);
            }
        }
        model.answer(&mut machine, &mut rng, now);
    }
    assert!(machine.is_idle(), "seed {seed}: stuck in {}", machine.shown_phase());
    for epoch in &model.committed {
        assert!(model.applied.contains(epoch), "seed {seed}: {epoch} committed, never applied");
    }
    (model.applied.len(), model.discarded.len())
}

#[test]
fn random_walks_keep_the_rules_at_both_depths() {
    for pipelining in [false, true] {
        let (mut applied, mut discarded) = (0, 0);
        for seed in 0..400 {
            let (a, d) = walk(seed, pipelining);
            applied += a;
            discarded += d;
        }
        assert!(applied > 10_000 && discarded > 1_000, "{applied} applied, {discarded} discarded");
    }
}
