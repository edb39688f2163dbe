//! Operators: one per file; the seam to the runtime is [`OperatorChain`].

mod chain;

pub use chain::{
    EmitRefused, Emitted, OperatorChain, OperatorError, Output, Provenance, SinkIndex, Skipped,
    SourceIndex, TaskContext,
};
