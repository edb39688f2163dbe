//! What the ledger must compute, computed again by other code: formats, hash chain, partitions.
//!
//! Must never use the topology's code, or it would repeat its mistakes.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A transfer as read from the topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    /// Its number.
    pub(crate) id: u64,
    /// Who pays.
    pub(crate) from: String,
    /// Who receives.
    pub(crate) to: String,
    /// How much.
    pub(crate) amount: i64,
}

/// Which half of a transfer a posting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The account pays.
    Debit,
    /// The account receives.
    Credit,
}

/// A posting as read from the repartition topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posting {
    /// Its transfer's number.
    pub(crate) transfer: u64,
    /// Which half.
    pub(crate) side: Side,
    /// How much.
    pub(crate) amount: i64,
}

/// An account's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Postings so far.
    pub(crate) n: u64,
    /// Credits less debits.
    pub(crate) balance: i64,
    /// SHA-256 over the previous chain and the posting's bytes.
    pub(crate) chain: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountJson<'a> {
    n: u64,
    balance: i64,
    chain: &'a str,
}

impl Account {
    /// The state after one more posting, whose record has exactly these bytes.
    pub(crate) fn after(&self, posting: &Posting, bytes: &[u8]) -> Self {
        let sign = match posting.side {
            Side::Debit => -1,
            Side::Credit => 1,
        };
        let chain = Sha256::new_with_prefix(self.chain).chain_update(bytes).finalize();
        Self {
            n: self.n + 1,
            balance: self.balance.wrapping_add(posting.amount.wrapping_mul(sign)),
            chain: chain.into(),
        }
    }

    /// Reads an output record's value.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, String> {
        let json: AccountJson<'_> =
            serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let digits = json.chain.as_bytes();
        if digits.len() != 64 {
            return Err(format!("its chain has {} digits", digits.len()));
        }
        let mut chain = [0; 32];
        for (byte, pair) in chain.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                *byte = (*byte << 4) | hex(digit)?;
            }
        }
        Ok(Self { n: json.n, balance: json.balance, chain })
    }
}

fn hex(digit: u8) -> Result<u8, String> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err("its chain is not lower-case hex".to_owned()),
    }
}

/// The partition that Kafka's Java client gives a key (`toPositive(murmur2(key)) % partitions`).
pub(crate) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = (murmur2(key) & 0x7fff_ffff) as i32;
    positive % partitions.max(1)
}

/// `org.apache.kafka.common.utils.Utils.murmur2`, written down anew from its definition.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let mut h = 0x9747_b28c_u32 ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        h = h.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    let mut last = [0; 4];
    if let Some(filled) = last.get_mut(..tail.len())
        && !tail.is_empty()
    {
        filled.copy_from_slice(tail);
        h = (h ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_javas_values() {
        assert_eq!(murmur2(b"kafka"), 0xd067_cf64);
        assert_eq!(murmur2(b"giberish123456789"), 0x8f55_2b0c);
        assert_eq!(murmur2(b"1234"), 0x9fc9_7b14);
        assert_eq!(murmur2(b""), 0x106e_08d9);
    }

    #[test]
    fn an_account_is_the_hash_chain_over_its_postings() {
        let bytes = br#"{"transfer":17,"side":"debit","amount":250}"#;
        let posting: Posting = serde_json::from_slice(bytes).unwrap();
        let account = Account::default().after(&posting, bytes);
        assert_eq!((account.n, account.balance), (1, -250));
        // Computed with coreutils: (head -c 32 /dev/zero; printf '...') | sha256sum
        let expected = CHAIN_OF_THE_README;
        let value = format!(r#"{{"n":1,"balance":-250,"chain":"{expected}"}}"#);
        assert_eq!(Account::parse(value.as_bytes()), Ok(account));
    }

    const CHAIN_OF_THE_README: &str =
        "2927a400e6d28a469b221a58757821d3e1e58a2303cb6c7edaf97ab345618c8e";

    #[test]
    fn damaged_output_is_refused() {
        let short = format!(r#"{{"n":1,"balance":0,"chain":"{}"}}"#, "a".repeat(63));
        assert!(Account::parse(short.as_bytes()).unwrap_err().contains("63 digits"));
        let upper = format!(r#"{{"n":1,"balance":0,"chain":"{}"}}"#, "A".repeat(64));
        assert!(Account::parse(upper.as_bytes()).unwrap_err().contains("lower-case"));
        assert!(Account::parse(b"{}").is_err());
    }
}
