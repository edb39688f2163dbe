//! The frame of a stored value: a version byte in front.
//!
//! The same in every layer, in the changelog and in the byte store (DATA-1: formats are versioned).

use crate::state::StateError;

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u8 = 1;

/// Why a value's frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A value without even a version byte.
    #[error("a value is empty: it lacks its version byte")]
    Empty,
    /// A newer Tidemill wrote it, or it is damaged.
    #[error("a value has version {found}, this Tidemill reads version {VERSION}; use a newer one")]
    Version {
        /// The version found.
        found: u8,
    },
}

/// What follows the version byte.
pub(crate) fn unframe(framed: &[u8]) -> Result<&[u8], StateError> {
    check(framed).map_err(StateError::of_task)
}

/// As [`unframe`], in place.
pub(crate) fn unframe_owned(mut framed: Vec<u8>) -> Result<Vec<u8>, StateError> {
    unframe(&framed)?;
    framed.drain(..1);
    Ok(framed)
}

/// Checks the frame; what follows the version byte.
pub(crate) fn check(framed: &[u8]) -> Result<&[u8], ValueError> {
    match framed {
        [VERSION, value @ ..] => Ok(value),
        [found, ..] => Err(ValueError::Version { found: *found }),
        [] => Err(ValueError::Empty),
    }
}
