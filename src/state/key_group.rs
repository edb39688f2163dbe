//! Which key group and which partition a key belongs to.
//!
//! Owns murmur2 as Kafka's Java client computes it, and the rule that a partition count divides
//! the number of key groups, so that a partition owns whole key groups. Must never change what it
//! computes: stored keys and partitions depend on it.

use crate::record::PartitionId;

/// The number of key groups of an application that asks for nothing else: 2^8 · 3^2 · 5^2, which
/// every usual partition count up to 256 divides.
pub const KEY_GROUPS_DEFAULT: u16 = 57_600;

/// The unit in which keyed state is stored, exported and moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u16);

/// A partition count under which partitions would not own whole key groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{partitions} partitions do not divide the {groups} key groups{}", nearest(*.below, *.above))]
pub struct PartitionCountError {
    /// The count that was found.
    pub partitions: i32,
    /// The application's number of key groups.
    pub groups: u16,
    /// The nearest smaller count that divides it.
    pub below: Option<i32>,
    /// The nearest larger count that divides it.
    pub above: Option<i32>,
}

fn nearest(below: Option<i32>, above: Option<i32>) -> String {
    match (below, above) {
        (Some(below), Some(above)) => {
            format!("; the nearest counts that do are {below} and {above}")
        }
        (Some(one), None) | (None, Some(one)) => format!("; the nearest count that does is {one}"),
        (None, None) => String::new(),
    }
}

/// Kafka's murmur2 of a key (`org.apache.kafka.common.utils.Utils.murmur2`), as the same 32 bits.
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's array length is an i32; keys beyond 2 GiB do not exist in Kafka.
    let mut hash = SEED ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = word.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        hash ^= tail.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The positive hash that Kafka's Java partitioner takes the remainder of.
fn positive_hash(key: &[u8]) -> u32 {
    murmur2(key) & 0x7fff_ffff
}

/// The key group of a key among `groups` (0 counts as 1).
pub fn key_group(key: &[u8], groups: u16) -> KeyGroup {
    let group = positive_hash(key) % u32::from(groups.max(1));
    KeyGroup(u16::try_from(group).unwrap_or(u16::MAX))
}

/// The partition that Kafka's Java client writes a non-null key to (counts below 1 count as 1).
pub fn partition_of(key: &[u8], partitions: i32) -> PartitionId {
    let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
    PartitionId::try_from(positive_hash(key) % partitions).unwrap_or(0)
}

/// Checks that partitions own whole key groups: that `partitions` divides `groups`.
pub fn check_partitions(partitions: i32, groups: u16) -> Result<(), PartitionCountError> {
    let groups_total = i32::from(groups);
    let divides = |count: &i32| *count > 0 && groups_total % *count == 0;
    if divides(&partitions) {
        return Ok(());
    }
    let below = (1..partitions.min(groups_total.saturating_add(1))).rev().find(divides);
    let above = (partitions.max(0).saturating_add(1)..=groups_total).find(divides);
    Err(PartitionCountError { partitions, groups, below, above })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn murmur2_equals_the_java_clients() {
        assert_eq!(murmur2(b"kafka"), 0xd067_cf64);
        assert_eq!(murmur2(b"giberish123456789"), 0x8f55_2b0c);
        assert_eq!(murmur2(b"1234"), 0x9fc9_7b14);
        assert_eq!(murmur2(b""), 0x106e_08d9);
        // From Kafka's own UtilsTest, which gives signed results.
        assert_eq!(murmur2(b"21") as i32, -973_932_308);
        assert_eq!(murmur2(b"foobar") as i32, -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985_981_536);
        assert_eq!(murmur2(b"a-little-bit-longer-string") as i32, -1_486_304_829);
        assert_eq!(
            murmur2(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8") as i32,
            -58_897_971
        );
        assert_eq!(murmur2(b"abc") as i32, 479_470_107);
    }

    #[test]
    fn usual_partition_counts_divide_the_default() {
        for count in [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 24, 32, 48, 64, 96, 128, 192, 256] {
            check_partitions(count, KEY_GROUPS_DEFAULT).unwrap();
        }
    }

    #[test]
    fn another_partition_count_is_refused_with_the_nearest_ones() {
        let refused = check_partitions(7, KEY_GROUPS_DEFAULT).unwrap_err();
        assert_eq!((refused.below, refused.above), (Some(6), Some(8)));
        assert_eq!(
            refused.to_string(),
            "7 partitions do not divide the 57600 key groups; \
             the nearest counts that do are 6 and 8"
        );
        let none = check_partitions(0, KEY_GROUPS_DEFAULT).unwrap_err();
        assert_eq!((none.below, none.above), (None, Some(1)));
        let many = check_partitions(60_000, KEY_GROUPS_DEFAULT).unwrap_err();
        assert_eq!((many.below, many.above), (Some(57_600), None));
    }

    proptest! {
        #[test]
        fn a_key_group_lies_in_the_partition_of_its_keys(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            partitions in proptest::sample::select(vec![1, 2, 3, 6, 8, 12, 64, 225, 256]),
        ) {
            let group = key_group(&key, KEY_GROUPS_DEFAULT);
            prop_assert!(group.0 < KEY_GROUPS_DEFAULT);
            prop_assert_eq!(i32::from(group.0) % partitions, partition_of(&key, partitions));
        }
    }
}
