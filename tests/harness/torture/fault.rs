//! What can happen to a run: to processes, to brokers, to the network between them, to disks.

use std::{collections::BTreeMap, fmt, time::Duration};

use tidemill::testing::proxy::{Api, Fault as ProxyFault};

use crate::failpoint::Point;

/// When in an epoch a kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// At any.
    Random,
    /// At a random time, shortly after a transaction of the victim was seen open.
    InTransaction,
    /// When a thread reaches this point.
    At(Point),
}

/// What happens to the killed instance before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// It is started again at once: it resumes its partitions.
    Restart,
    /// It stays away for longer than the session timeout: others take its partitions.
    Takeover,
    /// Its state directory is wiped: it restores everything.
    Wipe,
    /// Bytes of its state directory are changed: it must notice, and repair or refuse.
    Corrupt,
}

/// How long a zombie sleeps, and where it falls asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sleep {
    /// Before its offsets are sent, beyond the session timeout.
    Session,
    /// Between its offsets and EndTxn, beyond the transaction timeout; its session lasts longer.
    Transaction,
    /// Between its offsets and EndTxn, beyond both.
    Both,
    /// Between its offsets and EndTxn, within both: it goes on as if nothing had been.
    Short,
}

/// What a broker is to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// It leads a partition that the application writes.
    PartitionLeader,
    /// It coordinates a transactional id.
    TransactionCoordinator,
    /// It coordinates the group.
    GroupCoordinator,
    /// It leads the controllers.
    Controller,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [
        Self::PartitionLeader,
        Self::TransactionCoordinator,
        Self::GroupCoordinator,
        Self::Controller,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PartitionLeader => "partition leader",
            Self::TransactionCoordinator => "transaction coordinator",
            Self::GroupCoordinator => "group coordinator",
            Self::Controller => "controller",
        }
    }
}

/// One fault. Instances are known by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of one instance, `after` it works again.
    Kill { victim: usize, moment: Moment, after: Duration, aftermath: Aftermath },
    /// SIGKILL of `count` instances at once, from `first` on; all are started again.
    KillTogether { first: usize, count: usize },
    /// SIGSTOP at a point of an epoch, SIGCONT later.
    Zombie { victim: usize, sleep: Sleep },
    /// Somebody else takes the transactional id of a lane.
    Hijack { victim: usize, lane: char },
    /// The stream thread stands still at a point while its clients live on.
    Freeze { victim: usize, point: Point, time: Duration },
    /// SIGKILL of the broker that has this role; it stays away for so long.
    Broker { role: Role, away: Duration },
    /// Every broker is stopped gently and started again, one after the other.
    RollBrokers,
    /// Every instance is stopped gently and started again, one after the other.
    RollWorkers,
    /// An instance and one broker (with `None`: all) do not hear each other for so long.
    Cut { victim: usize, broker: Option<Role>, time: Duration },
    /// All but one instance are stopped gently, and started again once the last one has all.
    Scale { survivor: usize },
    /// Down to one instance, up to `to`, of which one is killed as soon as it works; back.
    Rescale { survivor: usize, to: usize },
    /// No byte more goes into the state directory for a while.
    DiskFull { victim: usize },
    /// A wiped instance whose restore stands still for longer than the transaction timeout.
    SlowRestore { victim: usize },
    /// The proxy does something to one request of an instance, which is `restart`ed for it where
    /// such requests come at a start only.
    Network { victim: usize, api: Api, fault: ProxyFault, restart: bool },
}

