//! What is done about a failure: one decision for every kind of failure in every step, in one place.
//!
//! Pure and total. The adapters say *what happened* ([`TransactionFailure`], [`ReadFailure`],
//! [`FatalCause`]); nobody but [`recover`] says what follows. The table, by the call that failed:
//!
//! | what happened | open | flush, send offsets | commit | abort |
//! |---|---|---|---|---|
//! | the client says "again" (coordinator moves or loads, CONCURRENT_TRANSACTIONS) | retry | retry | retry | retry |
//! | the client says "abort" (any abortable error) | retry | abort | resolve | replace |
//! | ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID; no membership at all | retry | abort | resolve | replace |
//! | a record was refused (ERR-1: it keeps its verdict) | retry | abort | resolve | replace |
//! | INVALID_PRODUCER_ID_MAPPING, UNKNOWN_PRODUCER_ID: the id has expired | retry | replace | resolve | replace |
//! | OUT_OF_ORDER_SEQUENCE_NUMBER | retry | replace | resolve | replace |
//! | PRODUCER_FENCED, INVALID_PRODUCER_EPOCH: taken, or the transaction timed out | retry | replace | resolve | replace |
//! | the call's time is over: producer and thread abandoned (facts 2.2) | retry | replace | resolve | replace |
//! | time-out, disconnect, "succeeded but failed locally", anything else | retry | replace | resolve | replace |
//! | the broker refuses this client (authorization) | stop process | stop process | resolve | stop process |
//!
//! A commit has only one row: whatever its error says, also one that says "fenced" or "abort", the
//! broker may have committed (EOS-4). Only its retriable error is tried again first, within the
//! call's time: EndTxn may be sent again on the same producer, while no other transaction is.
//!
//! Beside calls: partitions lost give up their tasks (EOS-7); a record, an operator or a position
//! that is gone stops the process at that record (ERR-1); a transaction that is complete without
//! its marker (facts 9.6) stops the task alone; a fenced instance id makes the thread look who has
//! it and join anew; a live twin or a dead client stops the process.

use crate::runtime::{FatalCause, ReadFailure, TransactionFailure, restore::RestoreError};

/// A call on a transactional producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Making a producer on the lane's transactional id, with `init_transactions`.
    Open,
    /// Waiting for acknowledgements.
    Flush,
    /// Adding offsets to the transaction.
    SendOffsets,
    /// Committing.
    Commit,
    /// Aborting.
    Abort,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Flush, Self::SendOffsets, Self::Commit, Self::Abort];
}

