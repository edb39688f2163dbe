//! What a client's error means: pure tables, by facts 2.2. They name what happened; the decision is
//! `runtime::epoch::recovery`'s.

use super::native::{Error, code, code_name};
use crate::runtime::{FatalCause, ReadFailure, TransactionFailure};

/// What happened to a transaction call; what is done about it is `runtime::epoch::recovery`'s.
pub(super) fn of_transaction(error: &Error) -> TransactionFailure {
    use TransactionFailure as F;
    let reason = error.to_string();
    match error.code {
        // "Again" outranks the code: the client has taken it as passing.
        _ if error.retriable && !error.fatal && !error.requires_abort => F::Retriable(reason),
        code::FENCED | code::PRODUCER_FENCED | code::INVALID_PRODUCER_EPOCH => F::Fenced(reason),
        code::UNKNOWN_PRODUCER_ID | code::INVALID_PRODUCER_ID_MAPPING => F::ProducerIdLost(reason),
        code::OUT_OF_ORDER_SEQUENCE | code::GAPLESS_GUARANTEE => F::OutOfOrder(reason),
        code::TOPIC_AUTHORIZATION_FAILED
        | code::GROUP_AUTHORIZATION_FAILED
        | code::CLUSTER_AUTHORIZATION_FAILED
        | code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | code::AUTHENTICATION => F::Unauthorized(reason),
        // An error of both kinds is dead: aborting is no use.
        _ if error.fatal || !error.requires_abort => F::Unknown(reason),
        code::ILLEGAL_GENERATION | code::UNKNOWN_MEMBER_ID | code::FENCED_INSTANCE_ID => {
            F::Membership(reason)
        }
        code if caused_by_record(code) => F::RecordRefused(reason),
        _ => F::Abortable(reason),
    }
}

/// Whether a record that the broker did not take is itself the cause.
pub(super) fn caused_by_record(error: i32) -> bool {
    matches!(
        error,
        code::INVALID_MSG
            | code::INVALID_MSG_SIZE
            | code::MSG_SIZE_TOO_LARGE
            | code::RECORD_LIST_TOO_LARGE
            | code::INVALID_TIMESTAMP
            | code::INVALID_RECORD
    )
}

/// Why a partition cannot be read.
pub(super) fn of_read(error: i32, reason: &str) -> ReadFailure {
    match error {
        code::OFFSET_OUT_OF_RANGE | code::AUTO_OFFSET_RESET => ReadFailure::OutOfRange,
        code::UNKNOWN_TOPIC_OR_PART
        | code::UNKNOWN_PARTITION
        | code::UNKNOWN_TOPIC
        | code::UNKNOWN_TOPIC_ID => ReadFailure::UnknownPartition,
        other => ReadFailure::Other(format!("{}: {reason}", code_name(other))),
    }
}

/// Whether an error makes a consumer useless, and why.
pub(super) fn of_consumer(error: i32, reason: &str, fatal: bool) -> Option<FatalCause> {
    let words = format!("{}: {reason}", code_name(error));
    match error {
        code::FENCED_INSTANCE_ID => Some(FatalCause::FencedInstanceId(words)),
        code::TOPIC_AUTHORIZATION_FAILED
        | code::GROUP_AUTHORIZATION_FAILED
        | code::CLUSTER_AUTHORIZATION_FAILED
        | code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | code::AUTHENTICATION => Some(FatalCause::Unauthorized(words)),
        _ if fatal => Some(FatalCause::Other(words)),
        _ => None,
    }
}

/// Why a question to the cluster has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    /// The brokers say no.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked about.
        what: String,
        /// The protocol's code.
        code: i32,
        /// Its name and its meaning.
        reason: String,
    },
    /// No broker answers, or not in time.
    #[error("{0}")]
    NoAnswer(String),
    /// No broker takes this client: its credentials or its TLS settings are wrong.
    #[error("{0}")]
    Credentials(String),
}

/// Why a question about `what` failed.
pub(super) fn of_question(what: &str, error: &Error) -> AskError {
    match error.code {
        _ if is_credentials(error.code) => AskError::Credentials(error.to_string()),
        code::NO_LEADERS => AskError::Refused {
            what: what.to_owned(),
            code: code::UNKNOWN_TOPIC_OR_PART,
            reason: error.to_string(),
        },
        // librdkafka's own codes are negative: whatever it was, no broker said no.
        ..0 => AskError::NoAnswer(error.to_string()),
        other => {
            let reason = error.to_string();
            AskError::Refused { what: what.to_owned(), code: other, reason }
        }
    }
}

/// Whether trying again with the same settings is useless.
pub(super) fn is_credentials(error: i32) -> bool {
    matches!(
        error,
        code::AUTHENTICATION
            | code::SSL
            | code::UNSUPPORTED_SASL_MECHANISM
            | code::ILLEGAL_SASL_STATE
            | code::SASL_AUTHENTICATION_FAILED
    )
}

/// Whether a client could not be made because of what it was configured with.
pub(super) fn is_configuration(error: &Error) -> bool {
    error.code == code::INVALID_ARGUMENT
}

/// Whether the coordinator that was asked is none any more.
pub(super) fn is_coordinator_gone(error: i32) -> bool {
    matches!(error, code::COORDINATOR_NOT_AVAILABLE | code::NOT_COORDINATOR)
}

