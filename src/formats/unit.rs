//! Nothing: for keys or values that do not matter.

use crate::formats::{Codec, CodecError};

/// The codec of `()`: written as null, and as no bytes where there is no null (a key that chooses
/// a partition, state); whatever is read is ignored, null included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unit;

impl Codec<()> for Unit {
    fn encode(&self, _value: &(), _out: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }

    fn decode(&self, _bytes: &[u8]) -> Result<(), CodecError> {
        Ok(())
    }

    fn is_null(&self, _value: &()) -> bool {
        true
    }

    fn decode_null(&self) -> Result<(), CodecError> {
        Ok(())
    }

    fn name(&self) -> &'static str {
        "unit"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_null_and_anything_reads_as_nothing() {
        let mut out = Vec::new();
        Unit.encode(&(), &mut out).unwrap();
        assert!(out.is_empty() && Unit.is_null(&()));
        Unit.decode(b"whatever").unwrap();
        Unit.decode_null().unwrap();
    }
}
