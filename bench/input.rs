//! The input: what record number i is, for every i, without keeping anything.

use anyhow::{Context, Result};
use tidemill::state::partition_of;

/// How keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All keys alike.
    Uniform,
    /// 75 % of the records on 1,000 keys, the others on all alike.
    Hot,
}

/// Partitions where a workload says nothing else.
pub(crate) const PARTITIONS: i32 = 4;

/// Bytes of a key and of a value.
#[allow(dead_code)] // for the tests
pub(crate) const KEY_BYTES: usize = 16;
/// See [`KEY_BYTES`].
pub(crate) const VALUE_BYTES: usize = 100;

const HOT_KEYS: u64 = 1_000;

/// An input of a number of keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input {
    pub(crate) keys: Keys,
    /// Different keys.
    pub(crate) cardinality: u64,
    /// Partitions of the input, and of all other topics of an application that reads it.
    pub(crate) partitions: i32,
}

impl Input {
    /// The topic that it is pre-loaded into.
    pub(crate) fn topic(self) -> String {
        let keys = if self.keys == Keys::Hot { "hot" } else { "uniform" };
        format!("bench-{keys}-{}-{}", self.cardinality, self.partitions)
    }

    /// How many different keys the first `records` records of a uniform input have, as expected.
    pub(crate) fn distinct(self, records: u64) -> f64 {
        let keys = self.cardinality as f64;
        keys * (1.0 - (-(records as f64) / keys).exp())
    }

    /// The key's number of record `index`.
    pub(crate) fn key(self, index: u64) -> u64 {
        let random = mix(index);
        if self.keys == Keys::Hot && random & 3 != 0 {
            (random >> 2) % HOT_KEYS
        } else {
            (random >> 2) % self.cardinality
        }
    }

    /// Writes key and value of record `index`; its partition.
    pub(crate) fn record(self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) -> i32 {
        use std::io::Write;
        let number = self.key(index);
        key.clear();
        value.clear();
        // Writing into memory does not fail.
        let _written = write!(key, "k{number:015}");
        let amount = mix(!index) % 10_000;
        let _written = write!(
            value,
            r#"{{"seq":"{index:012}","key":"k{number:015}","amount":{amount},"note":""#
        );
        value.resize(VALUE_BYTES - 2, b'x');
        value.extend_from_slice(b"\"}");
        partition_of(key, self.partitions)
    }
}

/// The number in a key.
pub(crate) fn key_number(key: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(key.get(1..).unwrap_or_default())?;
    text.parse().with_context(|| format!("key {text:?}"))
}

/// The number of a record, of its value.
pub(crate) fn sequence(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value.get(8..20).unwrap_or_default())?;
    text.parse().with_context(|| format!("sequence {text:?}"))
}

/// SplitMix64: every number gives another, without pattern.
fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
