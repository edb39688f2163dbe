//! MEM-1 under a hostile load: what a stream thread accounts for never passes its bounds, whatever
//! comes in, and all of it is processed all the same.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use tidemill::{
    dsl::{Source, TopologyBuilder},
    formats::Utf8,
    operators::{TimerFunction, Timers},
    record::Timestamp,
    runtime::{
        Guarantee, StateSettings, StatusBoard, TimeSettings,
        epoch::EpochLimits,
        hooks::NoHooks,
        memory::MemoryUse,
        mutants::Mutant,
        plan::InstancePlan,
        restore::Restorer,
        stream_thread::{Step, StreamThread, ThreadSettings},
    },
    testing::{ClientSettings, Delay, SimCluster, SimDisk, SimLog, SimSettings},
    time::TimerDomain,
    topology::Topology,
};

use crate::{instances::SharedRestorer, topics::make_topics};

const APP: &str = "hostile";
const INPUT: &str = "input";
const OUTPUT: &str = "output";
const PARTITIONS: i32 = 40;

const KIB: u64 = 1 << 10;
const CACHE: u64 = 96 * KIB;
const SPILL: u64 = 12 * KIB;
const EPOCH: u64 = 64 * KIB;
/// The largest record: key, value, and the state that it makes.
const KEY_MAX: usize = 1_500;
const VALUE_MAX: usize = 5_000;

const HOUR: Duration = Duration::from_secs(3_600);
const MS: Duration = Duration::from_millis(1);

/// The state of a key is the last value and how many there were: as large as the input makes it.
fn topology() -> Topology {
    let builder = TopologyBuilder::new(APP);
    builder
        .stream(Source::new(INPUT, Utf8, Utf8))
        .group_by_key()
        .aggregate("last", Utf8, String::new, |_key, value: String, state: &mut String| {
            let count: u64 = state.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            *state = format!("{} {value}", count + 1);
        })
        .updates()
        .map_values(|_, state: String| state.split(' ').next().unwrap_or_default().to_owned())
        .to(OUTPUT, Utf8, Utf8);
    builder.build().unwrap()
}

/// As [`topology`], with a timer per short key that is far from due.
fn topology_with_timers() -> Topology {
    let builder = TopologyBuilder::new(APP);
    builder
        .stream(Source::new(INPUT, Utf8, Utf8))
        .group_by_key()
        .keyed_timer("last", TimerDomain::ProcessingTime, Utf8, Reminded)
        .to(OUTPUT, Utf8, Utf8);
    builder.build().unwrap()
}

struct Reminded;

impl TimerFunction for Reminded {
    type Key = String;
    type Value = String;
    type State = String;
    type Output = String;

    fn on_element(
        &self,
        key: &String,
        value: String,
        state: &mut Option<String>,
        timers: &mut Timers,
    ) -> Option<String> {
        let count = state.as_deref().and_then(|state| state.split(' ').next()?.parse().ok());
        let count: u64 = count.unwrap_or(0) + 1;
        if key.len() < 40 && count == 1 {
            timers.set(Timestamp(timers.now().0 + HOUR.as_millis() as i64));
        }
        *state = Some(format!("{count} {value}"));
        Some(count.to_string())
    }

    fn on_timer(&self, _: &String, _: &mut Option<String>, _: &mut Timers) -> Option<String> {
        None
    }
}

/// What a run saw.
#[derive(Debug, Default)]
struct Seen {
    highest: MemoryUse,
    changes: u64,
    waits: u64,
    spills: u64,
    epochs: u64,
    /// The first part that was over its bound.
    over: Option<String>,
    wrong: Vec<String>,
}

fn limits() -> EpochLimits {
    EpochLimits {
        // Everything in one epoch, were it not for its weight.
        interval: 2_000 * MS,
        min_pause: Duration::ZERO,
        max_records: u64::MAX,
        max_bytes: EPOCH,
        timeout: Duration::from_secs(30),
        pipelining: true,
        tolerated_failures: 100,
    }
}

fn run(seed: u64, mutant: Mutant) -> Seen {
    run_on(&topology(), seed, mutant)
}

fn run_on(topology: &Topology, seed: u64, mutant: Mutant) -> Seen {
    let settings = SimSettings {
        // Commits and markers are slow: epochs pile up behind them.
        request_latency: Delay::between(5 * MS, 60 * MS),
        marker_delay: Delay::up_to(200 * MS),
        ..SimSettings::quiet()
    };
    let cluster = SimCluster::new(seed, settings);
    let external = [(INPUT.to_owned(), PARTITIONS), (OUTPUT.to_owned(), PARTITIONS)];
    let infos = make_topics(&cluster, topology, APP, external);
    let plan = InstancePlan::resolve(topology, APP, "i0", &infos).unwrap();
    let stores = Box::new(SimDisk::default());
    let restorer =
        SharedRestorer(Rc::new(RefCell::new(Restorer::new(cluster.restore_log("i0"), stores))));
    let settings = ThreadSettings {
        thread: 0,
        epoch: limits(),
        guarantee: Guarantee::ExactlyOnce,
        state: StateSettings {
            spill_bytes: bytesize::ByteSize(SPILL),
            // Only a shortage of memory spills.
            spill_interval: HOUR,
            cache_bytes: bytesize::ByteSize(CACHE),
            purge_repartition_topics: false,
            ..StateSettings::default()
        },
        time: TimeSettings::default(),
        incarnation: 1,
        session_timeout: ClientSettings::new(APP, "i0", 0).session_timeout,
        mutant,
    };
    let mut thread = StreamThread::new(
        Arc::new(plan),
        settings,
        cluster.log(ClientSettings::new(APP, "i0", 0)),
        restorer.clone(),
        StatusBoard::default(),
        Box::new(NoHooks),
    );
    let expected = feed(&cluster, seed);
    drive(&cluster, &mut thread, &restorer, &expected)
}

