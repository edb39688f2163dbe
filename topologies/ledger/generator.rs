//! Makes transfers: the input of the verification, the same for the same seed.
//!
//! Knows nothing of Kafka and nothing of the topology's code; the format is that of `README.md`.

use std::io::Write as _;

/// Amounts are below this, so that no balance overflows within any number of transfers we make.
const AMOUNT_MAX: i64 = 1_000;

/// One account in this many transfers pays or receives far more often than the others: its chain
/// is long, and its postings come from every partition at once.
const BUSY_ONE_IN: u64 = 50;

/// How many such accounts there are.
const BUSY_ACCOUNTS: u64 = 10;

/// A transfer as it goes into the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTransfer {
    /// Its number: counted up from 0.
    pub(crate) id: u64,
    /// The partition that it is written to; the ledger does not care which.
    pub(crate) partition: i32,
    /// The record's value.
    pub(crate) value: Vec<u8>,
}

/// An endless, seeded source of transfers.
#[derive(Debug, Clone)]
pub(crate) struct Generator {
    random: fastrand::Rng,
    accounts: u64,
    partitions: i32,
    next: u64,
}

impl Generator {
    /// Transfers between `accounts` accounts over `partitions` partitions (each at least 1).
    pub(crate) fn new(seed: u64, accounts: u64, partitions: i32) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            accounts: accounts.max(1),
            partitions: partitions.max(1),
            next: 0,
        }
    }

    fn account(&mut self) -> u64 {
        let few = if self.random.u64(..BUSY_ONE_IN) == 0 { BUSY_ACCOUNTS } else { self.accounts };
        self.random.u64(..few.min(self.accounts))
    }
}

impl Iterator for Generator {
    type Item = NewTransfer;

    fn next(&mut self) -> Option<NewTransfer> {
        let id = self.next;
        self.next += 1;
        let (from, to) = (self.account(), self.account());
        let amount = self.random.i64(1..AMOUNT_MAX);
        let partition = self.random.i32(0..self.partitions);
        let mut value = Vec::with_capacity(64);
        // Writing to a vector does not fail.
        let _written = write!(
            value,
            r#"{{"id":{id},"from":"a-{from:06}","to":"a-{to:06}","amount":{amount}}}"#
        );
        Some(NewTransfer { id, partition, value })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_transfers_and_another_one_others() {
        let make = |seed| Generator::new(seed, 100, 8).take(1_000).collect::<Vec<_>>();
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
    }

    #[test]
    fn numbers_count_up_and_all_partitions_and_accounts_are_used() {
        let made: Vec<_> = Generator::new(1, 50, 8).take(2_000).collect();
        assert!(made.iter().enumerate().all(|(i, transfer)| transfer.id == i as u64));
        let partitions: BTreeSet<i32> = made.iter().map(|transfer| transfer.partition).collect();
        assert_eq!(partitions, (0..8).collect());
        let mut accounts = BTreeSet::new();
        for transfer in &made {
            let json: serde_json::Value = serde_json::from_slice(&transfer.value).unwrap();
            assert_eq!(json["id"], transfer.id);
            assert!((1..AMOUNT_MAX).contains(&json["amount"].as_i64().unwrap()));
            accounts.insert(json["from"].as_str().unwrap().to_owned());
            accounts.insert(json["to"].as_str().unwrap().to_owned());
        }
        assert_eq!(accounts.len(), 50);
    }
}
