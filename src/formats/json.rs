//! Values as compact JSON by serde.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::formats::{Codec, CodecError};

/// The codec of any serde type: compact JSON, members in the order of the type's fields.
///
/// Deterministic as far as the type is: a `HashMap` inside a key is not (use a `BTreeMap`).
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The codec.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Json<T> {}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let before = out.len();
        serde_json::to_writer(&mut *out, value).map_err(|error| {
            // A half-written value must not stay in a buffer that others append to.
            out.truncate(before);
            CodecError::new(format!("not representable as JSON: {error}"))
        })
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes)
            .map_err(|error| CodecError::new(format!("not the JSON expected: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Reading {
        sensor: String,
        celsius: i32,
    }

    #[test]
    fn a_value_comes_back_as_it_was_and_keeps_the_order_of_its_fields() {
        let value = Reading { sensor: "k\"1".into(), celsius: -3 };
        let mut bytes = Vec::new();
        Json::new().encode(&value, &mut bytes).unwrap();
        assert_eq!(bytes, br#"{"sensor":"k\"1","celsius":-3}"#);
        assert_eq!(Json::<Reading>::new().decode(&bytes).unwrap(), value);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let codec = Json::<Reading>::new();
        let error = codec.decode(br#"{"sensor":"a","celsius":"warm"}"#).unwrap_err();
        assert!(error.reason.contains("expected i32"), "{error}");
        assert!(error.reason.contains("column"), "{error}");
        assert!(codec.decode(b"").is_err());
        assert!(codec.decode(br#"{"sensor":"a","celsius":1} x"#).is_err());
    }

    #[test]
    fn a_value_that_json_cannot_hold_leaves_nothing_behind() {
        let codec = Json::<BTreeMap<(u8, u8), u8>>::new();
        let mut out = b"before".to_vec();
        assert!(codec.encode(&BTreeMap::from([((1, 2), 3)]), &mut out).is_err());
        assert_eq!(out, b"before");
    }
}
