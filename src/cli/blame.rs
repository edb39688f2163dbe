//! Whose turn it is: maps every module's errors to what must be done about them.

use std::io;

use crate::{
    error::{Error, ErrorKind},
    ops::ServiceError,
    runtime::{TopicsError, plan::PlanError, stream_thread::Failure},
    settings::SettingsError,
    state::StateError,
    topology::TopicPlanError,
};

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::from_source(ErrorKind::Invalid, error)
    }
}

impl From<TopicsError> for Error {
    fn from(error: TopicsError) -> Self {
        let kind = match &error {
            TopicsError::Unreachable { .. } => ErrorKind::Unreachable,
            TopicsError::Credentials { .. } => ErrorKind::Invalid,
            TopicsError::Refused { .. } => ErrorKind::Kafka,
        };
        Self::from_source(kind, error)
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        let kind = match &error {
            PlanError::MissingTopic { .. } | PlanError::NotCoPartitioned { .. } => {
                ErrorKind::Topics
            }
            PlanError::ReadTwice { .. } => ErrorKind::Invalid,
        };
        Self::from_source(kind, error)
    }
}

impl From<Vec<TopicPlanError>> for Error {
    fn from(errors: Vec<TopicPlanError>) -> Self {
        let names = |error: &TopicPlanError| matches!(error, TopicPlanError::Name(_));
        let kind = if errors.iter().all(names) { ErrorKind::Invalid } else { ErrorKind::Topics };
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::new(kind, lines.join("\n"))
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        let kind = match &error {
            StateError::Locked { .. } => ErrorKind::InUse,
            StateError::Store { .. }
            | StateError::Damaged { .. }
            | StateError::Foreign { .. }
            | StateError::Codec { .. } => ErrorKind::State,
        };
        Self::from_source(kind, error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::Processing(_) => ErrorKind::Record,
            Failure::State(_) => ErrorKind::State,
            Failure::Topics(_) => ErrorKind::Topics,
            Failure::Twin(_) => ErrorKind::InUse,
            Failure::Kafka(_) => ErrorKind::Kafka,
        };
        Self::new(kind, failure.message())
    }
}

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        Self::from_source(ErrorKind::Other, error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_source(ErrorKind::Other, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    fn code(error: impl Into<Error>) -> u8 {
        Exit::from(error.into().kind()).code()
    }

    #[test]
    fn each_bad_input_ends_with_its_exit_code() {
        let address = "nowhere:9092".to_owned();
        let unreachable = TopicsError::Unreachable { address, reason: "timed out".to_owned() };
        assert_eq!(code(unreachable), 3);
        let credentials = TopicsError::Credentials {
            address: "kafka:9093".to_owned(),
            reason: "SASL authentication error".to_owned(),
        };
        assert_eq!(code(credentials), 2);
        let topic = || "lines".to_owned();
        assert_eq!(code(PlanError::MissingTopic { topic: topic() }), 4);
        let missing = TopicPlanError::Missing { topic: topic(), topology: "word-count".to_owned() };
        assert_eq!(code(vec![missing]), 4);
        let path = || "/state".to_owned();
        assert_eq!(code(StateError::Locked { path: path(), holder: None }), 7);
        assert_eq!(code(StateError::Foreign { path: path(), reason: "newer".to_owned() }), 5);
        assert_eq!(code(SettingsError::Invalid(vec![])), 2);
        assert_eq!(code(Failure::Processing("poison".to_owned())), 6);
        assert_eq!(code(Failure::Topics("changed".to_owned())), 4);
        assert_eq!(code(Failure::State("mismatch".to_owned())), 5);
        assert_eq!(code(Failure::Twin("pod-0".to_owned())), 7);
        assert_eq!(code(Failure::Kafka("refused".to_owned())), 8);
    }
}
