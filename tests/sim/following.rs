//! How far a run has come, told from committed records: each is looked at once, however often
//! somebody asks.

use std::collections::BTreeMap;

use tidemill::{
    record::{Offset, TopicPartition},
    testing::SimCluster,
};

use crate::topology::{BALANCES, POSTINGS};

/// What committed records have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Following {
    next: BTreeMap<(&'static str, i32), Offset>,
    /// By transfer and side, whether it was seen.
    posted: Vec<bool>,
    processed: Vec<bool>,
    /// Postings, outputs of postings, and timers, doubled ones too.
    pub(crate) postings: usize,
    pub(crate) outputs: usize,
    pub(crate) timers_set: usize,
    pub(crate) timers_fired: usize,
}

impl Following {
    /// Looks at what was committed since the last time.
    pub(crate) fn follow(&mut self, cluster: &SimCluster) {
        for topic in [POSTINGS, BALANCES] {
            for partition in 0..cluster.partitions(topic) {
                let from = self.next.get(&(topic, partition)).copied().unwrap_or(Offset(0));
                let at = TopicPartition::new(topic, partition);
                let next = cluster.visit_committed(&at, from, |_, value| {
                    let value = value.unwrap_or_default();
                    if topic == POSTINGS { self.posting(value) } else { self.balance(value) }
                });
                self.next.insert((topic, partition), next);
            }
        }
    }

    /// Whether both sides of that many transfers are posted, and processed.
    pub(crate) fn is_complete(&self, transfers: u64) -> bool {
        let sides = 2 * transfers as usize;
        [&self.posted, &self.processed]
            .into_iter()
            .all(|seen| seen.get(..sides).is_some_and(|seen| seen.iter().all(|seen| *seen)))
    }

    fn posting(&mut self, value: &[u8]) {
        self.postings += 1;
        note(&mut self.posted, value);
    }

    /// `<seq> <hash> P<posting>[+<timer>]` or `<seq> <hash> T<timer>`.
    fn balance(&mut self, value: &[u8]) {
        let event = value.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        let mut parts = event.splitn(2, |byte| *byte == b'+');
        let what = parts.next().unwrap_or_default();
        self.timers_set += usize::from(parts.next().is_some());
        match what {
            [b'P', posting @ ..] => {
                self.outputs += 1;
                note(&mut self.processed, posting);
            }
            _ => self.timers_fired += 1,
        }
    }
}

/// `<transfer><a|b>`; whatever else it is, the oracle will say.
fn note(seen: &mut Vec<bool>, posting: &[u8]) {
    let Some((side @ (b'a' | b'b'), digits)) = posting.split_last() else { return };
    let transfer = digits.iter().fold(0, |n, digit| n * 10 + usize::from(digit.wrapping_sub(b'0')));
    let index = 2 * transfer + usize::from(*side == b'b');
    if seen.len() <= index {
        seen.resize(index + 1, false);
    }
    seen[index] = true;
}