impl Fault {
    /// What it is counted under: planned and done must agree.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::KillTogether { .. } => "kill-together",
            Self::Zombie { sleep: Sleep::Session, .. } => "zombie-session",
            Self::Zombie { sleep: Sleep::Transaction, .. } => "zombie-transaction",
            Self::Zombie { sleep: Sleep::Both, .. } => "zombie-both",
            Self::Zombie { sleep: Sleep::Short, .. } => "zombie-short",
            Self::Hijack { .. } => "hijack",
            Self::Freeze { .. } => "freeze",
            Self::Broker { .. } => "broker-kill",
            Self::RollBrokers => "roll-brokers",
            Self::RollWorkers => "roll-workers",
            Self::Cut { .. } => "cut",
            Self::Scale { .. } => "scale",
            Self::Rescale { .. } => "rescale",
            Self::DiskFull { .. } => "disk-full",
            Self::SlowRestore { .. } => "slow-restore",
            Self::Network { .. } => "network",
        }
    }

    /// How long it takes, roughly: the input is paced by it.
    pub(super) fn seconds(&self) -> u64 {
        match self {
            Self::Kill { aftermath: Aftermath::Takeover, .. } => 13,
            Self::Kill { .. } | Self::Freeze { .. } => 4,
            Self::Network { .. } => 7,
            Self::Hijack { .. } | Self::Zombie { sleep: Sleep::Short, .. } => 8,
            Self::KillTogether { .. } => 12,
            Self::Zombie { .. }
            | Self::Scale { .. }
            | Self::Broker { .. }
            | Self::Cut { .. }
            | Self::DiskFull { .. }
            | Self::SlowRestore { .. }
            | Self::RollWorkers => 25,
            Self::Rescale { .. } | Self::RollBrokers => 45,
        }
    }
}

/// How many faults of each kind a list has.
pub(super) fn by_kind<'a>(
    faults: impl IntoIterator<Item = &'a Fault>,
) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    for fault in faults {
        *kinds.entry(fault.kind()).or_default() += 1;
    }
    kinds
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { victim, moment, after, aftermath } => {
                write!(f, "kill i{victim} ")?;
                match moment {
                    Moment::Random => write!(f, "at random")?,
                    Moment::InTransaction => write!(f, "at random in a transaction")?,
                    Moment::At(point) => write!(f, "at {}", point.name())?,
                }
                write!(f, " after {} ms, ", after.as_millis())?;
                f.write_str(match aftermath {
                    Aftermath::Restart => "restart at once",
                    Aftermath::Takeover => "restart after a takeover",
                    Aftermath::Wipe => "wipe its state, restart",
                    Aftermath::Corrupt => "corrupt its state, restart",
                })
            }
            Self::KillTogether { first, count } => {
                write!(f, "kill {count} at once, i{first} first")
            }
            Self::Zombie { victim, sleep } => {
                let beyond = match sleep {
                    Sleep::Session => "before its offsets, longer than its session",
                    Sleep::Transaction => "after its offsets, longer than its transaction",
                    Sleep::Both => "after its offsets, longer than session and transaction",
                    Sleep::Short => "after its offsets, for a moment",
                };
                write!(f, "zombie i{victim}: asleep {beyond}")
            }
            Self::Hijack { victim, lane } => write!(f, "hijack lane {lane} of i{victim}"),
            Self::Freeze { victim, point, time } => {
                write!(f, "freeze i{victim} at {} for {time:?}", point.name())
            }
            Self::Broker { role, away } => write!(f, "kill the {} for {away:?}", role.name()),
            Self::RollBrokers => f.write_str("roll the brokers"),
            Self::RollWorkers => f.write_str("roll the workers"),
            Self::Cut { victim, broker, time } => {
                let broker = broker.map_or("brokers, all of them,", Role::name);
                write!(f, "cut i{victim} off from the {broker} for {time:?}")
            }
            Self::Scale { survivor } => write!(f, "scale to i{survivor} alone and back"),
            Self::Rescale { survivor, to } => {
                write!(f, "scale to i{survivor} alone, to {to} with a kill, and back")
            }
            Self::DiskFull { victim } => write!(f, "fill the disk of i{victim}"),
            Self::SlowRestore { victim } => {
                write!(f, "wipe i{victim}, its restore outlasts a transaction")
            }
            Self::Network { victim, api, fault, restart } => {
                let at = if *restart { ", while it starts" } else { "" };
                write!(f, "network of i{victim}: {api} {fault}{at}")
            }
        }
    }
}
