//! Null as `None`: deletes in tables, and topics whose keys or values may be missing.

use crate::formats::{Codec, CodecError};

/// Wraps a codec of `T` into one of `Option<T>`: `None` is Kafka's null.
///
/// Only for topics. Bytes cannot tell null from an empty value, so `None` is refused where there
/// is no null to write (state, keys of repartition topics).
#[derive(Debug, Clone, Copy, Default)]
pub struct Nullable<C>(pub C);

impl<T, C: Codec<T>> Codec<Option<T>> for Nullable<C> {
    fn encode(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match value {
            Some(value) => self.0.encode(value, out),
            None => Err(CodecError::new("null cannot be written as bytes")),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Option<T>, CodecError> {
        self.0.decode(bytes).map(Some)
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn decode_null(&self) -> Result<Option<T>, CodecError> {
        Ok(None)
    }

    fn name(&self) -> &'static str {
        // The bytes are those of the inner codec.
        self.0.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Utf8;

    #[test]
    fn none_is_null_and_some_is_the_inner_encoding() {
        let codec = Nullable(Utf8);
        assert!(codec.is_null(&None));
        assert!(!codec.is_null(&Some(String::new())));
        let mut out = Vec::new();
        codec.encode(&Some("a".into()), &mut out).unwrap();
        assert_eq!(codec.decode(&out).unwrap().as_deref(), Some("a"));
        assert_eq!(codec.decode_null().unwrap(), None);
    }

    #[test]
    fn none_is_refused_where_there_is_no_null() {
        let error = Nullable(Utf8).encode(&None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.reason, "null cannot be written as bytes");
    }
}
