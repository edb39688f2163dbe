//! The plan of a torture run: which instance suffers what, when. Seeded, and pure.

use std::{fmt, time::Duration};

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
pub(crate) const KILLS_MIN: usize = DIRECTED.len();

/// When in an epoch a kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At any.
    Random,
    /// At a random time, shortly after a transaction of the victim was seen open.
    InTransaction,
    /// When a thread reaches this point.
    At(Point),
}

/// What happens to the killed instance before it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// It is started again at once: it resumes its partitions.
    Restart,
    /// It stays away for longer than the session timeout: others take its partitions.
    Takeover,
    /// Its state directory is wiped: it restores everything.
    Wipe,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill {
        /// Which instance.
        victim: usize,
        /// When in an epoch.
        moment: Moment,
        /// How long after the instance works again.
        after: Duration,
        /// What comes then.
        aftermath: Aftermath,
    },
    /// SIGSTOP right before offsets are sent, for longer than the session timeout; then SIGCONT.
    Zombie {
        /// Which instance.
        victim: usize,
    },
    /// All but one instance are stopped gently, and started again once the last one has all.
    Scale {
        /// Which instance stays.
        survivor: usize,
    },
}

/// A seeded schedule of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order, each after the one before has been dealt with.
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    /// `kills` kills (at least [`KILLS_MIN`]) of `instances` instances, one zombie, one scale down
    /// and up. Every restart wipes the state where `wipe_always` says so, else one does.
    pub(crate) fn make(seed: u64, kills: usize, instances: usize, wipe_always: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut moments: Vec<Moment> = DIRECTED.into_iter().map(Moment::At).collect();
        // Between epochs and at the ends of one, no transaction is open: five of six random kills
        // are aimed at open ones, so that these are the most.
        for number in moments.len()..kills {
            moments.push(if number % 6 == 0 { Moment::Random } else { Moment::InTransaction });
        }
        random.shuffle(&mut moments);
        let wiped = random.usize(..moments.len());
        let mut faults: Vec<Fault> = Vec::with_capacity(moments.len() + 2);
        for (index, moment) in moments.into_iter().enumerate() {
            let aftermath = if wipe_always || index == wiped {
                Aftermath::Wipe
            } else if index % 8 == 5 {
                Aftermath::Takeover
            } else {
                Aftermath::Restart
            };
            faults.push(Fault::Kill {
                victim: random.usize(..instances),
                moment,
                after: Duration::from_millis(random.u64(100..1_500)),
                aftermath,
            });
        }
        let third = faults.len() / 3;
        faults.insert(2 * third, Fault::Scale { survivor: random.usize(..instances) });
        faults.insert(third, Fault::Zombie { victim: random.usize(..instances) });
        Self { faults }
    }

    /// How many of the faults are kills.
    pub(crate) fn kills(&self) -> usize {
        self.faults.iter().filter(|fault| matches!(fault, Fault::Kill { .. })).count()
    }

    /// How long the faults take, roughly: the input is paced by it.
    pub(crate) fn duration(&self) -> Duration {
        let seconds: u64 = self
            .faults
            .iter()
            .map(|fault| match fault {
                Fault::Kill { aftermath: Aftermath::Takeover, .. } => 12,
                Fault::Kill { .. } => 4,
                Fault::Zombie { .. } | Fault::Scale { .. } => 20,
            })
            .sum();
        Duration::from_secs(seconds)
    }
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
                })
            }
            Self::Zombie { victim } => write!(f, "zombie i{victim}"),
            Self::Scale { survivor } => write!(f, "scale to i{survivor} alone and back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::failpoint::Phase;

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_one_another() {
        assert_eq!(Plan::make(7, 30, 3, false), Plan::make(7, 30, 3, false));
        assert_ne!(Plan::make(7, 30, 3, false), Plan::make(8, 30, 3, false));
    }

    #[test]
    fn every_plan_has_each_phase_twice_one_zombie_one_scale_and_one_wipe() {
        for seed in 0..200 {
            for kills in [1, KILLS_MIN, 30] {
                let plan = Plan::make(seed, kills, 3, false);
                assert_eq!(plan.kills(), kills.max(KILLS_MIN));
                let mut phases = BTreeMap::<Phase, u32>::new();
                let (mut wipes, mut zombies, mut scales) = (0, 0, 0);
                for fault in &plan.faults {
                    match fault {
                        Fault::Kill { victim, moment, aftermath, .. } => {
                            assert!(*victim < 3);
                            if let Moment::At(point) = moment {
                                *phases.entry(point.phase().unwrap()).or_default() += 1;
                            }
                            wipes += u32::from(*aftermath == Aftermath::Wipe);
                        }
                        Fault::Zombie { .. } => zombies += 1,
                        Fault::Scale { .. } => scales += 1,
                    }
                }
                assert!(Phase::ALL.iter().all(|phase| phases[phase] >= 2), "{phases:?}");
                assert_eq!((wipes, zombies, scales), (1, 1, 1));
            }
        }
    }

    #[test]
    fn a_plan_that_wipes_always_wipes_at_every_kill() {
        let plan = Plan::make(1, 15, 3, true);
        let wipes =
            |fault: &&Fault| matches!(fault, Fault::Kill { aftermath: Aftermath::Wipe, .. });
        assert_eq!(plan.faults.iter().filter(wipes).count(), plan.kills());
    }
}
