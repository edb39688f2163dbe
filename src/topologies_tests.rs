//! The shipped topologies: what they compute, their bytes, how they are described.

use sha2::{Digest, Sha256};

use crate::{dsl::test_driver::ChainDriver, topology::describe};

use super::*;

#[test]
fn shipped_topologies_build_and_are_found_by_name() {
    for (name, make) in ALL {
        assert_eq!(make().unwrap().name, name);
        assert!(by_name(name).is_some());
    }
    assert!(names().is_sorted());
    assert!(by_name("nonsense").is_none());
}

/// Runs both subtopologies of a topology one after the other, as one task each.
fn run(topology: &Topology, records: &[&str]) -> Vec<String> {
    let [first, second] = &topology.subtopologies[..] else { panic!("two parts") };
    let mut upper = ChainDriver::new(topology, &first.name);
    let mut lower = ChainDriver::new(topology, &second.name);
    for (time, record) in (0..).zip(records) {
        upper.record(0, None, Some(record.as_bytes()), time, &[]).unwrap();
        for sent in upper.take() {
            lower
                .record(0, sent.key.as_deref(), sent.value.as_deref(), sent.timestamp, &[])
                .unwrap();
        }
    }
    upper.seal().unwrap();
    lower.seal().unwrap();
    lower.commit();
    lower.take_text()
}

#[test]
fn word_count_counts_the_words_of_a_text() {
    let topology = word_count::topology().unwrap();
    let updates = run(&topology, &["The tide, the mill.", "", "42 THE Über-mill's"]);
    let expect =
        ["the=1@0", "tide=1@0", "the=2@0", "mill=1@0", "the=3@2", "über=1@2", "mill=2@2", "s=1@2"];
    assert_eq!(updates, expect);
}

#[test]
fn ledger_books_both_sides_of_each_transfer_into_a_hash_chain() {
    let topology = ledger::topology().unwrap();
    let transfers = [
        r#"{"id":17,"from":"ann","to":"bob","amount":250}"#,
        r#"{"id":18,"from":"bob","to":"bob","amount":5}"#,
    ];
    let hash = |previous: &[u8], posting: &str| -> [u8; 32] {
        Sha256::digest([previous, posting.as_bytes()].concat()).into()
    };
    let hex = |bytes: &[u8]| -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    let ann = hash(&[0; 32], r#"{"transfer":17,"side":"debit","amount":250}"#);
    let bob1 = hash(&[0; 32], r#"{"transfer":17,"side":"credit","amount":250}"#);
    let bob2 = hash(&bob1, r#"{"transfer":18,"side":"debit","amount":5}"#);
    let bob3 = hash(&bob2, r#"{"transfer":18,"side":"credit","amount":5}"#);
    let line = |account, n, balance, chain: &[u8], time| {
        format!(r#"{account}={{"n":{n},"balance":{balance},"chain":"{}"}}@{time}"#, hex(chain))
    };
    assert_eq!(
        run(&topology, &transfers),
        [
            line("ann", 1, -250, &ann, 0),
            line("bob", 1, 250, &bob1, 0),
            line("bob", 2, 245, &bob2, 1),
            line("bob", 3, 250, &bob3, 1),
        ]
    );
}

#[test]
fn a_posting_has_the_documented_bytes_in_the_repartition_topic() {
    let topology = ledger::topology().unwrap();
    let mut upper = ChainDriver::new(&topology, "postings");
    let transfer = br#"{"amount":-3,"to":"b","from":"a","id":1}"#;
    upper.record(0, Some(b"any"), Some(transfer), 9, &[]).unwrap();
    assert_eq!(
        upper.take_text(),
        [
            r#"a={"transfer":1,"side":"debit","amount":-3}@9"#,
            r#"b={"transfer":1,"side":"credit","amount":-3}@9"#,
        ]
    );
}

#[test]
fn a_posting_that_would_overflow_the_balance_stops_the_ledger() {
    let topology = ledger::topology().unwrap();
    let mut lower = ChainDriver::new(&topology, "accounts");
    let posting = format!(r#"{{"transfer":7,"side":"credit","amount":{}}}"#, i64::MAX);
    lower.text("a", &posting).unwrap();
    let error = lower.text("a", &posting).unwrap_err().to_string();
    assert!(error.contains("operator accounts: transfer 7"), "{error}");
    let error = lower.text("a", r#"{"transfer":7}"#).unwrap_err().to_string();
    assert!(error.contains("operator postings: cannot decode the value"), "{error}");
}

#[test]
fn describe_shows_word_count() {
    let topology = word_count::topology().unwrap();
    insta::assert_snapshot!("word-count.txt", describe(&topology, "word-count", None).text());
    insta::assert_snapshot!("word-count.dot", describe(&topology, "word-count", None).graphviz());
}

#[test]
fn describe_shows_ledger_with_partitions() {
    let topology = ledger::topology().unwrap();
    let counts = [("transfers".to_owned(), 8), ("balances".to_owned(), 4)].into();
    let plan = crate::topology::plan_topics(&topology, "bank", &counts, 1).unwrap();
    let described = describe(&topology, "bank", Some(&plan));
    insta::assert_snapshot!("ledger.txt", described.text());
    insta::assert_snapshot!("ledger.json", described.json());
}
