//! A digest of all that happened in a run, in the order in which it happened.
//!
//! Not a defence against anybody: it tells two runs of one seed apart, at the price of a few
//! instructions per word.

use std::hash::{Hash, Hasher};

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What was hashed so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Digest(u64);

impl Digest {
    /// Takes one more thing in.
    pub(super) fn add(&mut self, thing: &impl Hash) {
        thing.hash(self);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.write_u64(rest.iter().fold(1, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // Both halves of the product: no bit of what went before is ever shifted out.
        let product = u128::from(self.0.rotate_left(23) ^ number ^ FACTOR) * u128::from(FACTOR);
        self.0 ^= (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> u64 {
        let mut digest = Digest::default();
        for word in words {
            digest.add(word);
        }
        digest.finish()
    }

    #[test]
    fn order_content_and_number_of_things_matter() {
        let all: Vec<u64> = [
            &["a", "b"][..],
            &["b", "a"],
            &["a", "b", ""],
            &["ab"],
            &[],
            &["a rather long word, longer than eight bytes"],
            &["a rather long word, longer than nine  bytes"],
        ]
        .into_iter()
        .map(of)
        .collect();
        for (index, digest) in all.iter().enumerate() {
            assert!(!all[..index].contains(digest), "{index} is not told apart");
        }
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
