//! Topics as a faultless run leaves them pass; each single deviation falls under its counter.

use std::collections::BTreeMap;

use super::{super::generator::Generator, *};

const PARTITIONS: i32 = 6;

type Record = (i32, String, String);

/// The three topics as a faultless run leaves them.
#[derive(Clone, Default)]
struct Topics {
    transfers: Vec<(i32, i64, Vec<u8>)>,
    postings: Vec<Record>,
    balances: Vec<Record>,
}

impl Topics {
    fn faultless(transfers: usize, accounts: u64) -> Self {
        let mut topics = Self::default();
        let mut offsets = BTreeMap::<i32, i64>::new();
        for new in Generator::new(3, accounts, 8).take(transfers) {
            let offset = offsets.entry(new.partition).or_default();
            topics.transfers.push((new.partition, *offset, new.value.clone()));
            *offset += 1;
            let transfer: Transfer = serde_json::from_slice(&new.value).unwrap();
            for (side, account) in [("debit", transfer.from), ("credit", transfer.to)] {
                let (id, amount) = (transfer.id, transfer.amount);
                let value = format!(r#"{{"transfer":{id},"side":"{side}","amount":{amount}}}"#);
                let partition = oracle::partition_of(account.as_bytes(), PARTITIONS);
                topics.postings.push((partition, account, value));
            }
        }
        topics.rebook(0, Account::default());
        topics
    }

    /// Writes the balances anew, as if every account had begun from `before` with the posting
    /// `from` of the topic.
    fn rebook(&mut self, from: usize, before: Account) {
        let mut accounts = BTreeMap::<String, Account>::new();
        self.balances = self.postings[from..]
            .iter()
            .map(|(partition, account, value)| {
                let state = accounts.entry(account.clone()).or_insert(before);
                let posting = serde_json::from_str(value).unwrap();
                *state = state.after(&posting, value.as_bytes());
                (*partition, account.clone(), written(state))
            })
            .collect();
    }

    fn check(&self) -> Findings {
        let mut checker = Checker::new(PARTITIONS, PARTITIONS);
        for (partition, offset, value) in &self.transfers {
            checker.transfer(*partition, *offset, value);
        }
        for (partition, key, value) in &self.postings {
            checker.posting(*partition, Some(key.as_bytes()), Some(value.as_bytes()));
        }
        for (partition, key, value) in &self.balances {
            checker.balance(*partition, Some(key.as_bytes()), Some(value.as_bytes()));
        }
        checker.finish(0).0
    }

    /// Places in `balances` of the records of the account at `place`, from there on.
    fn of_same_account(&self, place: usize) -> Vec<usize> {
        let account = &self.balances[place].1;
        (place..self.balances.len()).filter(|i| self.balances[*i].1 == *account).collect()
    }
}

fn written(account: &Account) -> String {
    let chain: String = account.chain.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"n":{},"balance":{},"chain":"{chain}"}}"#, account.n, account.balance)
}

fn count(change: impl FnOnce(&mut Findings)) -> Findings {
    let mut findings =
        Findings { inputs: 1_000, postings: 2_000, outputs: 2_000, ..Findings::default() };
    change(&mut findings);
    findings
}

#[test]
fn topics_of_a_faultless_run_pass() {
    let findings = Topics::faultless(1_000, 40).check();
    assert_eq!(findings, count(|_| ()));
    assert!(findings.is_clean());
}

#[test]
fn empty_topics_do_not_pass() {
    assert!(!Topics::default().check().is_clean());
}

#[test]
fn a_run_that_ended_too_early_does_not_pass() {
    let mut topics = Topics::faultless(1_000, 40);
    topics.postings.clear();
    topics.balances.clear();
    let findings = topics.check();
    assert_eq!(findings.lost, 2_000);
    assert!(!findings.is_clean());
}

#[test]
fn one_deleted_output_is_lost() {
    let mut topics = Topics::faultless(1_000, 40);
    topics.balances.remove(700);
    let findings = topics.check();
    assert_eq!(findings, count(|f| (f.outputs, f.lost) = (1_999, 1)));
    assert!(!findings.is_clean());
}

#[test]
fn one_doubled_output_is_duplicated() {
    let mut topics = Topics::faultless(1_000, 40);
    let record = topics.balances[700].clone();
    topics.balances.insert(720, record);
    let findings = topics.check();
    assert_eq!(findings, count(|f| (f.outputs, f.duplicated) = (2_001, 1)));
    assert!(!findings.is_clean());
}

#[test]
fn two_swapped_outputs_of_an_account_are_reordered() {
    let mut topics = Topics::faultless(1_000, 40);
    let places = topics.of_same_account(700);
    topics.balances.swap(places[0], places[1]);
    let findings = topics.check();
    assert_eq!(findings, count(|f| f.reordered = 1));
    assert!(!findings.is_clean());
}