/// What failed.
#[derive(Debug)]
pub enum Failed<'a> {
    /// A call on a producer.
    Call(Call, &'a TransactionFailure),
    /// The group took partitions away without asking (EOS-7).
    PartitionsLost,
    /// A record, an operator, or state, under the policy `fail`.
    Processing,
    /// A partition cannot be read.
    Read(&'a ReadFailure),
    /// The stable committed offsets are not to be had now (KIP-447's barrier, or no answer).
    OffsetsUnavailable,
    /// A restore.
    Restore(&'a RestoreError),
    /// A transaction is complete, yet its marker never came (facts 9.6).
    MarkerMissing,
    /// The connection.
    Connection(&'a FatalCause),
    /// Another live process has this thread's instance id.
    Twin,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The same call again, after a pause and within its time; [`Failed::Call`] with
    /// [`TransactionFailure::Abandoned`] is what comes when that is over.
    RetryCall,
    /// Abort at the broker, drop the epochs in flight, rewind; the producer goes on.
    Abort,
    /// Replace the producer on its transactional id, which ends its transaction (aborted for sure:
    /// no commit was sent); drop the epochs, rewind.
    Replace,
    /// Replace the producer, ask the stable committed offsets, then apply or drop (EOS-4).
    Resolve,
    /// Start no commit any more, abort what is open, give the tasks up (EOS-7).
    GiveUpTasks,
    /// Give the tasks up, look who holds the instance id, and join anew with a fresh client;
    /// [`Failed::Twin`] is what comes where another live process holds it.
    RenewMembership,
    /// Stop this task, with its reason; it writes nothing more. The others go on.
    StopTask,
    /// Stop the process, with the reason: going on could only make it worse.
    StopProcess,
}

/// The one decision.
pub fn recover(failed: &Failed<'_>) -> Recovery {
    match failed {
        Failed::Call(call, failure) => of_call(*call, failure),
        Failed::PartitionsLost => Recovery::GiveUpTasks,
        Failed::MarkerMissing => Recovery::StopTask,
        Failed::Connection(FatalCause::FencedInstanceId(_)) => Recovery::RenewMembership,
        // After a mismatch, too: the offsets may have been read before the last commit of the
        // previous owner. Asked again a few times, by whoever keeps the count.
        Failed::OffsetsUnavailable
        | Failed::Read(ReadFailure::Other(_))
        | Failed::Restore(RestoreError::EpochMismatch { .. }) => Recovery::RetryCall,
        Failed::Restore(RestoreError::State(_) | RestoreError::Unreadable { .. })
        | Failed::Processing
        | Failed::Twin
        | Failed::Read(ReadFailure::OutOfRange | ReadFailure::UnknownPartition)
        | Failed::Connection(FatalCause::Unauthorized(_) | FatalCause::Other(_)) => {
            Recovery::StopProcess
        }
    }
}

fn of_call(call: Call, failure: &TransactionFailure) -> Recovery {
    use TransactionFailure as F;
    match (call, failure) {
        (_, F::Retriable(_)) => Recovery::RetryCall,
        // Before all else: no error of a commit says that it was not committed.
        (Call::Commit, _) => Recovery::Resolve,
        (_, F::Unauthorized(_)) => Recovery::StopProcess,
        (Call::Open, _) => Recovery::RetryCall,
        (
            Call::Flush | Call::SendOffsets,
            F::Abortable(_) | F::Membership(_) | F::RecordRefused(_),
        ) => Recovery::Abort,
        // An abort that failed, for whatever reason, is finished by the next producer.
        (Call::Abort, F::Abortable(_) | F::Membership(_) | F::RecordRefused(_))
        | (
            Call::Flush | Call::SendOffsets | Call::Abort,
            F::ProducerIdLost(_)
            | F::OutOfOrder(_)
            | F::Fenced(_)
            | F::Abandoned(_)
            | F::Unknown(_),
        ) => Recovery::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Make = fn(String) -> TransactionFailure;

    fn after(make: Make) -> [Recovery; 5] {
        Call::ALL.map(|call| recover(&Failed::Call(call, &make("words".to_owned()))))
    }

    #[test]
    fn every_failure_of_a_call_has_its_row() {
        use Recovery::{Abort, Replace, Resolve, RetryCall as Retry, StopProcess as Stop};
        use TransactionFailure as F;
        let abort = [Retry, Abort, Abort, Resolve, Replace];
        let replace = [Retry, Replace, Replace, Resolve, Replace];
        let table: [(Make, [Recovery; 5]); 10] = [
            // open, flush, send offsets, commit, abort
            (F::Retriable, [Retry; 5]),
            (F::Abortable, abort),
            (F::Membership, abort),
            (F::RecordRefused, abort),
            (F::ProducerIdLost, replace),
            (F::OutOfOrder, replace),
            (F::Fenced, replace),
            (F::Abandoned, replace),
            (F::Unknown, replace),
            (F::Unauthorized, [Stop, Stop, Stop, Resolve, Stop]),
        ];
        for (make, row) in table {
            assert_eq!(after(make), row, "{}", make("words".to_owned()));
        }
    }

    #[test]
    fn no_error_of_a_commit_is_ever_taken_for_an_outcome() {
        use TransactionFailure as F;
        let kinds: [Make; 9] = [
            F::Abortable,
            F::Membership,
            F::RecordRefused,
            F::ProducerIdLost,
            F::OutOfOrder,
            F::Fenced,
            F::Abandoned,
            F::Unknown,
            F::Unauthorized,
        ];
        for make in kinds {
            let failure = make("words".to_owned());
            let recovery = recover(&Failed::Call(Call::Commit, &failure));
            assert_eq!(recovery, Recovery::Resolve, "EOS-4: {failure}");
        }
    }

    #[test]
    fn what_fails_beside_calls_has_its_row_too() {
        let words = || "words".to_owned();
        let mismatch = RestoreError::EpochMismatch {
            task: words(),
            changelog: words(),
            expected: words(),
            found: words(),
        };
        let unreadable =
            RestoreError::Unreadable { task: words(), changelog: words(), reason: words() };
        let table = [
            (Failed::PartitionsLost, Recovery::GiveUpTasks),
            (Failed::MarkerMissing, Recovery::StopTask),
            (Failed::OffsetsUnavailable, Recovery::RetryCall),
            (Failed::Processing, Recovery::StopProcess),
            (Failed::Read(&ReadFailure::OutOfRange), Recovery::StopProcess),
            (Failed::Read(&ReadFailure::UnknownPartition), Recovery::StopProcess),
            (Failed::Restore(&mismatch), Recovery::RetryCall),
            (Failed::Restore(&unreadable), Recovery::StopProcess),
        ];
        for (failed, expected) in table {
            assert_eq!(recover(&failed), expected, "{failed:?}");
        }
        let other = ReadFailure::Other(words());
        assert_eq!(recover(&Failed::Read(&other)), Recovery::RetryCall);
        for cause in [FatalCause::Unauthorized(words()), FatalCause::Other(words())] {
            assert_eq!(recover(&Failed::Connection(&cause)), Recovery::StopProcess, "{cause:?}");
        }
        let fenced = FatalCause::FencedInstanceId(words());
        assert_eq!(recover(&Failed::Connection(&fenced)), Recovery::RenewMembership);
        assert_eq!(recover(&Failed::Twin), Recovery::StopProcess);
    }
}
