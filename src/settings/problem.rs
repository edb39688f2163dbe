//! What can be wrong with settings, in words that name the key, the place and the way out.
//!
//! Must never hold a secret: values of `kafka.properties` are left out.

use std::{fmt, path::PathBuf};

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the built-in default.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable, by name.
    Variable(String),
    /// A command line flag, as written.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key that does not exist.
    #[error("unknown setting {key} in {place}{}", nearest.as_deref().map(|k| format!("; did you mean {k}?")).unwrap_or_default())]
    UnknownKey {
        /// The key as understood, dotted.
        key: String,
        /// Where it was given.
        place: Place,
        /// The most similar key, if any is similar.
        nearest: Option<String>,
    },
    /// A value that cannot be read.
    #[error("setting {key} in {place} is {value}: expected {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// Where it was given.
        place: Place,
        /// The value as given, or `(hidden)`.
        value: String,
        /// The form that it should have.
        expected: String,
    },
    /// A value that can be read and makes no sense, alone or beside others.
    #[error("setting {key} in {place}: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// Where it was given.
        place: Place,
        /// Why, and what would do.
        reason: String,
    },
    /// A secret's file that cannot be read.
    #[error("setting {key}: cannot read the secret from {path}: {reason}")]
    SecretFile {
        /// The key.
        key: String,
        /// The file.
        path: Place,
        /// The system's words.
        reason: String,
    },
    /// A flag that is not `key=value`.
    #[error("flag --set {given}: expected key=value, such as epoch.interval=50ms")]
    NotAnAssignment {
        /// What stands before the equals sign, or all of it.
        given: String,
    },
}

/// Why settings could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read settings file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("settings file {}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, without the line itself: it may hold a secret.
        reason: String,
    },
    /// Settings are wrong; all that were found.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}
