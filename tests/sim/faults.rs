//! The faults of a run: what they are, which phase of an epoch they wait for, how they are made in
//! the middle of a step.

use std::{cell::RefCell, panic::resume_unwind, rc::Rc, time::Duration};

use tidemill::{
    runtime::{
        Lane,
        hooks::{Hooks, Point},
    },
    testing::{Awaits, CoordinatorRequest, Fate, LaneRequest, MovedOn, SimCluster},
};

use crate::topology;

/// The phases of an epoch (DESIGN section 5) that a fault is to meet.
pub(crate) const PHASES: [&str; 7] =
    ["run", "seal", "flush", "commit", "apply", "abort", "resolve"];

/// The phase of DESIGN that the machine's word belongs to.
pub(crate) fn phase_of(shown: &str) -> &'static str {
    match shown {
        "seal" => "seal",
        "flush" | "flushed" => "flush",
        "offsets" | "offsets-sent" | "commit" => "commit",
        "abort" => "abort",
        "resolve" => "resolve",
        _ => "run",
    }
}

/// The phase that a point stands in.
fn phase_at(point: Point) -> &'static str {
    match point {
        Point::Run => "run",
        Point::BeforeSeal | Point::AfterSeal => "seal",
        Point::BeforeFlush => "flush",
        Point::BeforeSendOffsets | Point::BeforeCommit | Point::AfterCommitSent => "commit",
        Point::BeforeApply | Point::AfterApply => "apply",
    }
}

/// A fault that waits for its instance to reach a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    pub(crate) fault: Fault,
    pub(crate) phase: &'static str,
    pub(crate) until: Duration,
    /// Points of the phase to let pass first, so that not only the first one is met.
    pub(crate) skip: u8,
    /// Chooses among a fault's kinds.
    pub(crate) draw: usize,
}

/// What an instance's hooks share with the world.
pub(crate) type SharedArm = Rc<RefCell<Option<Armed>>>;

/// Thrown through a step by a crash in its middle.
pub(crate) struct Crashed;

/// Makes armed faults at the points of a step, in its middle.
pub(crate) struct SimHooks {
    pub(crate) name: String,
    pub(crate) cluster: SimCluster,
    pub(crate) armed: SharedArm,
    /// The fault as it was made, for the world to see.
    pub(crate) made: Rc<RefCell<Vec<(Fault, &'static str)>>>,
}

impl Hooks for SimHooks {
    fn reach(&mut self, point: Point) {
        let Some(mut armed) = *self.armed.borrow() else { return };
        if phase_at(point) != armed.phase {
            return;
        }
        if armed.skip > 0 {
            armed.skip -= 1;
            *self.armed.borrow_mut() = Some(armed);
            return;
        }
        *self.armed.borrow_mut() = None;
        self.made.borrow_mut().push((armed.fault, armed.phase));
        let text = format!("FAULT {:?} at {point:?} (phase {})", armed.fault, armed.phase);
        self.cluster.note(&self.name, &text);
        match armed.fault {
            Fault::Crash => resume_unwind(Box::new(Crashed)),
            // The process stands still in the middle of its step; the brokers' time goes on.
            Fault::Freeze => {
                self.cluster.freeze(&self.name);
                let pause = 50 + u64::from(point as u8) * 1_700;
                self.cluster.advance(Duration::from_millis(pause));
                self.cluster.thaw(&self.name);
            }
            // Asked for by the world as soon as the step is over.
            Fault::Leave => {}
            fault => strike(&self.cluster, &self.name, fault, armed.draw),
        }
    }
}

/// Faults at the cluster; `draw` chooses among their kinds.
pub(crate) fn strike(cluster: &SimCluster, name: &str, fault: Fault, draw: usize) {
    match fault {
        Fault::Fence => {
            for letter in ["a", "b"] {
                cluster.fence(&format!("{}.{name}.0.{letter}", topology::APP));
            }
        }
        Fault::Rebalance => cluster.force_rebalance(topology::APP),
        Fault::Expire => {
            cluster.expire_session(topology::APP, name);
        }
        Fault::LostAnswer => {
            let requests = [
                LaneRequest::Commit,
                LaneRequest::Flush,
                LaneRequest::SendOffsets,
                LaneRequest::Abort,
                LaneRequest::Open,
            ];
            for lane in Lane::ALL {
                let request = requests[draw % requests.len()];
                cluster.lose_answer(name, lane, request, Fate::ALL[draw % Fate::ALL.len()]);
            }
        }
        Fault::DuplicatedEnd => {
            for lane in Lane::ALL {
                cluster.duplicate_end(name, lane);
            }
        }
        Fault::Delay => cluster.slow_links(name, Duration::from_millis(300 + 120 * draw as u64)),
        Fault::Hold => {
            let request = CoordinatorRequest::ALL[draw % CoordinatorRequest::ALL.len()];
            let again = request.is_of_producer() && draw.is_multiple_of(2);
            let moved_on = if again { MovedOn::SentAgain } else { MovedOn::GaveUp };
            cluster.hold(name, request, Awaits::Successor, moved_on);
        }
        Fault::Overtake => {
            let requests = [
                CoordinatorRequest::EndTransaction,
                CoordinatorRequest::SendOffsets,
                CoordinatorRequest::EndTransaction,
                CoordinatorRequest::SendOffsets,
                CoordinatorRequest::InitProducer,
                CoordinatorRequest::FetchOffsets,
                CoordinatorRequest::Join,
                CoordinatorRequest::Heartbeat,
            ];
            let request = requests[draw % requests.len()];
            cluster.hold(name, request, Awaits::OtherOwners, MovedOn::GaveUp);
        }
        Fault::Crash | Fault::Freeze | Fault::Leave => {}
    }
}

/// The faults of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The process vanishes; what its disk keeps is drawn.
    Crash,
    /// The process is stopped for longer than its session.
    Freeze,
    /// Its transactional ids are taken.
    Fence,
    /// The group rebalances.
    Rebalance,
    /// Its session expires.
    Expire,
    /// It stops gently and leaves.
    Leave,
    /// The answer of one of its transaction calls is lost.
    LostAnswer,
    /// The ends of its transactions reach the coordinator twice (facts 9.7).
    DuplicatedEnd,
    /// Its requests to coordinators and their answers are slow for a while: others overtake them.
    Delay,
    /// A request to a coordinator arrives after it gave up on it, or sent it again, and went on.
    Hold,
    /// A request to a coordinator is under way when it dies or freezes, and arrives after others
    /// have asked for the offsets of its partitions.
    Overtake,
}

impl Fault {
    /// All, as they are drawn.
    pub(crate) const ALL: [Self; 11] = [
        Self::Crash,
        Self::Freeze,
        Self::Fence,
        Self::Rebalance,
        Self::Expire,
        Self::Leave,
        Self::LostAnswer,
        Self::DuplicatedEnd,
        Self::Delay,
        Self::Hold,
        Self::Overtake,
    ];
}
