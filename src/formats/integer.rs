//! Integers as big-endian two's complement of fixed width, as Kafka's `IntegerSerializer` and
//! `LongSerializer` write them.
//!
//! The order of the bytes is the numeric order for unsigned integers. For signed ones it is not:
//! every negative number comes after every other one (compatibility with Kafka's own serializers
//! was worth more than an ordered scan).

use crate::formats::{Codec, CodecError};

macro_rules! integer_codec {
    ($(#[$doc:meta])* $codec:ident, $integer:ty, $name:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $codec;

        impl Codec<$integer> for $codec {
            fn encode(&self, value: &$integer, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Result<$integer, CodecError> {
                match bytes.try_into() {
                    Ok(array) => Ok(<$integer>::from_be_bytes(array)),
                    Err(_) => Err(CodecError::new(format!(
                        "{} needs {} bytes, not {}",
                        $name,
                        size_of::<$integer>(),
                        bytes.len()
                    ))),
                }
            }

            fn name(&self) -> &'static str {
                $name
            }
        }
    };
}

integer_codec!(
    /// The codec of [`i32`]: 4 bytes; negative numbers sort behind the others.
    I32, i32, "i32"
);
integer_codec!(
    /// The codec of [`i64`]: 8 bytes; negative numbers sort behind the others.
    I64, i64, "i64"
);
integer_codec!(
    /// The codec of [`u32`]: 4 bytes in numeric order.
    U32, u32, "u32"
);
integer_codec!(
    /// The codec of [`u64`]: 8 bytes in numeric order.
    U64, u64, "u64"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded<T>(codec: &impl Codec<T>, value: T) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec.encode(&value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn numbers_come_back_as_they_were() {
        for value in [i64::MIN, -1, 0, 1, 258, i64::MAX] {
            assert_eq!(I64.decode(&encoded(&I64, value)).unwrap(), value);
            let narrow = value as i32;
            assert_eq!(I32.decode(&encoded(&I32, narrow)).unwrap(), narrow);
            assert_eq!(U64.decode(&encoded(&U64, value as u64)).unwrap(), value as u64);
            assert_eq!(U32.decode(&encoded(&U32, value as u32)).unwrap(), value as u32);
        }
    }

    #[test]
    fn the_bytes_are_those_of_kafkas_serializers() {
        assert_eq!(encoded(&I32, 258), [0, 0, 1, 2]);
        assert_eq!(encoded(&I64, -2), [255, 255, 255, 255, 255, 255, 255, 254]);
    }

    #[test]
    fn unsigned_bytes_sort_as_numbers_and_negative_ones_sort_last() {
        assert!(encoded(&U64, 255) < encoded(&U64, 256));
        assert!(encoded(&U32, 1) < encoded(&U32, u32::MAX));
        assert!(encoded(&I64, -1) > encoded(&I64, i64::MAX));
    }

    #[test]
    fn another_width_is_refused_with_both_widths() {
        let error = I64.decode(&[1, 2, 3]).unwrap_err();
        assert_eq!(error.reason, "i64 needs 8 bytes, not 3");
        assert!(U32.decode(&[]).is_err());
        assert!(I32.decode(&[0; 5]).is_err());
    }
}
