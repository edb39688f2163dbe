//! The plan of a run: which instance suffers what, in which order. Seeded, and pure.

use std::time::Duration;

use tidemill::testing::proxy::{Api, Fault as ProxyFault};

use super::fault::{Aftermath, Fault, Moment, Role, Sleep};
use crate::failpoint::Point;

/// Kills at named points, so that each phase is hit at least twice.
const DIRECTED: [Point; 12] = [
    Point::Run,
    Point::Run,
    Point::BeforeSeal,
    Point::AfterSeal,
    Point::BeforeFlush,
    Point::BeforeFlush,
    Point::BeforeSendOffsets,
    Point::BeforeSendOffsets,
    Point::BeforeCommit,
    Point::AfterCommitSent,
    Point::BeforeApply,
    Point::BeforeApply,
];

/// The fewest kills with which every phase is hit twice.
pub(super) const KILLS_MIN: usize = DIRECTED.len();

/// Longer than the transaction timeout, which is ten seconds in these runs.
const CUT: Duration = Duration::from_secs(12);

/// How much a run tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// In CI: one broker, minutes.
    T0,
    /// Three brokers, everything once.
    T1,
    /// Three brokers, everything again and again, an hour.
    T2,
}

impl Tier {
    /// How many rounds of everything there are.
    fn rounds(self) -> usize {
        match self {
            Self::T0 | Self::T1 => 1,
            Self::T2 => 4,
        }
    }

    /// Kills of one instance, where nothing else is asked for.
    pub(super) fn kills(self) -> usize {
        match self {
            Self::T0 => 26,
            Self::T1 => 20,
            Self::T2 => 4 * 20,
        }
    }

    /// Transfers at the least, and accounts.
    pub(super) fn input(self) -> (u64, u64) {
        match self {
            Self::T0 | Self::T1 => (1_000_000, 100_000),
            Self::T2 => (3_000_000, 100_000),
        }
    }
}

/// What a plan is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) tier: Tier,
    pub(super) seed: u64,
    /// At least [`KILLS_MIN`].
    pub(super) kills: usize,
    pub(super) instances: usize,
    pub(super) wipe_always: bool,
    /// Whether brokers can be stopped, and there are three.
    pub(super) three_brokers: bool,
}

/// A seeded schedule of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// In this order, each after the one before has been dealt with.
    pub(super) faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a wish; the same for the same seed.
    pub(super) fn make(wish: Wish) -> Self {
        let mut random = fastrand::Rng::with_seed(wish.seed);
        let mut faults = kills(&wish, &mut random);
        for round in 0..wish.tier.rounds() {
            faults.extend(others(&wish, &mut random, round));
        }
        random.shuffle(&mut faults);
        Self { faults }
    }

    /// How many kills of one instance it has.
    pub(super) fn kills(&self) -> usize {
        self.faults.iter().filter(|fault| matches!(fault, Fault::Kill { .. })).count()
    }

    /// How long the faults take, roughly.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.faults.iter().map(Fault::seconds).sum())
    }
}

fn kills(wish: &Wish, random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut moments: Vec<Moment> = DIRECTED.into_iter().map(Moment::At).collect();
    // Between epochs and at the ends of one, no transaction is open: seven of eight random kills
    // are aimed at open ones, so that these are the most.
    for number in moments.len()..wish.kills {
        moments.push(if number % 8 == 4 { Moment::Random } else { Moment::InTransaction });
    }
    random.shuffle(&mut moments);
    let wiped = random.usize(..moments.len());
    let corrupted = (wiped + 1 + random.usize(..moments.len() - 1)) % moments.len();
    let kill = |(index, moment)| {
        let aftermath = if wish.wipe_always || index == wiped {
            Aftermath::Wipe
        } else if index == corrupted {
            Aftermath::Corrupt
        } else if index % 8 == 5 {
            Aftermath::Takeover
        } else {
            Aftermath::Restart
        };
        Fault::Kill {
            victim: random.usize(..wish.instances),
            moment,
            after: Duration::from_millis(random.u64(100..1_500)),
            aftermath,
        }
    };
    moments.into_iter().enumerate().map(kill).collect()
}

