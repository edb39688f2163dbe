//! Compares the ledger's topics with what they must hold: every posting, every output record.
//!
//! Knows only records as read from topics, in the order of their partitions: first all transfers,
//! then all postings, then all balances. Must never stop at the first violation, and never pass
//! when there was nothing to check.

use std::{collections::HashMap, fmt};

use super::oracle::{self, Account, Posting, Side, Transfer};

/// Violations that are described in words; the others are only counted.
const EXAMPLES_MAX: usize = 20;

/// Hashes spent on telling stale state from other wrong output; beyond, it counts as wrong.
const SEARCH_MAX: u64 = 5_000_000;

/// What was read, and how often it was not as it must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Transfers read.
    pub(crate) inputs: u64,
    /// Postings read.
    pub(crate) postings: u64,
    /// Output records read.
    pub(crate) outputs: u64,
    /// Postings or output records that are missing.
    pub(crate) lost: u64,
    /// Postings or output records that are there again.
    pub(crate) duplicated: u64,
    /// Records of an account that stand before one that they must follow.
    pub(crate) reordered: u64,
    /// Records with a content that no transfer accounts for.
    pub(crate) wrong: u64,
    /// Output records that continue an older state of their account.
    pub(crate) stale_state: u64,
    /// Partitions that a transaction without an owner holds back.
    pub(crate) hanging_txn: u64,
}

impl Findings {
    /// Whether everything is as it must be; never for topics without records.
    pub(crate) fn is_clean(&self) -> bool {
        self.inputs > 0
            && self.postings == 2 * self.inputs
            && self.outputs == self.postings
            && self.violations() == 0
    }

    /// All violations together.
    pub(crate) fn violations(&self) -> u64 {
        self.lost
            + self.duplicated
            + self.reordered
            + self.wrong
            + self.stale_state
            + self.hanging_txn
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lost={} duplicated={} reordered={} wrong={} stale_state={} hanging_txn={}",
            self.lost,
            self.duplicated,
            self.reordered,
            self.wrong,
            self.stale_state,
            self.hanging_txn
        )
    }
}

struct Seen {
    from: u32,
    to: u32,
    amount: i64,
    partition: i32,
    offset: i64,
    debits: u32,
    credits: u32,
}

/// One account: its postings and outputs in the order of their partitions.
#[derive(Default)]
struct Book {
    /// Where the bytes of its postings lie.
    postings: Vec<(usize, usize)>,
    outputs: Vec<Account>,
    /// The place of the last posting per partition of the transfers.
    last: HashMap<i32, i64>,
}

/// Gathers the topics' records, then judges.
pub(crate) struct Checker {
    postings_partitions: i32,
    balances_partitions: i32,
    transfers: HashMap<u64, Seen>,
    names: HashMap<String, u32>,
    books: Vec<Book>,
    bytes: Vec<u8>,
    findings: Findings,
    examples: Vec<String>,
    searched: u64,
}

impl Checker {
    /// A checker of topics with these partition counts.
    pub(crate) fn new(postings_partitions: i32, balances_partitions: i32) -> Self {
        Self {
            postings_partitions,
            balances_partitions,
            transfers: HashMap::new(),
            names: HashMap::new(),
            books: Vec::new(),
            bytes: Vec::new(),
            findings: Findings::default(),
            examples: Vec::new(),
            searched: 0,
        }
    }

    /// A record of `transfers`.
    pub(crate) fn transfer(&mut self, partition: i32, offset: i64, value: &[u8]) {
        self.findings.inputs += 1;
        let transfer: Transfer = match serde_json::from_slice(value) {
            Ok(transfer) => transfer,
            Err(error) => return self.wrong(format!("transfer {partition}/{offset}: {error}")),
        };
        let seen = Seen {
            from: self.account(transfer.from),
            to: self.account(transfer.to),
            amount: transfer.amount,
            partition,
            offset,
            debits: 0,
            credits: 0,
        };
        if self.transfers.insert(transfer.id, seen).is_some() {
            self.wrong(format!("transfer {} was put in twice", transfer.id));
        }
    }

    /// A record of the repartition topic; control records are passed over.
    pub(crate) fn posting(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let (Some(key), Some(value)) = (key, value) else { return };
        self.findings.postings += 1;
        let name = String::from_utf8_lossy(key).into_owned();
        let what = || format!("posting {} of {name}", String::from_utf8_lossy(value));
        let Ok(posting) = serde_json::from_slice::<Posting>(value) else {
            return self.wrong(what());
        };
        if partition != oracle::partition_of(key, self.postings_partitions) {
            return self.wrong(format!("{} stands in partition {partition}", what()));
        }
        let account = self.account(name.clone());
        let place = (self.bytes.len(), self.bytes.len() + value.len());
        let Some(book) = self.books.get_mut(account as usize) else { return };
        book.postings.push(place);
        self.bytes.extend_from_slice(value);
        let Some(seen) = self.transfers.get_mut(&posting.transfer) else {
            return self.wrong(format!("{}: there is no such transfer", what()));
        };
        let (expected, count) = match posting.side {
            Side::Debit => (seen.from, &mut seen.debits),
            Side::Credit => (seen.to, &mut seen.credits),
        };
        if expected != account || seen.amount != posting.amount {
            return self.wrong(format!("{} is not what its transfer says", what()));
        }
        *count += 1;
        if *count > 1 {
            return self.duplicated(what());
        }
        // The debit comes before the credit.
        let order = seen.offset * 2 + i64::from(posting.side == Side::Credit);
        let last = book.last.entry(seen.partition).or_insert(-1);
        if order < *last {
            return self.reordered(what());
        }
        *last = order;
    }

