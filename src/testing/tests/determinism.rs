//! One seed is one run: a random script, run twice, leaves the same trace to the byte. And the
//! model keeps its own promises whatever the script does.

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::{Offset, OutputRecord, Timestamp, TopicName},
    runtime::{Event, Isolation, Lane, Log, Request, RestoreLog, RestoreRequest},
};

/// A careless thread: does anything at any time that the seam allows.
struct Careless {
    log: SimLog,
    restore: SimRestoreLog,
    state: [LaneDoes; 2],
}

#[derive(Clone, Copy, PartialEq)]
enum LaneDoes {
    Closed,
    Waiting,
    Ready,
    InTransaction,
    Broken,
}

impl Careless {
    fn new(cluster: &SimCluster, instance: &str) -> Self {
        let mut settings = ClientSettings::new(APP, instance, 0);
        settings.max_poll_interval = Duration::from_secs(4);
        let mut log = cluster.log(settings);
        log.submit(Request::Join { topics: vec!["in".into()] });
        let mut restore = cluster.restore_log(instance);
        let partition = at("out", 0);
        restore.submit(RestoreRequest::Read { partition, offset: Offset(0) });
        Self { log, restore, state: [LaneDoes::Closed; 2] }
    }

    fn step(&mut self, rng: &mut fastrand::Rng) {
        self.restore.poll(Duration::ZERO);
        while let Some(event) = self.log.poll(Duration::ZERO, rng.bool()) {
            self.take(event);
        }
        for lane in Lane::ALL {
            self.act(lane, rng);
        }
        let id = rng.u64(..);
        match rng.u8(0..20) {
            0 => self.log.submit(Request::FindBlockers { id, partition: at("out", 0) }),
            1 => self.log.submit(Request::CommittedOffsets { id, partitions: parts("in", &[0]) }),
            2 => self.log.submit(Request::Describe { id, topics: vec!["in".into()] }),
            _ => {}
        }
    }

    fn take(&mut self, event: Event<SimBatch>) {
        match event {
            Event::Assigned { partitions } => {
                self.log.submit(Request::Accept { partitions: partitions.clone() });
                for partition in partitions {
                    self.log.submit(Request::Read { partition, offset: Offset(0) });
                }
            }
            Event::Revoking { partitions } | Event::Lost { partitions } => {
                self.log.submit(Request::Release { partitions });
            }
            Event::Opened { lane, result } => self.set(lane, LaneDoes::Ready, result.is_ok()),
            Event::Flushed { lane, result } => {
                self.set(lane, LaneDoes::InTransaction, result.is_ok());
            }
            Event::OffsetsSent { lane, result } => {
                self.set(lane, LaneDoes::InTransaction, result.is_ok());
            }
            Event::Committed { lane, result } | Event::Aborted { lane, result } => {
                self.set(lane, LaneDoes::Ready, result.is_ok());
            }
            _ => {}
        }
    }

    fn set(&mut self, lane: Lane, state: LaneDoes, ok: bool) {
        self.state[lane.index()] = if ok { state } else { LaneDoes::Broken };
    }

    fn act(&mut self, lane: Lane, rng: &mut fastrand::Rng) {
        let next = match self.state[lane.index()] {
            LaneDoes::Waiting => return,
            LaneDoes::Closed | LaneDoes::Broken => Request::Open { lane },
            LaneDoes::Ready => {
                self.log.submit(Request::Begin { lane });
                self.state[lane.index()] = LaneDoes::InTransaction;
                return;
            }
            LaneDoes::InTransaction => match (rng.u8(0..8), self.log.group()) {
                (0, _) => Request::Flush { lane },
                (1, _) => Request::Commit { lane },
                (2, _) => Request::Abort { lane },
                (3, Some(group)) => {
                    let offsets = vec![commit_of(0, rng.i64(0..100))];
                    Request::SendOffsets { lane, offsets, group }
                }
                _ => {
                    self.produce(lane, rng);
                    return;
                }
            },
        };
        self.state[lane.index()] = LaneDoes::Waiting;
        self.log.submit(next);
    }