/// One round of everything else that the tier has.
fn others(wish: &Wish, random: &mut fastrand::Rng, round: usize) -> Vec<Fault> {
    let instances = wish.instances;
    let mut faults = Vec::new();
    let mut one = || random.usize(..instances);
    faults.push(Fault::Zombie { victim: one(), sleep: Sleep::Session });
    faults.push(Fault::Zombie { victim: one(), sleep: Sleep::Short });
    if wish.tier == Tier::T0 {
        faults.push(Fault::Scale { survivor: one() });
        faults.extend(network(&CORE, random, instances));
        return faults;
    }
    faults.push(Fault::Zombie { victim: one(), sleep: Sleep::Transaction });
    faults.push(Fault::Zombie { victim: one(), sleep: Sleep::Both });
    faults.push(Fault::KillTogether { first: one(), count: 2 });
    faults.push(Fault::KillTogether { first: one(), count: instances });
    faults.push(Fault::Hijack {
        victim: one(),
        lane: if round.is_multiple_of(2) { 'a' } else { 'b' },
    });
    faults.push(Fault::Rescale { survivor: one(), to: 6 });
    faults.push(Fault::DiskFull { victim: one() });
    faults.push(Fault::SlowRestore { victim: one() });
    faults.push(Fault::RollWorkers);
    faults.push(Fault::Cut { victim: one(), broker: None, time: CUT });
    if wish.three_brokers {
        let broker = Role::ALL.into_iter().cycle().nth(round);
        faults.push(Fault::Cut { victim: one(), broker, time: CUT });
        let away = |seconds| Duration::from_secs(seconds);
        faults.extend(Role::ALL.map(|role| Fault::Broker { role, away: away(2) }));
        faults.push(Fault::RollBrokers);
    }
    for point in Point::ALL {
        let time = Duration::from_millis(random.u64(500..3_000));
        faults.push(Fault::Freeze { victim: random.usize(..instances), point, time });
    }
    faults.extend(network(&CORE, random, instances));
    let mut rest = EDGE.to_vec();
    random.shuffle(&mut rest);
    if wish.tier == Tier::T1 {
        rest.truncate(EDGE_IN_T1);
    }
    faults.extend(network(&rest, random, instances));
    faults
}

/// A request, what happens to it, and whether it comes at a start only.
type Cell = (Api, ProxyFault, bool);

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// What every run has: the commit path, where an answer is lost, late or doubled.
const CORE: [Cell; 7] = [
    (Api::END_TXN, ProxyFault::DropAnswer, false),
    (Api::END_TXN, ProxyFault::Hold(ms(1_000)), false),
    (Api::END_TXN, ProxyFault::ResetRequest, false),
    (Api::TXN_OFFSET_COMMIT, ProxyFault::DropAnswer, false),
    (Api::ADD_PARTITIONS_TO_TXN, ProxyFault::DropRequest, false),
    (Api::PRODUCE, ProxyFault::ResetAnswer, false),
    (Api::INIT_PRODUCER_ID, ProxyFault::DropAnswer, true),
];

/// How many of the others T1 has.
const EDGE_IN_T1: usize = 14;

const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// The other cells. The refusals are those that a broker gives in passing, and some that end a
/// member's or a producer's life.
const EDGE: [Cell; 32] = [
    (Api::END_TXN, ProxyFault::DropRequest, false),
    (Api::END_TXN, ProxyFault::ResetAnswer, false),
    (Api::END_TXN, ProxyFault::Hold(ms(300)), false),
    (Api::END_TXN, ProxyFault::Delay(ms(2_000)), false),
    (Api::END_TXN, ProxyFault::Refuse(NOT_COORDINATOR), false),
    (Api::END_TXN, ProxyFault::Refuse(47), false), // INVALID_PRODUCER_EPOCH
    (Api::TXN_OFFSET_COMMIT, ProxyFault::DropRequest, false),
    (Api::TXN_OFFSET_COMMIT, ProxyFault::Hold(ms(1_500)), false),
    (Api::TXN_OFFSET_COMMIT, ProxyFault::ResetAnswer, false),
    (Api::TXN_OFFSET_COMMIT, ProxyFault::Refuse(22), false), // ILLEGAL_GENERATION
    (Api::TXN_OFFSET_COMMIT, ProxyFault::Refuse(14), false), // COORDINATOR_LOAD_IN_PROGRESS
    (Api::ADD_OFFSETS_TO_TXN, ProxyFault::DropAnswer, false),
    (Api::ADD_OFFSETS_TO_TXN, ProxyFault::Refuse(NOT_COORDINATOR), false),
    (Api::ADD_PARTITIONS_TO_TXN, ProxyFault::DropAnswer, false),
    (Api::ADD_PARTITIONS_TO_TXN, ProxyFault::Hold(ms(1_500)), false),
    (Api::ADD_PARTITIONS_TO_TXN, ProxyFault::Refuse(CONCURRENT_TRANSACTIONS), false),
    (Api::PRODUCE, ProxyFault::DropRequest, false),
    (Api::PRODUCE, ProxyFault::DropAnswer, false),
    (Api::PRODUCE, ProxyFault::Hold(ms(500)), false),
    (Api::PRODUCE, ProxyFault::Delay(ms(2_000)), false),
    (Api::PRODUCE, ProxyFault::Refuse(6), false), // NOT_LEADER_OR_FOLLOWER
    (Api::FETCH, ProxyFault::ResetAnswer, false),
    (Api::FETCH, ProxyFault::DropAnswer, false),
    (Api::HEARTBEAT, ProxyFault::DropAnswer, false),
    (Api::HEARTBEAT, ProxyFault::Refuse(27), false), // REBALANCE_IN_PROGRESS
    (Api::INIT_PRODUCER_ID, ProxyFault::Refuse(CONCURRENT_TRANSACTIONS), true),
    (Api::FIND_COORDINATOR, ProxyFault::DropAnswer, true),
    (Api::JOIN_GROUP, ProxyFault::ResetAnswer, true),
    (Api::SYNC_GROUP, ProxyFault::ResetAnswer, true),
    (Api::OFFSET_FETCH, ProxyFault::DropAnswer, true),
    (Api::OFFSET_FETCH, ProxyFault::Refuse(88), true), // UNSTABLE_OFFSET_COMMIT
    (Api::LIST_OFFSETS, ProxyFault::DropAnswer, true),
];