/// Whether the leader that was asked is none any more. librdkafka's clients for questions know of
/// it what they learned first: a refresh after such an error is for topics that are read or
/// written (rdkafka_request.c:1048), and until the next one the error comes back.
pub(super) fn is_leader_gone(error: i32) -> bool {
    matches!(
        error,
        code::LEADER_NOT_AVAILABLE
            | code::NOT_LEADER_FOR_PARTITION
            | code::REPLICA_NOT_AVAILABLE
            | code::KAFKA_STORAGE_ERROR
            | code::FENCED_LEADER_EPOCH
            | code::UNKNOWN_LEADER_EPOCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_errors_are_named_by_what_happened() {
        use TransactionFailure as F;
        type Kind = fn(String) -> TransactionFailure;
        let table: [(i32, bool, bool, bool, Kind, &str); 21] = [
            // code, fatal, requires abort, retriable
            (code::FENCED, true, false, false, F::Fenced, "_FENCED: words"),
            (code::PRODUCER_FENCED, true, false, false, F::Fenced, "PRODUCER_FENCED: words"),
            (47, true, false, false, F::Fenced, "INVALID_PRODUCER_EPOCH: words"),
            (22, false, true, false, F::Membership, "ILLEGAL_GENERATION: words"),
            (25, false, true, false, F::Membership, "UNKNOWN_MEMBER_ID: words"),
            (82, false, true, false, F::Membership, "FENCED_INSTANCE_ID: words"),
            (59, false, true, false, F::ProducerIdLost, "UNKNOWN_PRODUCER_ID: words"),
            (49, false, true, false, F::ProducerIdLost, "INVALID_PRODUCER_ID_MAPPING: words"),
            (45, true, false, false, F::OutOfOrder, "OUT_OF_ORDER_SEQUENCE_NUMBER: words"),
            (-138, true, false, false, F::Unknown, "_INVALID_DIFFERENT_RECORD: words"),
            (10, false, true, false, F::RecordRefused, "MSG_SIZE_TOO_LARGE: words"),
            (3, false, true, false, F::Abortable, "UNKNOWN_TOPIC_OR_PART: words"),
            (
                53,
                true,
                false,
                false,
                F::Unauthorized,
                "TRANSACTIONAL_ID_AUTHORIZATION_FAILED: words",
            ),
            (51, false, false, true, F::Retriable, "CONCURRENT_TRANSACTIONS: words"),
            (14, false, false, true, F::Retriable, "COORDINATOR_LOAD_IN_PROGRESS: words"),
            (16, false, false, true, F::Retriable, "NOT_COORDINATOR: words"),
            (code::TIMED_OUT, false, false, true, F::Retriable, "_TIMED_OUT: words"),
            (code::TIMED_OUT, false, false, false, F::Unknown, "_TIMED_OUT: words"),
            // "Transaction commit succeeded on the broker but had already failed locally".
            (22, true, true, false, F::Unknown, "ILLEGAL_GENERATION: words"),
            (code::TRANSPORT, true, true, false, F::Unknown, "_TRANSPORT: words"),
            (-172, false, false, false, F::Unknown, "_STATE: words"),
        ];
        for (code, fatal, requires_abort, retriable, kind, reason) in table {
            let error = Error { retriable, fatal, requires_abort, ..Error::new(code, "words") };
            assert_eq!(of_transaction(&error), kind(reason.to_owned()), "code {code}");
        }
    }

    #[test]
    fn only_a_record_s_own_faults_are_held_against_it() {
        for code in [2, 4, 10, 18, 32, 87] {
            assert!(caused_by_record(code), "{}", code_name(code));
        }
        // Purged, timed out, fenced, or another record of the batch was invalid.
        for code in [-152, -151, -192, -144, -138, 3, 6, 90] {
            assert!(!caused_by_record(code), "{}", code_name(code));
        }
    }

    #[test]
    fn a_lost_position_is_never_mistaken_for_a_passing_error() {
        assert_eq!(of_read(1, ""), ReadFailure::OutOfRange);
        assert_eq!(of_read(code::AUTO_OFFSET_RESET, ""), ReadFailure::OutOfRange);
        assert_eq!(of_read(3, ""), ReadFailure::UnknownPartition);
        assert_eq!(
            of_read(code::TRANSPORT, "broken pipe"),
            ReadFailure::Other("_TRANSPORT: broken pipe".to_owned())
        );
    }

    #[test]
    fn a_fenced_instance_id_is_a_twin() {
        assert!(matches!(
            of_consumer(code::FENCED_INSTANCE_ID, "", true),
            Some(FatalCause::FencedInstanceId(_))
        ));
        assert!(matches!(of_consumer(30, "", false), Some(FatalCause::Unauthorized(_))));
        assert!(matches!(of_consumer(-196, "", true), Some(FatalCause::Other(_))));
        assert_eq!(of_consumer(code::TRANSPORT, "", false), None);
    }

    #[test]
    fn wrong_credentials_are_told_from_a_refusal_and_from_silence() {
        let of = |code| of_question("topic t", &Error::new(code, "words"));
        for code in [code::AUTHENTICATION, code::SSL, 33, 34, 58] {
            assert!(matches!(of(code), AskError::Credentials(_)), "{}", code_name(code));
        }
        // A missing right is the brokers' word about one thing, not about the connection.
        for code in [3, 29, 30, 31, 38, 40, 88] {
            let AskError::Refused { what, code: told, .. } = of(code) else { panic!("{code}") };
            assert_eq!((what.as_str(), told), ("topic t", code));
        }
        for code in [code::TIMED_OUT, code::TRANSPORT, -187, -193] {
            assert!(matches!(of(code), AskError::NoAnswer(_)), "{}", code_name(code));
        }
    }
}