#[test]
fn an_output_with_another_balance_or_chain_is_wrong() {
    let alter: [fn(&mut Account); 3] = [|a| a.balance += 1, |a| a.chain[31] ^= 1, |a| a.n += 1];
    for alter in alter {
        let mut topics = Topics::faultless(1_000, 40);
        let mut account = Account::parse(topics.balances[700].2.as_bytes()).unwrap();
        alter(&mut account);
        topics.balances[700].2 = written(&account);
        assert_eq!(topics.check(), count(|f| f.wrong = 1));
    }
    let mut topics = Topics::faultless(1_000, 40);
    topics.balances[700].2 = "{".to_owned();
    assert_eq!(topics.check(), count(|f| (f.wrong, f.lost) = (1, 1)));
}

#[test]
fn an_output_that_continues_an_older_state_is_stale() {
    let mut topics = Topics::faultless(1_000, 40);
    let places = topics.of_same_account(700);
    // The third posting is booked on the state that the first one left.
    let older = Account::parse(topics.balances[places[0]].2.as_bytes()).unwrap();
    let bytes = topics.postings[places[2]].2.clone();
    let posting = serde_json::from_str(&bytes).unwrap();
    topics.balances[places[2]].2 = written(&older.after(&posting, bytes.as_bytes()));
    assert_eq!(topics.check(), count(|f| f.stale_state = 1));
}

#[test]
fn state_that_was_lost_altogether_is_stale() {
    let mut topics = Topics::faultless(1_000, 40);
    let before = topics.balances.clone();
    topics.rebook(1_000, Account::default());
    let forgotten = std::mem::take(&mut topics.balances);
    topics.balances = before[..1_000].iter().cloned().chain(forgotten).collect();
    let findings = topics.check();
    assert!(findings.stale_state > 0, "{findings:?}");
    assert_eq!(findings.lost, 0, "{findings:?}");
    assert!(!findings.is_clean());
}

#[test]
fn a_missing_a_doubled_and_a_foreign_posting_are_found_though_the_outputs_follow_them() {
    let mut lost = Topics::faultless(1_000, 40);
    lost.postings.remove(700);
    lost.rebook(0, Account::default());
    assert_eq!(lost.check(), count(|f| (f.postings, f.outputs, f.lost) = (1_999, 1_999, 1)));

    let mut doubled = Topics::faultless(1_000, 40);
    let record = doubled.postings[700].clone();
    doubled.postings.insert(700, record);
    doubled.rebook(0, Account::default());
    let expected = count(|f| (f.postings, f.outputs, f.duplicated) = (2_001, 2_001, 1));
    assert_eq!(doubled.check(), expected);

    let mut foreign = Topics::faultless(1_000, 40);
    foreign.postings[700].2 = foreign.postings[700].2.replace("\"amount\":", "\"amount\":9");
    foreign.rebook(0, Account::default());
    let findings = foreign.check();
    assert_eq!((findings.wrong, findings.lost), (1, 1), "{findings:?}");
}

#[test]
fn postings_of_an_account_against_the_order_of_their_transfers_are_reordered() {
    let mut topics = Topics::faultless(1_000, 40);
    let source = |topics: &Topics, place: usize| {
        let posting: Posting = serde_json::from_str(&topics.postings[place].2).unwrap();
        topics.transfers[usize::try_from(posting.transfer).unwrap()].0
    };
    let places = topics.of_same_account(700);
    let first = places[0];
    let second =
        places[1..].iter().find(|i| source(&topics, **i) == source(&topics, first)).copied();
    topics.postings.swap(first, second.unwrap());
    topics.rebook(0, Account::default());
    let findings = topics.check();
    assert!(findings.reordered > 0 && findings.violations() == findings.reordered, "{findings:?}");
}

#[test]
fn records_in_the_wrong_partition_are_wrong() {
    let mut topics = Topics::faultless(1_000, 40);
    topics.balances[700].0 = (topics.balances[700].0 + 1) % PARTITIONS;
    let findings = topics.check();
    assert_eq!((findings.wrong, findings.lost), (1, 1), "{findings:?}");
}

#[test]
fn a_hanging_transaction_does_not_pass() {
    let mut checker = Checker::new(PARTITIONS, PARTITIONS);
    checker.transfer(0, 0, br#"{"id":0,"from":"a","to":"b","amount":1}"#);
    assert_eq!(checker.finish(1).0.hanging_txn, 1);
    assert!(!count(|f| f.hanging_txn = 1).is_clean());
}

#[test]
fn control_records_are_no_postings() {
    let mut checker = Checker::new(PARTITIONS, PARTITIONS);
    checker.posting(0, None, None);
    assert_eq!(checker.finish(0).0.postings, 0);
}
