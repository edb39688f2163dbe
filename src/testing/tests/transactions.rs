//! Transactions of one thread, and answers that get lost.

use std::time::Duration;

use super::{super::*, script::*};
use crate::{
    record::{Header, Offset, Timestamp},
    runtime::{Isolation, Lane, TransactionFailure, TransactionState},
};

// === Transactions ===

#[test]
fn a_committed_record_becomes_visible_with_key_value_headers_and_writer() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    assert_eq!((committed(&cluster).len(), bounds(&cluster, 0)), (0, (0, 1)));
    assert_eq!(values(&cluster, Isolation::ReadUncommitted, 0), ["x"]);
    thread.commit(Lane::A).expect("commit");
    cluster.advance(MS);
    let records = &cluster.committed_records("out")[0];
    assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(records[0].headers, [Header { name: "h".into(), value: Some(vec![7]) }]);
    assert_eq!(records[0].timestamp, cluster.now().wall.min(records[0].timestamp));
    assert_eq!(records[0].transactional_id.as_deref(), Some("app.one.0.a"));
    assert_eq!(bounds(&cluster, 0), (2, 2), "the marker takes an offset");
    assert_eq!(cluster.violations(), Vec::<String>::new());
}

#[test]
fn an_aborted_record_stays_hidden_and_the_lane_goes_on() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    thread.abort(Lane::A).expect("abort");
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "y");
    let delivery = thread.flush(Lane::A).expect("flush");
    assert_eq!(delivery.last_offsets, [(at("out", 0), Offset(2))]);
    thread.commit(Lane::A).expect("commit");
    cluster.advance(MS);
    assert_eq!(committed(&cluster), ["y"]);
    assert_eq!(values(&cluster, Isolation::ReadUncommitted, 0), ["x", "y"]);
}

#[test]
fn an_abort_purges_what_was_never_sent() {
    let mut settings = SimSettings::quiet();
    settings.linger = Delay::between(50 * MS, 50 * MS);
    let cluster = cluster_with(settings);
    let mut thread = Thread::new(&cluster, "one");
    thread.open(Lane::A).expect("open");
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "x");
    thread.abort(Lane::A).expect("abort");
    cluster.advance(100 * MS);
    assert_eq!(bounds(&cluster, 0), (0, 0));
}

#[test]
fn lane_b_behind_lane_a_does_not_delay_it_but_lane_b_in_front_does() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "a0");
    thread.started(Lane::B, 0, "b0");
    assert_eq!(bounds(&cluster, 0), (0, 2));
    thread.commit(Lane::A).expect("commit");
    cluster.advance(MS);
    assert_eq!(committed(&cluster), ["a0"], "B is open behind A");
    assert_eq!(bounds(&cluster, 0).0, 1, "the last stable offset is B's first record");
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "a1");
    thread.flush(Lane::A).expect("flush");
    thread.commit(Lane::A).expect("commit");
    cluster.advance(MS);
    assert_eq!(committed(&cluster), ["a0"], "B is open in front of A's second record");
    thread.commit(Lane::B).expect("commit");
    cluster.advance(MS);
    assert_eq!(committed(&cluster), ["a0", "b0", "a1"]);
}

#[test]
fn markers_land_later_than_the_answer_and_in_any_order() {
    let mut settings = SimSettings::quiet();
    settings.marker_delay = Delay::up_to(500 * MS);
    let orders: std::collections::BTreeSet<bool> = (0..20)
        .map(|seed| {
            let cluster = SimCluster::new(seed, settings.clone());
            cluster.add_topic(&spec("out", 2));
            let mut thread = Thread::new(&cluster, "one");
            thread.started(Lane::A, 0, "x");
            thread.send(Lane::A, 1, "y");
            thread.flush(Lane::A).expect("flush");
            thread.commit(Lane::A).expect("commit");
            assert_eq!(bounds(&cluster, 0), (0, 1), "answered at PrepareCommit");
            assert_eq!(cluster.open_transactions()[0].state, TransactionState::PrepareCommit);
            loop {
                let done = [0, 1].map(|p| bounds(&cluster, p) == (2, 2));
                if done[0] != done[1] {
                    break done[0];
                }
                assert_eq!(done, [false, false], "seed {seed}: both at once");
                cluster.advance_to(cluster.next_wakeup().expect("markers"));
            }
        })
        .collect();
    assert_eq!(orders.len(), 2, "either partition comes first in some run");
}

