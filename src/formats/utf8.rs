//! Text as UTF-8 without a length or a terminator, as Kafka's `StringSerializer` writes it.

use crate::formats::{Codec, CodecError};

/// The codec of [`String`]. The order of the bytes is the order of the code points.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8;

impl Codec<String> for Utf8 {
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(CodecError::new(format!("not UTF-8: {error}"))),
        }
    }

    fn name(&self) -> &'static str {
        "utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        for text in ["", "a", "Gezeitenmühle", "潮力水车", "line\nbreak\0"] {
            let mut bytes = Vec::new();
            Utf8.encode(&text.to_owned(), &mut bytes).unwrap();
            assert_eq!(bytes, text.as_bytes());
            assert_eq!(Utf8.decode(&bytes).unwrap(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_position() {
        let error = Utf8.decode(b"ab\xffcd").unwrap_err();
        assert!(error.reason.contains("not UTF-8"), "{error}");
        assert!(error.reason.contains("index 2"), "{error}");
        assert!(Utf8.decode_null().is_err());
    }
}
