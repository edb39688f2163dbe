//! What can go wrong with state.

use crate::state::CatalogueError;

/// How errors name a task's state where its name is not known; it is in the logs around them.
const TASK: &str = "of the task";

/// An error of a byte store or of what it holds.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store cannot be read or written: disk full, permissions, RocksDB's own errors.
    #[error("state store {store}: {reason}")]
    Store {
        /// The task's store, or the directory.
        store: String,
        /// The cause in the store's words.
        reason: String,
    },
    /// Bytes that fail their checksum or cannot be decoded (DATA-1): repaired from Kafka.
    #[error("state store {store} is damaged: {reason}")]
    Damaged {
        /// The task's store.
        store: String,
        /// What does not fit.
        reason: String,
    },
    /// A format that this version does not know, or a directory of another application.
    #[error("state directory {path}: {reason}")]
    Foreign {
        /// The directory.
        path: String,
        /// What was found, and what to do.
        reason: String,
    },
    /// Another process holds the directory's lock.
    #[error("state directory {path} is in use by another process{}", holder.as_deref().map(|h| format!(" ({h})")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: String,
        /// Who holds it, as far as the lock file says.
        holder: Option<String>,
    },
    /// A value that its codec refuses.
    #[error("state {state}: cannot {action}: {reason}")]
    Codec {
        /// Operator uid and state name.
        state: String,
        /// `encode` or `decode`.
        action: &'static str,
        /// The codec's words.
        reason: String,
    },
}

impl StateError {
    /// Damage of a task's state.
    pub(crate) fn of_task(reason: impl ToString) -> Self {
        Self::Damaged { store: TASK.to_owned(), reason: reason.to_string() }
    }
}

impl From<CatalogueError> for StateError {
    fn from(error: CatalogueError) -> Self {
        let reason = error.to_string();
        match error {
            // Restoring from Kafka would not help: the changelog says the same.
            CatalogueError::Newer { .. } => Self::Foreign { path: TASK.to_owned(), reason },
            CatalogueError::Unreadable { .. } => Self::of_task(reason),
            CatalogueError::Full { .. } => Self::Store { store: TASK.to_owned(), reason },
        }
    }
}