fn network(cells: &[Cell], random: &mut fastrand::Rng, instances: usize) -> Vec<Fault> {
    let fault = |&(api, fault, restart): &Cell| {
        let victim = random.usize(..instances);
        Fault::Network { victim, api, fault, restart }
    };
    cells.iter().map(fault).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{failpoint::Phase, torture::fault::by_kind};

    fn wish(tier: Tier, seed: u64) -> Wish {
        let kills = tier.kills();
        let three_brokers = tier > Tier::T0;
        Wish { tier, seed, kills, instances: 3, wipe_always: false, three_brokers }
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_one_another() {
        let plan = |seed| Plan::make(wish(Tier::T1, seed));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_plan_has_each_phase_twice_one_wipe_and_one_corruption() {
        for seed in 0..200 {
            for kills in [1, KILLS_MIN, 30] {
                let plan = Plan::make(Wish { kills, ..wish(Tier::T0, seed) });
                assert_eq!(plan.kills(), kills.max(KILLS_MIN));
                let mut phases = BTreeMap::<Phase, u32>::new();
                let (mut wipes, mut corruptions) = (0, 0);
                for fault in &plan.faults {
                    let Fault::Kill { victim, moment, aftermath, .. } = fault else { continue };
                    assert!(*victim < 3);
                    if let Moment::At(point) = moment {
                        *phases.entry(point.phase().unwrap()).or_default() += 1;
                    }
                    wipes += u32::from(*aftermath == Aftermath::Wipe);
                    corruptions += u32::from(*aftermath == Aftermath::Corrupt);
                }
                assert!(Phase::ALL.iter().all(|phase| phases[phase] >= 2), "{phases:?}");
                assert_eq!((wipes, corruptions), (1, 1));
            }
        }
    }

    #[test]
    fn a_plan_that_wipes_always_wipes_at_every_kill() {
        let plan = Plan::make(Wish { wipe_always: true, ..wish(Tier::T0, 1) });
        let wipes =
            |fault: &&Fault| matches!(fault, Fault::Kill { aftermath: Aftermath::Wipe, .. });
        assert_eq!(plan.faults.iter().filter(wipes).count(), plan.kills());
    }

    #[test]
    fn tier_one_has_every_kind_and_tier_two_all_of_it_four_times() {
        let one = by_kind(&Plan::make(wish(Tier::T1, 7)).faults);
        for kind in [
            "kill",
            "kill-together",
            "zombie-session",
            "zombie-transaction",
            "zombie-both",
            "zombie-short",
            "hijack",
            "freeze",
            "broker-kill",
            "roll-brokers",
            "roll-workers",
            "cut",
            "rescale",
            "disk-full",
            "slow-restore",
            "network",
        ] {
            assert!(one.contains_key(kind), "{kind} in {one:?}");
        }
        let two = by_kind(&Plan::make(wish(Tier::T2, 7)).faults);
        for (kind, count) in &one {
            assert!(two[kind] >= 4 * count, "{kind}: {count} and {}", two[kind]);
        }
    }

    #[test]
    fn one_broker_is_never_killed_or_rolled() {
        let plan = Plan::make(Wish { three_brokers: false, ..wish(Tier::T1, 7) });
        let kinds = by_kind(&plan.faults);
        assert!(!kinds.contains_key("broker-kill") && !kinds.contains_key("roll-brokers"));
    }

    #[test]
    fn tiers_take_the_time_that_they_may() {
        let minutes = |tier| Plan::make(wish(tier, 7)).duration().as_secs() / 60;
        assert!(minutes(Tier::T0) < 4, "{}", minutes(Tier::T0));
        assert!(minutes(Tier::T1) <= 12, "{}", minutes(Tier::T1));
        assert!((45..=60).contains(&minutes(Tier::T2)), "{}", minutes(Tier::T2));
    }

    #[test]
    fn tier_two_meets_every_cell() {
        let plan = Plan::make(wish(Tier::T2, 7));
        let met: BTreeSet<String> = plan
            .faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::Network { api, fault, .. } => Some(format!("{api} {fault}")),
                _ => None,
            })
            .collect();
        assert_eq!(met.len(), CORE.len() + EDGE.len());
    }
}
