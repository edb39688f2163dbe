//! What makes a topology invalid, in words that say what to do.

/// Why a topology cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A name that cannot be part of a topic's name, a directory and a metric.
    #[error("name {name:?} of {what}: {reason}; names are made of a-z, 0-9 and '-'")]
    Name {
        /// The name as it was given.
        name: String,
        /// What it is to name.
        what: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two steps with one name: state and topics belong to names.
    #[error(
        "the name {name:?} is used twice: state and topics belong to names, so each step needs its own"
    )]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A topic name that Kafka would refuse.
    #[error("topic {topic:?}: {reason}")]
    TopicName {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing to read.
    #[error("the topology has no source: begin with TopologyBuilder::stream or ::table")]
    NoSource,
    /// A stream that leads nowhere.
    #[error("nothing is done with what {step} ({operator}) gives: end it with `to`, or remove it")]
    Unused {
        /// The last step's uid.
        step: String,
        /// What it is.
        operator: String,
    },
    /// A keyed step on a stream whose key is not the one that it is partitioned by.
    #[error(
        "{step}: the key was changed by {by}, so records of one key lie in several partitions; use `group_by` or `repartition`, which name the repartition topic"
    )]
    KeyChanged {
        /// The step that needs the key.
        step: String,
        /// The step that changed it.
        by: String,
    },
    /// One topic as two inputs: a partition has one reader in a group.
    #[error(
        "topic {topic} is read twice: declare its source once and use the stream several times"
    )]
    TopicReadTwice {
        /// The topic.
        topic: String,
    },
    /// A subtopology that would read what it writes.
    #[error(
        "{step}: its repartition topic would be read by the subtopology that writes it, since streams from before and after it are merged; write one of them to a topic of its own"
    )]
    Cycle {
        /// The step whose topic closes the cycle.
        step: String,
    },
    /// A declared partition count that cannot be.
    #[error("{step}: {reason}")]
    Partitions {
        /// The repartition step.
        step: String,
        /// What is wrong, and what would do.
        reason: String,
    },
    /// A stream of one builder used with a stream of another.
    #[error("{step}: the streams belong to different topologies")]
    ForeignStream {
        /// The step that was to join them.
        step: String,
    },
    /// A subtopology that cannot be executed as it stands; a front end's own fault.
    #[error("subtopology {subtopology}: {reason}")]
    Malformed {
        /// The subtopology.
        subtopology: String,
        /// What does not fit.
        reason: String,
    },
    /// Several of the above.
    #[error("{}", list(.0))]
    Several(Vec<TopologyError>),
}

fn list(errors: &[TopologyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl TopologyError {
    /// `Ok` for no errors; the error itself for one.
    pub fn collect(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

/// Checks the name of a step or a topology: `[a-z0-9-]+`, at most 100 characters (it becomes part
/// of topic names, of which Kafka allows 249).
pub fn check_name(name: &str, what: &str) -> Result<(), TopologyError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let reason = if name.is_empty() {
        "it is missing"
    } else if name.len() > 100 {
        "it is longer than 100 characters"
    } else if !name.chars().all(legal) {
        "it has other characters"
    } else {
        return Ok(());
    };
    Err(TopologyError::Name { name: name.into(), what: what.into(), reason })
}

/// Checks a topic's name by Kafka's rules.
pub fn check_topic(topic: &str) -> Result<(), TopologyError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = if topic.is_empty() {
        "the name is missing"
    } else if topic.len() > 249 {
        "the name is longer than 249 characters"
    } else if matches!(topic, "." | "..") || !topic.chars().all(legal) {
        "Kafka allows a-z, A-Z, 0-9, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(TopologyError::TopicName { topic: topic.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_topics_and_directories_can_carry_are_taken() {
        for name in ["a", "word-counts", "7", "-"] {
            check_name(name, "a step").unwrap();
        }
        for (name, reason) in [
            ("", "missing"),
            ("a.b", "other characters"),
            ("Words", "other characters"),
            ("w_c", "other characters"),
            ("ü", "other characters"),
            (&"x".repeat(101), "longer"),
        ] {
            let error = check_name(name, "a step").unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("a step"), "{name}: {error}");
        }
    }

    #[test]
    fn topics_are_named_by_kafkas_rules() {
        for topic in ["a", "Orders.v1_x-y", "0"] {
            check_topic(topic).unwrap();
        }
        for topic in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert!(check_topic(topic).is_err(), "{topic}");
        }
    }

    #[test]
    fn several_errors_are_all_said() {
        assert_eq!(TopologyError::collect(vec![]), Ok(()));
        let one = TopologyError::NoSource;
        assert_eq!(TopologyError::collect(vec![one.clone()]), Err(one.clone()));
        let two = TopologyError::DuplicateName { name: "counts".into() };
        let error = TopologyError::collect(vec![one, two]).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 2);
        assert!(error.contains("no source") && error.contains("\"counts\""), "{error}");
    }
}
