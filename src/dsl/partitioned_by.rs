//! Whether the records of one key of a stream lie in one partition.

use std::sync::Arc;

use crate::formats::{Codec, CodecError};

/// What is known of a stream's partitioning.
pub(super) enum PartitionedBy<K> {
    /// By its key in this encoding.
    Key(Arc<dyn Codec<K>>),
    /// By something else, since the step with this uid changed the key.
    Other { since: Arc<str> },
}

impl<K> Clone for PartitionedBy<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Key(codec) => Self::Key(Arc::clone(codec)),
            Self::Other { since } => Self::Other { since: Arc::clone(since) },
        }
    }
}

impl<K> PartitionedBy<K> {
    /// The partitioning of two merged streams; `merge` is the merging step's uid.
    pub(super) fn merged(&self, other: &Self, merge: &Arc<str>) -> Self {
        match (self, other) {
            (Self::Key(one), Self::Key(two)) if one.name() == two.name() => self.clone(),
            // Equal keys in two encodings are different bytes, in different partitions.
            (Self::Key(_), Self::Key(_)) => Self::Other { since: Arc::clone(merge) },
            (Self::Other { .. }, _) => self.clone(),
            (_, Self::Other { .. }) => other.clone(),
        }
    }
}

/// Stands where a codec is missing in a topology that will not be built.
pub(super) struct NoCodec;

impl<T> Codec<T> for NoCodec {
    fn encode(&self, _value: &T, _out: &mut Vec<u8>) -> Result<(), CodecError> {
        Err(CodecError::new("no codec"))
    }

    fn decode(&self, _bytes: &[u8]) -> Result<T, CodecError> {
        Err(CodecError::new("no codec"))
    }
}
