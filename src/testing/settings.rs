//! How a simulated cluster and its clients behave: plain data.

use std::time::Duration;

use crate::{
    record::Timestamp,
    runtime::{Isolation, Lane},
    testing::faults::FaultChances,
};

/// A duration drawn evenly between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Delay {
    /// None at all.
    pub const ZERO: Self = Self { min: Duration::ZERO, max: Duration::ZERO };

    /// Between nothing and `max`.
    pub const fn up_to(max: Duration) -> Self {
        Self { min: Duration::ZERO, max }
    }

    /// Between two bounds.
    pub const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// Draws one; draws nothing from `rng` where there is no choice.
    pub(super) fn sample(self, rng: &mut fastrand::Rng) -> Duration {
        if self.max <= self.min {
            return self.min;
        }
        let span = u64::try_from(self.max.saturating_sub(self.min).as_micros()).unwrap_or(u64::MAX);
        self.min + Duration::from_micros(rng.u64(0..=span))
    }
}

/// The behaviour of a simulated cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct SimSettings {
    /// What the wall clock shows at the start.
    pub start_wall: Timestamp,
    /// How many brokers it claims to have.
    pub brokers: usize,
    /// Time of a request to the broker, and again of its answer.
    pub request_latency: Delay,
    /// Time between the decision of a transaction and the marker in each partition.
    pub marker_delay: Delay,
    /// Time of a marker that a fault slows down.
    pub slow_marker_delay: Delay,
    /// Time that produced records wait in the client if no flush comes before.
    pub linger: Delay,
    /// Time between two deliveries of records to one client.
    pub fetch_interval: Delay,
    /// The most records in one delivery.
    pub fetch_records_max: usize,
    /// The most records in one produce request.
    pub produce_records_max: usize,
    /// Whether batch sizes and the order of partitions are drawn by seed; else they are as large
    /// as can be, in order.
    pub shuffle: bool,
    /// Time before a request that met `CONCURRENT_TRANSACTIONS` is sent again.
    pub retry_backoff: Delay,
    /// When a client gives up on an answer.
    pub request_timeout: Duration,
    /// Time that the group waits for more members when its first one joins.
    pub rebalance_delay: Delay,
    /// How late the coordinator notices that a transaction timed out.
    pub timeout_scan: Delay,
    /// Chances of faults.
    pub chances: FaultChances,
    /// Whether breaches of the rules of overlapping epochs are violations.
    pub watch_epochs: bool,
    /// Whether a JoinGroup that was held back is still heard when its client has joined again: what
    /// it says of owned partitions is out of date by then, and the group gives away what its
    /// member has. No part of the client notices (ADR 0013).
    pub stale_joins: bool,
    /// Keep a readable trace of everything that happens (costs memory).
    pub trace: bool,
}

/// 2024-01-01T00:00:00Z: late enough that records of the past have positive timestamps.
const START_WALL: Timestamp = Timestamp(1_704_067_200_000);

impl SimSettings {
    /// A cluster without latency and without faults: for `dev` and for tests of topologies.
    pub fn quiet() -> Self {
        Self {
            start_wall: START_WALL,
            brokers: 1,
            request_latency: Delay::ZERO,
            marker_delay: Delay::ZERO,
            slow_marker_delay: Delay::ZERO,
            linger: Delay::ZERO,
            fetch_interval: Delay::ZERO,
            fetch_records_max: 500,
            produce_records_max: 10_000,
            shuffle: false,
            retry_backoff: Delay::between(Duration::from_millis(1), Duration::from_millis(1)),
            request_timeout: Duration::from_secs(10),
            rebalance_delay: Delay::ZERO,
            timeout_scan: Delay::ZERO,
            chances: FaultChances::NONE,
            watch_epochs: false,
            stale_joins: false,
            trace: false,
        }
    }
}

impl Default for SimSettings {
    /// A cluster as a simulation wants it: everything takes time, nothing comes in a fixed order;
    /// faults are added by the test.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            request_latency: Delay::between(Duration::from_micros(200), ms(5)),
            marker_delay: Delay::up_to(ms(20)),
            slow_marker_delay: Delay::between(ms(100), ms(3_000)),
            linger: Delay::up_to(ms(60)),
            fetch_interval: Delay::up_to(ms(5)),
            fetch_records_max: 40,
            produce_records_max: 20,
            shuffle: true,
            retry_backoff: Delay::between(ms(5), ms(20)),
            request_timeout: ms(3_000),
            rebalance_delay: Delay::up_to(ms(100)),
            timeout_scan: Delay::up_to(ms(1_500)),
            ..Self::quiet()
        }
    }
}

/// One stream thread's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The application: the group's name, and the first part of transactional ids.
    pub application: String,
    /// The instance's name.
    pub instance: String,
    /// The stream thread's number.
    pub thread: u32,
    /// After this time the coordinator aborts an open transaction.
    pub transaction_timeout: Duration,
    /// After this time without a heartbeat a member is removed.
    pub session_timeout: Duration,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// After this time without a poll a member gives up its membership; also how long a
    /// rebalance waits for it.
    pub max_poll_interval: Duration,
    /// Whether it joins with a `group.instance.id`.
    pub static_membership: bool,
    /// How input is read.
    pub isolation: Isolation,
    /// Whether committed offsets are asked for as stable ones; a mutant does not.
    pub stable_offsets: bool,
    /// Whether a producer whose connection was disturbed is replaced before its next transaction
    /// (facts 9.7); a mutant does not.
    pub replaces_disturbed: bool,
    /// Makes transactional ids underivable; a mutant does.
    pub id_suffix: Option<String>,
    /// `produce` answers `QueueFull` beyond this many bytes.
    pub queue_bytes_max: usize,
}

impl ClientSettings {
    /// Defaults for a simulation: short time-outs, a static member, input read_committed.
    pub fn new(application: impl Into<String>, instance: impl Into<String>, thread: u32) -> Self {
        Self {
            application: application.into(),
            instance: instance.into(),
            thread,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_secs(1),
            max_poll_interval: Duration::from_secs(30),
            static_membership: true,
            isolation: Isolation::ReadCommitted,
            stable_offsets: true,
            replaces_disturbed: true,
            id_suffix: None,
            queue_bytes_max: 64 * 1024 * 1024,
        }
    }

    /// `<application>.<instance>.<thread>.<a|b>`.
    pub fn transactional_id(&self, lane: Lane) -> String {
        let suffix = self.id_suffix.as_deref().unwrap_or_default();
        let (instance, letter) = (&self.instance, lane.letter());
        format!("{}.{instance}{suffix}.{}.{letter}", self.application, self.thread)
    }

    /// `group.instance.id`, where the member is static.
    pub fn group_instance_id(&self) -> Option<String> {
        self.static_membership.then(|| format!("{}.{}", self.instance, self.thread))
    }
}
