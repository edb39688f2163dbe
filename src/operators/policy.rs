//! What happens to an element that cannot be processed (ERR-1), decided in one place.

use std::{fmt::Display, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::operators::{OperatorError, Skipped, TaskContext};

/// What happens to an element that cannot be processed (ERR-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorPolicy {
    /// Stop at the record; its offset is not passed.
    #[default]
    Fail,
    /// Count it, log it, go on.
    Skip,
}

/// An operator's uid and its policy: what is needed to judge an error.
#[derive(Debug, Clone)]
pub struct StepPolicy {
    operator: Arc<str>,
    on_error: ErrorPolicy,
}

impl StepPolicy {
    /// The policy of the operator with this uid.
    pub fn new(operator: impl Into<Arc<str>>, on_error: ErrorPolicy) -> Self {
        Self { operator: operator.into(), on_error }
    }

    /// The operator's uid.
    pub fn operator(&self) -> &Arc<str> {
        &self.operator
    }

    /// Whether refused elements are skipped.
    pub fn skips(&self) -> bool {
        self.on_error == ErrorPolicy::Skip
    }

    /// Judges a refused element: an error under `fail`, a note in the context under `skip`.
    #[cold]
    pub fn refuse(
        &self,
        reason: impl Display,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let (operator, reason) = (self.operator.as_ref().into(), reason.to_string());
        match self.on_error {
            ErrorPolicy::Fail => Err(OperatorError::Element { operator, reason }),
            ErrorPolicy::Skip => {
                let provenance = ctx.provenance.clone();
                ctx.skipped.push(Skipped { operator, provenance, reason });
                Ok(())
            }
        }
    }
}
