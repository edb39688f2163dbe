//! Books transfers between accounts: the topology that verification runs on.
//!
//! A transfer becomes two postings, and each account keeps a hash chain over its postings, so that
//! every single output record shows loss, duplication, reordering and stale state. The formats are
//! described in `README.md` beside this file, for a checker that shares no code with it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    dsl::{Repartition, Source, Topology, TopologyBuilder, TopologyError},
    formats::{Json, Unit, Utf8},
};

/// Read: JSON [`Transfer`]s; the key does not matter.
pub const TRANSFERS: &str = "transfers";

/// The partitions that `transfers` is made with.
pub const TRANSFERS_PARTITIONS: i32 = 8;

/// The repartition step: its topic is `<application>-postings-repartition`, keyed by account.
pub const POSTINGS: &str = "postings";

/// The partitions of the repartition topic: another number than that of `transfers`, so that
/// subtopologies have different tasks.
pub const POSTINGS_PARTITIONS: i32 = 6;

/// Written: every state of every account, keyed by account.
pub const BALANCES: &str = "balances";

/// Money on its way from one account to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Its number.
    pub id: u64,
    /// The account that pays.
    pub from: String,
    /// The account that receives.
    pub to: String,
    /// How much.
    pub amount: i64,
}

/// Which side of a transfer a posting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The account pays.
    Debit,
    /// The account receives.
    Credit,
}

/// One account's half of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posting {
    /// The transfer's number.
    pub transfer: u64,
    /// Which half.
    pub side: Side,
    /// How much.
    pub amount: i64,
}

/// An account after some number of postings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The number of postings.
    pub n: u64,
    /// Credits less debits.
    pub balance: i64,
    /// The hash chain over the postings, in order.
    pub chain: Chain,
}

/// A SHA-256, in JSON as 64 lower-case hex digits; all zero before the first posting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Serialize for Chain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.extend(DIGITS.get(usize::from(nibble)).map(|digit| char::from(*digit)));
            }
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = || serde::de::Error::custom("a chain is 64 hex digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        for (byte, start) in bytes.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(start..start + 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
        }
        Ok(Self(bytes))
    }
}

/// The topology.
pub fn topology() -> Result<Topology, TopologyError> {
    let postings =
        Repartition::new(POSTINGS, Utf8, Json::<Posting>::new()).partitions(POSTINGS_PARTITIONS);
    let builder = TopologyBuilder::new("ledger");
    builder
        .stream(Source::new(TRANSFERS, Unit, Json::<Transfer>::new()))
        .flat_map(|(), transfer| post(transfer))
        .repartition(postings)
        .group_by_key()
        .try_aggregate("accounts", Json::new(), Account::default, |_, posting, account| {
            book(&posting, account)
        })
        .updates()
        .to(BALANCES, Utf8, Json::new());
    builder.build()
}

/// Both postings of a transfer, the debit first.
fn post(transfer: Transfer) -> [(String, Posting); 2] {
    let Transfer { id, from, to, amount } = transfer;
    let posting = |side| Posting { transfer: id, side, amount };
    [(from, posting(Side::Debit)), (to, posting(Side::Credit))]
}

/// Books a posting; refuses one that would overflow the balance, before anything is changed.
fn book(posting: &Posting, account: &mut Account) -> Result<(), String> {
    let balance = match posting.side {
        Side::Debit => account.balance.checked_sub(posting.amount),
        Side::Credit => account.balance.checked_add(posting.amount),
    };
    let balance = balance.ok_or_else(|| {
        format!("transfer {}: the balance {} overflows", posting.transfer, account.balance)
    })?;
    // The same bytes as the posting's record has in the repartition topic.
    let bytes = serde_json::to_vec(posting).map_err(|error| error.to_string())?;
    let mut hash = Sha256::new();
    hash.update(account.chain.0);
    hash.update(&bytes);
    *account = Account { n: account.n + 1, balance, chain: Chain(hash.finalize().into()) };
    Ok(())
}