    /// A record of `balances`.
    pub(crate) fn balance(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.findings.outputs += 1;
        let key = key.unwrap_or_default();
        let name = String::from_utf8_lossy(key).into_owned();
        let account = match Account::parse(value.unwrap_or_default()) {
            Ok(account) => account,
            Err(error) => return self.wrong(format!("output of {name}: {error}")),
        };
        if partition != oracle::partition_of(key, self.balances_partitions) {
            return self.wrong(format!("an output of {name} stands in partition {partition}"));
        }
        let index = self.account(name);
        if let Some(book) = self.books.get_mut(index as usize) {
            book.outputs.push(account);
        }
    }

    /// The verdict, with some violations in words. `hanging` is how many partitions still have an
    /// open transaction.
    pub(crate) fn finish(mut self, hanging: u64) -> (Findings, Vec<String>) {
        self.findings.hanging_txn = hanging;
        let mut lost = Vec::new();
        for (id, seen) in &self.transfers {
            for (count, side) in [(seen.debits, "debit"), (seen.credits, "credit")] {
                if count == 0 {
                    self.findings.lost += 1;
                    lost.push((*id, side));
                }
            }
        }
        lost.sort_unstable();
        for (id, side) in lost.into_iter().take(EXAMPLES_MAX / 2) {
            self.example(format!("lost: the {side} of transfer {id}"));
        }
        let names: HashMap<u32, String> =
            self.names.drain().map(|(name, index)| (index, name)).collect();
        for (index, book) in std::mem::take(&mut self.books).into_iter().enumerate() {
            let name = names.get(&(index as u32)).map_or("?", String::as_str);
            self.compare(name, &book);
        }
        (self.findings, self.examples)
    }

    /// Every output of one account against what its postings make it.
    fn compare(&mut self, name: &str, book: &Book) {
        let postings: Vec<(Posting, &[u8])> = book
            .postings
            .iter()
            .filter_map(|&(from, to)| {
                let bytes = self.bytes.get(from..to)?;
                Some((serde_json::from_slice(bytes).ok()?, bytes))
            })
            .collect();
        let mut states = Vec::with_capacity(postings.len() + 1);
        let mut state = Account::default();
        states.push(state);
        for (posting, bytes) in &postings {
            state = state.after(posting, bytes);
            states.push(state);
        }
        if states.get(1..) == Some(book.outputs.as_slice()) {
            return;
        }
        let divergence = Divergence::of(&states, &postings, &book.outputs, &mut self.searched);
        self.count(name, &divergence);
    }

    fn count(&mut self, name: &str, divergence: &Divergence) {
        self.findings.lost += divergence.lost;
        self.findings.duplicated += divergence.duplicated;
        self.findings.reordered += divergence.reordered;
        self.findings.wrong += divergence.wrong;
        self.findings.stale_state += divergence.stale;
        self.example(format!("account {name}: {divergence}"));
    }

    fn account(&mut self, name: String) -> u32 {
        let next = self.books.len() as u32;
        let index = *self.names.entry(name).or_insert(next);
        if index == next {
            self.books.push(Book::default());
        }
        index
    }

    fn wrong(&mut self, what: String) {
        self.findings.wrong += 1;
        self.example(format!("wrong: {what}"));
    }

    fn duplicated(&mut self, what: String) {
        self.findings.duplicated += 1;
        self.example(format!("duplicated: {what}"));
    }

    fn reordered(&mut self, what: String) {
        self.findings.reordered += 1;
        self.example(format!("reordered: {what}"));
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }
}

/// How the outputs of one account differ from what they must be.
#[derive(Debug, Default)]
struct Divergence {
    expected: usize,
    found: usize,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    wrong: u64,
    stale: u64,
}

impl Divergence {
    /// `states` begins with the empty account; posting i leads from state i to state i + 1.
    fn of(
        states: &[Account],
        postings: &[(Posting, &[u8])],
        outputs: &[Account],
        searched: &mut u64,
    ) -> Self {
        let place: HashMap<[u8; 32], usize> =
            states.iter().enumerate().skip(1).map(|(i, state)| (state.chain, i)).collect();
        let mut result = Self { expected: postings.len(), found: outputs.len(), ..Self::default() };
        let mut seen = vec![false; states.len()];
        let mut highest = 0;
        for output in outputs {
            let expected = place.get(&output.chain).filter(|i| states.get(**i) == Some(output));
            let Some((&i, seen)) = expected.and_then(|i| Some((i, seen.get_mut(*i)?))) else {
                if continues_older_state(output, states, postings, searched) {
                    result.stale += 1;
                } else {
                    result.wrong += 1;
                }
                continue;
            };
            if *seen {
                result.duplicated += 1;
            } else if i < highest {
                result.reordered += 1;
            }
            *seen = true;
            highest = highest.max(i);
        }
        let missing = seen.iter().skip(1).filter(|seen| !**seen).count() as u64;
        // A record with other content stands in the place of one that is not lost but wrong.
        result.lost = missing.saturating_sub(result.wrong + result.stale);
        result
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found, lost, duplicated, reordered, wrong, stale } = self;
        write!(
            f,
            "{found} outputs for {expected} postings: {lost} lost, {duplicated} duplicated, \
             {reordered} reordered, {wrong} wrong, {stale} from stale state"
        )
    }
}

/// Whether the output is what a later posting makes of an earlier state than the one before it.
fn continues_older_state(
    output: &Account,
    states: &[Account],
    postings: &[(Posting, &[u8])],
    searched: &mut u64,
) -> bool {
    let Some(older) = output.n.checked_sub(1).and_then(|n| usize::try_from(n).ok()) else {
        return false;
    };
    let Some(state) = states.get(older) else { return false };
    postings.iter().skip(older + 1).any(|(posting, bytes)| {
        *searched += 1;
        *searched <= SEARCH_MAX && state.after(posting, bytes) == *output
    })
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
