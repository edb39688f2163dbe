//! What a codec is: the declared way from a type to bytes and back.

/// A value that cannot be encoded, or bytes that cannot be decoded: in the codec's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CodecError {
    /// What does not fit, and where in the bytes if known.
    pub reason: String,
}

/// Encodes and decodes values of `T`. Must be deterministic: equal values give equal bytes (keys
/// are partitioned and looked up by their bytes).
pub trait Codec<T>: Send + Sync {
    /// Appends the encoded value to `out`.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value from exactly these bytes.
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;
}
