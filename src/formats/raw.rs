//! Bytes as they are.

use crate::formats::{Codec, CodecError};

/// The codec of `Vec<u8>`: the bytes themselves, in their own order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes;

impl Codec<Vec<u8>> for Bytes {
    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }

    fn name(&self) -> &'static str {
        "bytes"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were_and_null_is_not_empty() {
        for bytes in [&b""[..], &[0, 255, 7]] {
            let mut out = Vec::new();
            Bytes.encode(&bytes.to_vec(), &mut out).unwrap();
            assert_eq!(Bytes.decode(&out).unwrap(), bytes);
        }
        assert!(Bytes.decode_null().is_err());
    }
}