#[test]
fn the_next_transaction_of_a_lane_waits_for_the_markers_of_the_last() {
    let mut settings = SimSettings::quiet();
    settings.marker_delay = Delay::between(300 * MS, 300 * MS);
    let cluster = cluster_with(settings);
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    thread.commit(Lane::A).expect("commit");
    let committed_at = cluster.now().mono;
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "y");
    thread.flush(Lane::A).expect("flush");
    assert!(cluster.now().mono >= committed_at + 300 * MS, "CONCURRENT_TRANSACTIONS until then");
    thread.abort(Lane::A).expect("abort");
    cluster.advance(Duration::from_secs(1));
    assert_eq!(committed(&cluster), ["x"], "y is no part of the first transaction");
}

#[test]
fn opening_the_same_id_aborts_the_open_transaction_and_fences_its_owner() {
    let cluster = quiet();
    let mut old = Thread::new(&cluster, "one");
    old.started(Lane::A, 0, "x");
    let mut new = Thread::new(&cluster, "one");
    new.open(Lane::A).expect("open");
    assert_eq!(bounds(&cluster, 0), (2, 2), "opened means: decided and visible");
    assert_eq!(committed(&cluster), Vec::<String>::new());
    assert!(matches!(old.commit(Lane::A), Err(TransactionFailure::Fenced(_))));
    assert!(matches!(old.abort(Lane::A), Err(TransactionFailure::Fenced(_))), "dead for good");
    old.open(Lane::A).expect("a new producer");
    old.begin(Lane::A);
    old.send(Lane::A, 0, "y");
    assert!(old.flush(Lane::A).is_ok());
    new.begin(Lane::A);
    new.send(Lane::A, 0, "z");
    assert!(matches!(new.flush(Lane::A), Err(TransactionFailure::Fenced(_))));
}

#[test]
fn a_transaction_that_is_open_too_long_is_aborted_and_its_owner_fenced() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    cluster.advance(Duration::from_secs(9));
    assert_eq!(bounds(&cluster, 0), (0, 1));
    cluster.advance(Duration::from_secs(2));
    assert_eq!((bounds(&cluster, 0), committed(&cluster).len()), ((2, 2), 0));
    assert_eq!(cluster.fault_counts().get(&FaultKind::TransactionTimeout), Some(&1));
    assert!(matches!(thread.commit(Lane::A), Err(TransactionFailure::Fenced(_))));
}

#[test]
fn a_time_out_of_a_finished_transaction_does_not_hit_the_next() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    thread.commit(Lane::A).expect("commit");
    cluster.advance(Duration::from_secs(6));
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "y");
    thread.flush(Lane::A).expect("flush");
    cluster.advance(Duration::from_secs(6));
    thread.commit(Lane::A).expect("six seconds old only");
}

#[test]
fn a_refused_record_names_the_culprit_and_makes_the_transaction_abortable() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.open(Lane::A).expect("open");
    thread.begin(Lane::A);
    let far = Timestamp(cluster.now().wall.0 + 2 * 3_600_000);
    thread.send(Lane::A, 0, "innocent");
    thread.send_at(Lane::A, 0, "future", Some(far));
    let delivery = thread.flush(Lane::A).expect("refusals come under Ok");
    let refused: Vec<_> =
        delivery.refused.iter().map(|r| (r.tag, r.caused_by_record, r.reason.as_str())).collect();
    assert!(refused.contains(&(42, true, "INVALID_TIMESTAMP")), "{refused:?}");
    assert!(thread.commit(Lane::A).is_err_and(|failure| failure.is_abortable()));
    thread.abort(Lane::A).expect("abort");
    thread.begin(Lane::A);
    thread.send(Lane::A, 0, "next");
    thread.commit(Lane::A).expect("the producer goes on");
    cluster.advance(MS);
    assert_eq!(committed(&cluster), ["next"]);
}

#[test]
fn misuse_of_the_seam_is_reported() {
    let cluster = quiet();
    let mut thread = Thread::new(&cluster, "one");
    thread.open(Lane::A).expect("open");
    thread.send(Lane::A, 0, "outside");
    assert_eq!(cluster.violations(), ["app.one.0.a: a record outside a transaction"]);
    assert!(matches!(thread.commit(Lane::A), Err(TransactionFailure::Unknown(_))));
}

// === Lost answers ===

