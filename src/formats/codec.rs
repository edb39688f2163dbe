//! What a codec is: the declared way from a type to bytes and back.

use std::sync::Arc;

/// A value that cannot be encoded, or bytes that cannot be decoded: in the codec's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CodecError {
    /// What does not fit, and where in the bytes if known.
    pub reason: String,
}

impl CodecError {
    /// An error with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Encodes and decodes values of `T`. Must be deterministic: equal values give equal bytes (keys
/// are partitioned and looked up by their bytes).
pub trait Codec<T>: Send + Sync {
    /// Appends the encoded value to `out`.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value from exactly these bytes.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;

    /// Whether this value is written as Kafka's null instead of bytes. Asked where a record has a
    /// null to give (keys and values of topics), never for state.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// What Kafka's null means; an error where it means nothing.
    fn decode_null(&self) -> Result<T, CodecError> {
        Err(CodecError::new("null, where a value is required"))
    }

    /// The encoding's name, for `describe` and to tell encodings apart: two streams can be merged
    /// with their partitioning intact only if their keys have one encoding.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// A shared codec is a codec.
impl<T, C: Codec<T> + ?Sized> Codec<T> for Arc<C> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        (**self).encode(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        (**self).decode(bytes)
    }

    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }

    fn decode_null(&self) -> Result<T, CodecError> {
        (**self).decode_null()
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }
}
