//! What a run must have left behind, told from committed records alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::topology;

/// A committed record of a topic, in partition order.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The key.
    pub(crate) key: String,
    /// The value.
    pub(crate) value: String,
}

/// Violations by kind; all empty is a pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Postings of a transfer that are missing.
    pub(crate) lost: Vec<String>,
    /// Postings or outputs that are there twice.
    pub(crate) duplicated: Vec<String>,
    /// Outputs that do not follow from the account's history in the repartition topic.
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// Checks postings against transfers, and every output against its account's postings: in order,
/// chained without a gap, every timer that was set fired exactly once.
pub(crate) fn check(transfers: u64, postings: &[Vec<Seen>], balances: &[Vec<Seen>]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen = BTreeSet::new();
    let mut accounts: BTreeMap<&str, VecDeque<&str>> = BTreeMap::new();
    for posting in postings.iter().flatten() {
        if !seen.insert(posting.value.as_str()) {
            verdict.duplicated.push(format!("posting {}", posting.value));
        }
        accounts.entry(&posting.key).or_default().push_back(&posting.value);
    }
    for id in 0..transfers {
        for side in ["a", "b"] {
            if !seen.contains(format!("{id}{side}").as_str()) {
                verdict.lost.push(format!("posting {id}{side}"));
            }
        }
    }
    let mut chains: BTreeMap<&str, Chain> = BTreeMap::new();
    for output in balances.iter().flatten() {
        let postings = accounts.entry(&output.key).or_default();
        let chain = chains.entry(&output.key).or_default();
        if let Err(problem) = chain.follow(&output.value, postings) {
            verdict.wrong.push(format!("account {}: {}: {problem}", output.key, output.value));
        }
    }
    for (account, postings) in &accounts {
        verdict
            .lost
            .extend(postings.iter().map(|id| format!("output of posting {id} ({account})")));
        if let Some(at) = chains.get(account).and_then(|chain| chain.timer) {
            verdict.lost.push(format!("timer {at} ({account})"));
        }
    }
    verdict
}

#[derive(Debug, Default)]
struct Chain {
    seq: u64,
    hash: u64,
    timer: Option<i64>,
}

impl Chain {
    fn follow(&mut self, value: &str, postings: &mut VecDeque<&str>) -> Result<(), String> {
        let mut words = value.split(' ');
        let seq: u64 = words.next().and_then(|w| w.parse().ok()).ok_or("no seq")?;
        let hash: u64 = words.next().and_then(|w| w.parse().ok()).ok_or("no hash")?;
        let event = words.next().ok_or("no event")?;
        if seq != self.seq + 1 {
            return Err(format!("follows seq {}", self.seq));
        }
        if hash != topology::link(self.hash, event) {
            return Err("the chain is broken".to_owned());
        }
        (self.seq, self.hash) = (seq, hash);
        if let Some(at) = event.strip_prefix('T') {
            let at = at.parse().ok();
            let set = self.timer.take();
            return if set == at { Ok(()) } else { Err(format!("timer set was {set:?}")) };
        }
        let posting = event.strip_prefix('P').ok_or("neither posting nor timer")?;
        let (id, set) = match posting.split_once('+') {
            Some((id, at)) => (id, Some(at.parse::<i64>().map_err(|e| e.to_string())?)),
            None => (posting, None),
        };
        if set.is_some() == self.timer.is_some() {
            return Err(format!("sets a timer beside {:?}", self.timer));
        }
        self.timer = self.timer.or(set);
        match postings.pop_front() {
            Some(expected) if expected == id => Ok(()),
            expected => Err(format!("the account's next posting is {expected:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (Vec<Vec<Seen>>, Vec<Vec<Seen>>) {
        let seen = |key: &str, value: &str| Seen { key: key.into(), value: value.into() };
        let postings =
            vec![vec![seen("x", "0a"), seen("x", "0b"), seen("x", "1a"), seen("x", "1b")]];
        let mut hash = 0;
        let events = ["P0a+5", "P0b", "P1a", "T5", "P1b+9", "T9"];
        let balances = events.iter().enumerate().map(|(index, event)| {
            hash = topology::link(hash, event);
            seen("x", &format!("{} {hash} {event}", index + 1))
        });
        let balances = vec![balances.collect()];
        (postings, balances)
    }

    #[test]
    fn a_perfect_history_passes_and_every_broken_one_fails() {
        let (postings, balances) = history();
        assert!(check(2, &postings, &balances).is_clean());
        for index in 0..balances[0].len() {
            let mut deleted = balances.clone();
            deleted[0].remove(index);
            assert!(!check(2, &postings, &deleted).is_clean(), "output {index} deleted");
            let mut doubled = balances.clone();
            doubled[0].insert(index, balances[0][index].clone());
            assert!(!check(2, &postings, &doubled).is_clean(), "output {index} doubled");
            if index > 0 {
                let mut swapped = balances.clone();
                swapped[0].swap(index - 1, index);
                assert!(!check(2, &postings, &swapped).is_clean(), "output {index} swapped");
            }
        }
        for index in 0..postings[0].len() {
            let mut deleted = postings.clone();
            deleted[0].remove(index);
            assert!(!check(2, &deleted, &balances).is_clean(), "posting {index} deleted");
            let mut doubled = postings.clone();
            doubled[0].push(postings[0][index].clone());
            assert!(!check(2, &doubled, &balances).is_clean(), "posting {index} doubled");
        }
        assert!(!check(3, &postings, &balances).is_clean(), "a whole transfer is missing");
    }
}