#[test]
fn a_lost_answer_to_a_commit_is_unknown_whatever_the_broker_did() {
    for (fate, visible) in [(Fate::NotApplied, false), (Fate::Applied, true), (Fate::Late, false)] {
        let cluster = quiet();
        let mut thread = Thread::new(&cluster, "one");
        thread.started(Lane::A, 0, "x");
        cluster.lose_answer("one", Lane::A, LaneRequest::Commit, fate);
        let start = cluster.now().mono;
        assert!(matches!(thread.commit(Lane::A), Err(TransactionFailure::Unknown(_))), "{fate:?}");
        assert_eq!(since(&cluster, start), Duration::from_secs(10));
        let counted = FaultKind::LostAnswer(LaneRequest::Commit, fate);
        assert_eq!(cluster.fault_counts().get(&counted), Some(&1));
        assert_eq!(cluster.pending_faults(), 0);
        assert!(matches!(thread.abort(Lane::A), Err(TransactionFailure::Unknown(_))));
        thread.open(Lane::A).expect("open resolves it");
        cluster.advance(Duration::from_mins(1));
        assert_eq!(committed(&cluster) == ["x"], visible, "{fate:?}");
    }
}

#[test]
fn a_late_commit_takes_effect_where_nobody_fenced_it_before() {
    let mut settings = SimSettings::quiet();
    settings.request_timeout = Duration::from_secs(4);
    let cluster = cluster_with(settings);
    let mut thread = Thread::new(&cluster, "one");
    thread.started(Lane::A, 0, "x");
    cluster.lose_answer("one", Lane::A, LaneRequest::Commit, Fate::Late);
    assert!(thread.commit(Lane::A).is_err());
    cluster.advance(Duration::from_secs(2));
    assert_eq!(committed(&cluster), ["x"]);
}

#[test]
fn lost_answers_to_every_other_request_are_unknown_too() {
    for fate in Fate::ALL {
        let cluster = quiet();
        let mut thread = Thread::new(&cluster, "one");
        thread.joined();
        cluster.lose_answer("one", Lane::A, LaneRequest::Open, fate);
        assert!(matches!(thread.open(Lane::A), Err(TransactionFailure::Unknown(_))));
        cluster.advance(Duration::from_secs(5));
        thread.open(Lane::A).expect("open again");
        thread.begin(Lane::A);
        thread.send(Lane::A, 0, "x");
        cluster.lose_answer("one", Lane::A, LaneRequest::Flush, fate);
        let flushed = thread.flush(Lane::A);
        // With no linger the record left before the flush, which then has nothing to lose.
        if cluster.pending_faults() == 0 {
            assert!(matches!(flushed, Err(TransactionFailure::Unknown(_))), "{flushed:?}");
            thread.open(Lane::A).expect("open again");
            thread.begin(Lane::A);
        }
        cluster.lose_answer("one", Lane::A, LaneRequest::SendOffsets, fate);
        assert!(matches!(thread.offsets(Lane::A, 3), Err(TransactionFailure::Unknown(_))));
        thread.open(Lane::A).expect("open again");
        thread.begin(Lane::A);
        thread.offsets(Lane::A, 4).expect("offsets");
        cluster.lose_answer("one", Lane::A, LaneRequest::Abort, fate);
        assert!(matches!(thread.abort(Lane::A), Err(TransactionFailure::Unknown(_))));
        thread.open(Lane::A).expect("open again");
        cluster.advance(Duration::from_secs(5));
        assert_eq!(thread.stable_offset(), Ok(None), "{fate:?}");
    }
}

#[test]
fn a_lost_flush_leaves_records_at_the_broker_or_not() {
    for (fate, stored) in [(Fate::NotApplied, 0), (Fate::Applied, 1), (Fate::Late, 0)] {
        let mut settings = SimSettings::quiet();
        settings.linger = Delay::between(50 * MS, 50 * MS);
        settings.request_timeout = Duration::from_secs(4);
        let cluster = cluster_with(settings);
        let mut thread = Thread::new(&cluster, "one");
        thread.open(Lane::A).expect("open");
        thread.begin(Lane::A);
        thread.send(Lane::A, 0, "x");
        cluster.lose_answer("one", Lane::A, LaneRequest::Flush, fate);
        assert!(matches!(thread.flush(Lane::A), Err(TransactionFailure::Unknown(_))));
        assert_eq!(bounds(&cluster, 0).1, stored, "{fate:?}");
    }
}