/// All of it lies there before the first record is processed: every partition has a little, a few
/// have much; keys and values are large at times.
fn feed(cluster: &SimCluster, seed: u64) -> BTreeMap<String, u64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut expected = BTreeMap::new();
    for number in 0..1_500 {
        let long = rng.u8(..4) == 0;
        let key_len = if long { rng.usize(..KEY_MAX) } else { rng.usize(..40) };
        let key = format!("{}-{}", rng.u16(..300), "k".repeat(key_len / 300 * 300));
        let value = "v".repeat(if rng.bool() { rng.usize(..VALUE_MAX) } else { 20 });
        let partition = tidemill::state::partition_of(key.as_bytes(), PARTITIONS);
        let timestamp = cluster.now().wall;
        let (key_bytes, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        let produced = cluster.produce(INPUT, partition, key_bytes, value, timestamp);
        assert!(produced.is_some(), "record {number} was not taken");
        *expected.entry(key).or_default() += 1;
    }
    expected
}

fn drive(
    cluster: &SimCluster,
    thread: &mut StreamThread<SimLog, SharedRestorer>,
    restorer: &SharedRestorer,
    expected: &BTreeMap<String, u64>,
) -> Seen {
    let (mut seen, total) = (Seen::default(), expected.values().sum::<u64>());
    let (mut stopping, mut looks) = (false, 0_u64);
    loop {
        let now = cluster.now();
        assert!(now.mono < Duration::from_secs(3_000), "stuck: {seen:?}");
        restorer.0.borrow_mut().step(now, now.mono);
        match thread.step(now, now.mono) {
            Step::Continue => {}
            Step::Stopped => break,
            Step::Failed(failure) => {
                seen.wrong.push(failure.message().to_owned());
                return seen;
            }
        }
        look(thread, &mut seen);
        looks += 1;
        let done = looks % 100 == 0
            && cluster.committed_records(OUTPUT).iter().map(Vec::len).sum::<usize>() as u64
                >= total;
        if done && !stopping {
            stopping = true;
            thread.stop(true);
        }
        let next = cluster.next_wakeup().unwrap_or(now.mono + MS);
        cluster.advance_to(next.max(now.mono + MS / 10).min(now.mono + MS));
    }
    let counters = thread.counters();
    seen.waits = counters.memory_waits;
    seen.spills = counters.spills;
    seen.epochs = counters.epochs_committed;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in cluster.committed_records(OUTPUT).into_iter().flatten() {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let count = String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
        if counts.insert(key.clone(), count).unwrap_or(0) + 1 != count {
            seen.wrong.push(format!("{key} jumps to {count}"));
        }
    }
    if counts != *expected {
        seen.wrong.push("counts are not what was fed".to_owned());
    }
    seen
}

fn look(thread: &StreamThread<SimLog, SharedRestorer>, seen: &mut Seen) {
    let (used, budget) = (thread.memory(), thread.memory_budget());
    let bounds = [
        ("cache", used.cache + used.timers, CACHE),
        ("changes", used.changes(), budget.changes_max()),
        ("outputs", used.outputs, budget.outputs_max()),
    ];
    for (part, bytes, bound) in bounds {
        if bytes > bound {
            seen.over.get_or_insert(format!("{part}: {bytes} of {bound} in {used:?}"));
        }
    }
    seen.highest.cache = seen.highest.cache.max(used.cache);
    seen.highest.timers = seen.highest.timers.max(used.timers);
    seen.highest.outputs = seen.highest.outputs.max(used.outputs);
    seen.highest.layers = seen.highest.layers.max(used.layers);
    seen.highest.spilling = seen.highest.spilling.max(used.spilling);
    seen.changes = seen.changes.max(used.changes());
}

#[test]
fn a_hostile_load_stays_within_the_bounds_and_is_processed() {
    let mut waits = 0;
    for seed in 0..16 {
        let seen = run(seed, Mutant::None);
        assert_eq!(seen.over, None, "seed {seed}: {seen:?}");
        assert_eq!(seen.wrong, [] as [String; 0], "seed {seed}: {seen:?}");
        assert!(seen.spills > 10 && seen.epochs > 10, "seed {seed}: {seen:?}");
        waits += seen.waits;
        // The bounds are used, else they would show nothing.
        assert!(seen.changes > SPILL && seen.highest.cache > CACHE / 2, "seed {seed}: {seen:?}");
    }
    assert!(waits > 0, "nothing ever waited");
}

#[test]
fn timers_take_their_place_from_the_cache() {
    for seed in 0..4 {
        let seen = run_on(&topology_with_timers(), seed, Mutant::None);
        assert_eq!(seen.over, None, "seed {seed}: {seen:?}");
        assert_eq!(seen.wrong, [] as [String; 0], "seed {seed}: {seen:?}");
        // Both are there, else it would show nothing.
        let highest = seen.highest;
        assert!(highest.timers > CACHE / 5 && highest.cache > CACHE / 3, "seed {seed}: {seen:?}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn without_anybody_looking_the_bounds_are_passed() {
    let seen = run(1, Mutant::MemoryUnbounded);
    assert!(seen.over.is_some(), "{seen:?}");
}