    fn produce(&mut self, lane: Lane, rng: &mut fastrand::Rng) {
        let topic = TopicName::from("out");
        let value = [rng.u8(..)];
        let record = OutputRecord {
            topic: &topic,
            partition: rng.i32(0..2),
            timestamp: None,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        // A full queue is one of the faults: the record is dropped here.
        self.log.produce(lane, &record, 0).ok();
    }
}

fn chaos() -> SimSettings {
    SimSettings {
        trace: true,
        chances: FaultChances {
            lost_answer: 0.05,
            fence: 0.02,
            rebalance: 0.05,
            session_expiry: 0.02,
            duplicated_end: 0.05,
            slow_marker: 0.1,
            failed_question: 0.1,
            delayed: 0.05,
            queue_full: 0.05,
        },
        ..SimSettings::default()
    }
}

/// Runs three careless threads, killing and stopping them, for a virtual minute.
fn run(seed: u64) -> SimCluster {
    let cluster = SimCluster::new(seed, chaos());
    cluster.add_topic(&spec("in", 4));
    cluster.add_topic(&spec("out", 2));
    let mut rng = cluster.fork_rng();
    let names = ["one", "two", "three"];
    let mut threads = names.map(|name| Careless::new(&cluster, name));
    let mut frozen = [Duration::ZERO; 3];
    let mut seen = [Vec::new(), Vec::new()];
    while cluster.now().mono < Duration::from_mins(1) {
        let now = cluster.now().mono;
        cluster.produce("in", rng.i32(0..4), None, Some(b"v"), Timestamp(0));
        let chosen = rng.usize(0..3);
        match rng.u16(0..2_000) {
            0..=2 => {
                cluster.crash(names[chosen]);
                threads[chosen] = Careless::new(&cluster, names[chosen]);
                frozen[chosen] = now;
            }
            3..=5 if frozen[chosen] <= now => {
                cluster.freeze(names[chosen]);
                frozen[chosen] = now + Duration::from_millis(rng.u64(0..9_000));
            }
            _ if frozen[chosen] <= now => {
                cluster.thaw(names[chosen]);
                threads[chosen].step(&mut rng);
            }
            _ => {}
        }
        let next = cluster.next_wakeup().unwrap_or_default();
        cluster.advance_to(next.max(now + Duration::from_millis(1)));
        check(&cluster, seed, &mut seen);
    }
    cluster
}

/// What holds at any time: what was committed stays where it is, and more only comes behind it.
fn check(cluster: &SimCluster, seed: u64, seen: &mut [Vec<Offset>; 2]) {
    assert_eq!(cluster.violations(), Vec::<String>::new(), "seed {seed}");
    for (partition, seen) in seen.iter_mut().enumerate() {
        let found = cluster.bounds(&at("out", partition as i32)).expect("there");
        assert!(found.last_stable <= found.end, "seed {seed}");
        if !cluster.now().mono.as_micros().is_multiple_of(10) {
            continue;
        }
        let records = &cluster.committed_records("out")[partition];
        let offsets: Vec<Offset> = records.iter().map(|record| record.offset).collect();
        assert!(offsets.starts_with(seen), "seed {seed}: history was rewritten");
        assert!(offsets.last().is_none_or(|last| *last < found.last_stable), "seed {seed}");
        *seen = offsets;
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace_and_another_seed_another() {
    let (first, again, other) = (run(7), run(7), run(8));
    assert!(first.trace() == again.trace(), "the traces of one seed differ");
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert!(first.trace() != other.trace());
    assert_ne!(first.fingerprint(), other.fingerprint());
}

#[test]
fn every_kind_of_fault_takes_effect_and_the_model_comes_to_rest() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let cluster = run(seed);
        kinds.extend(cluster.fault_counts().into_keys());
        for name in ["one", "two", "three"] {
            cluster.crash(name);
        }
        cluster.advance(Duration::from_mins(1));
        kinds.extend(
            cluster.fault_counts().into_keys().filter(|k| *k == FaultKind::TransactionTimeout),
        );
        assert_eq!(cluster.open_transactions(), [], "seed {seed}: all are timed out");
        assert!(!cluster.has_pending_offsets(APP), "seed {seed}");
        for partition in 0..2 {
            let (stable, end) = bounds(&cluster, partition);
            assert_eq!(stable, end, "seed {seed}: nothing hangs");
        }
        let all = cluster.records("out", Isolation::ReadUncommitted);
        let visible = cluster.committed_records("out");
        assert!(visible[0].len() < all[0].len(), "seed {seed}: something was aborted");
        assert!(!visible[0].is_empty(), "seed {seed}: something was committed");
    }
    let lost = LaneRequest::ALL
        .iter()
        .flat_map(|request| Fate::ALL.iter().map(|fate| FaultKind::LostAnswer(*request, *fate)));
    let others = [
        FaultKind::Fence,
        FaultKind::TransactionTimeout,
        FaultKind::Rebalance,
        FaultKind::SessionExpiry,
        FaultKind::MaxPoll,
        FaultKind::Crash,
        FaultKind::Freeze,
        FaultKind::SlowMarker,
        FaultKind::FailedQuestion,
        FaultKind::QueueFull,
        FaultKind::OffsetsRefused,
        FaultKind::ProducerRefused,
    ];
    let missing: Vec<_> = lost.chain(others).filter(|kind| !kinds.contains(kind)).collect();
    assert_eq!(missing, []);
}
