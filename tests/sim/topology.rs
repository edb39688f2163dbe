//! What simulations run: a stateless subtopology that splits transfers into postings, and a keyed
//! one that chains them per account, with a durable timer per account.

use tidemill::{
    dsl::{Repartition, Source, TopologyBuilder},
    formats::{Unit, Utf8},
    operators::{TimerFunction, Timers},
    record::Timestamp,
    time::TimerDomain,
    topology::Topology,
};

/// Input: value `<id> <from> <to>`.
pub(crate) const TRANSFERS: &str = "transfers";
/// Output: key account, value `<seq> <hash> <event>`; events as in [`posting`] and [`timer`].
pub(crate) const BALANCES: &str = "balances";
/// The application id.
pub(crate) const APP: &str = "sim";
/// The repartition topic.
pub(crate) const POSTINGS: &str = "sim-postings-repartition";
/// Partitions of the repartition topic.
pub(crate) const POSTING_PARTITIONS: i32 = 3;
/// How long after a posting its account's timer fires, if none is set, in milliseconds.
const TIMER_MS: i64 = 400;

/// The event of a posting: which, and the timer that it set.
pub(crate) fn posting(id: &str, timer: Option<i64>) -> String {
    timer.map_or_else(|| format!("P{id}"), |at| format!("P{id}+{at}"))
}

/// The event of a timer.
pub(crate) fn timer(at: i64) -> String {
    format!("T{at}")
}

/// One link of an account's chain.
pub(crate) fn link(hash: u64, event: &str) -> u64 {
    event.bytes().fold(hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `<seq> <hash> <timer at, or ->`.
struct Accounts;

fn parse(state: Option<&String>) -> (u64, u64, Option<i64>) {
    let Some(text) = state else { return (0, 0, None) };
    let mut words = text.split(' ');
    let seq = words.next().unwrap().parse().unwrap();
    let hash = words.next().unwrap().parse().unwrap();
    (seq, hash, words.next().unwrap().parse().ok())
}

fn advance(state: &mut Option<String>, event: &str, pending: Option<i64>) -> Option<String> {
    let (seq, hash, _) = parse(state.as_ref());
    let hash = link(hash, event);
    let pending = pending.map_or_else(|| "-".to_owned(), |at| at.to_string());
    *state = Some(format!("{} {hash} {pending}", seq + 1));
    Some(format!("{} {hash} {event}", seq + 1))
}

impl TimerFunction for Accounts {
    type Key = String;
    type Value = String;
    type State = String;
    type Output = String;

    fn on_element(
        &self,
        _account: &String,
        value: String,
        state: &mut Option<String>,
        timers: &mut Timers,
    ) -> Option<String> {
        let (_, _, pending) = parse(state.as_ref());
        let set = match pending {
            Some(_) => None,
            None => {
                let at = timers.now().0 + TIMER_MS;
                timers.set(Timestamp(at));
                Some(at)
            }
        };
        advance(state, &posting(&value, set), pending.or(set))
    }

    fn on_timer(
        &self,
        _account: &String,
        state: &mut Option<String>,
        timers: &mut Timers,
    ) -> Option<String> {
        advance(state, &timer(timers.timestamp().0), None)
    }
}

/// The topology.
pub(crate) fn topology() -> Topology {
    let builder = TopologyBuilder::new(APP);
    let postings = Repartition::new("postings", Utf8, Utf8).partitions(POSTING_PARTITIONS);
    builder
        .stream(Source::new(TRANSFERS, Unit, Utf8))
        .flat_map(|(), transfer: String| {
            let mut words = transfer.split(' ').map(str::to_owned);
            let (id, from, to) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            [(from, format!("{id}a")), (to, format!("{id}b"))]
        })
        .repartition(postings)
        .group_by_key()
        .keyed_timer("accounts", TimerDomain::ProcessingTime, Utf8, Accounts)
        .to(BALANCES, Utf8, Utf8);
    builder.build().unwrap()
}
