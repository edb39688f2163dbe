//! How keys of stores lie in a task's byte store and changelog.
//!
//! A key is `store id (u16) | key group (u16) | user key, escaped and terminated | namespace`, a
//! timer's is `store id | key group | time | user key, escaped and terminated`; numbers are big
//! endian, so that the byte order is the order of the parts. Store id 0 is the engine's own. Must
//! never change what it writes: stored bytes and changelogs depend on it.

use crate::{record::Timestamp, state::KeyGroup};

/// The store id that no user's store gets: the engine's own records lie there.
pub const ENGINE_STORE: u16 = 0;

/// The key of the catalogue record, in changelog and byte store.
pub const CATALOGUE_KEY: &[u8] = b"\0\0\0\0catalogue";

/// The key of the epoch marker, in the changelog only.
pub const MARKER_KEY: &[u8] = b"\0\0\0\0epoch";

/// The key under which a byte store may keep its positions; never in a changelog, never an entry.
pub const POSITIONS_KEY: &[u8] = b"\0\0\0\0positions";

/// A zero byte of a user key is followed by this; the terminator is two zero bytes. Since no
/// escaped key holds two zero bytes in a row, none is a prefix of another, and since the
/// terminator is smaller than every continuation, order is kept.
const ESCAPE: u8 = 0xff;

/// Bytes before the user key or the time: store id and key group.
pub(crate) const PREFIX: usize = 4;

/// The parts of a store key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreKey<'a> {
    /// The store's id.
    pub store: u16,
    /// The key group of the user key.
    pub group: KeyGroup,
    /// The user key.
    pub user_key: Vec<u8>,
    /// What follows the user key: window, list index, map key.
    pub namespace: &'a [u8],
}

/// The parts of a timer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerKey {
    /// The store's id.
    pub store: u16,
    /// The key group of the user key.
    pub group: KeyGroup,
    /// When it is due.
    pub time: Timestamp,
    /// The user key.
    pub user_key: Vec<u8>,
}

/// Bytes that are no key of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} bytes are no state key: {reason}", .key.len())]
pub struct KeyError {
    /// The bytes.
    pub key: Vec<u8>,
    /// What does not fit.
    pub reason: &'static str,
}

/// Appends a store key to `out`.
pub fn encode_key(
    store: u16,
    group: KeyGroup,
    user_key: &[u8],
    namespace: &[u8],
    out: &mut Vec<u8>,
) {
    encode_prefix(store, group, out);
    escape(user_key, out);
    out.extend_from_slice(namespace);
}

/// Reads a store key. Errors: too short, or the user key is not terminated.
pub fn decode_key(key: &[u8]) -> Result<StoreKey<'_>, KeyError> {
    let wrong = |reason| KeyError { key: key.to_vec(), reason };
    let (store, group, rest) = decode_prefix(key).ok_or_else(|| wrong("no store id"))?;
    let (user_key, namespace) =
        unescape(rest).ok_or_else(|| wrong("the user key is not terminated"))?;
    Ok(StoreKey { store, group, user_key, namespace })
}

/// Appends a timer's key to `out`.
pub fn encode_timer_key(
    store: u16,
    group: KeyGroup,
    time: Timestamp,
    user_key: &[u8],
    out: &mut Vec<u8>,
) {
    encode_prefix(store, group, out);
    // Flipping the sign bit orders negative times before positive ones.
    out.extend_from_slice(&((time.0 as u64) ^ (1 << 63)).to_be_bytes());
    escape(user_key, out);
}

/// Reads a timer's key. Errors: too short, or the user key does not end where the key ends.
pub fn decode_timer_key(key: &[u8]) -> Result<TimerKey, KeyError> {
    let wrong = |reason| KeyError { key: key.to_vec(), reason };
    let (store, group, rest) = decode_prefix(key).ok_or_else(|| wrong("no store id"))?;
    let (time, rest) = rest.split_first_chunk::<8>().ok_or_else(|| wrong("no time"))?;
    let time = Timestamp((u64::from_be_bytes(*time) ^ (1 << 63)) as i64);
    match unescape(rest) {
        Some((user_key, [])) => Ok(TimerKey { store, group, time, user_key }),
        Some(_) => Err(wrong("bytes behind the user key")),
        None => Err(wrong("the user key is not terminated")),
    }
}

/// The store id that a key begins with; `None` for bytes that are no key.
pub fn store_of(key: &[u8]) -> Option<u16> {
    key.first_chunk::<2>().map(|id| u16::from_be_bytes(*id))
}

/// The bounds of all keys of a store, for `scan`: `from <= key < to`.
pub fn store_range(store: u16) -> (Vec<u8>, Option<Vec<u8>>) {
    let to = store.checked_add(1).map(|next| next.to_be_bytes().to_vec());
    (store.to_be_bytes().to_vec(), to)
}

/// The bounds of all keys that share a user key, for `scan`: every namespace of it.
pub fn user_key_range(store: u16, group: KeyGroup, user_key: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut from = Vec::with_capacity(PREFIX + user_key.len() + 2);
    encode_key(store, group, user_key, &[], &mut from);
    // The terminator's last zero byte becomes one: behind every namespace, before the next key
    // (whose bytes there are 0x00 0xff or larger than 0x00).
    let mut to = from.clone();
    if let Some(last) = to.last_mut() {
        *last = 1;
    }
    (from, Some(to))
}

fn encode_prefix(store: u16, group: KeyGroup, out: &mut Vec<u8>) {
    out.extend_from_slice(&store.to_be_bytes());
    out.extend_from_slice(&group.0.to_be_bytes());
}

fn decode_prefix(key: &[u8]) -> Option<(u16, KeyGroup, &[u8])> {
    let (store, rest) = key.split_first_chunk::<2>()?;
    let (group, rest) = rest.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*store), KeyGroup(u16::from_be_bytes(*group)), rest))
}

fn escape(user_key: &[u8], out: &mut Vec<u8>) {
    if !user_key.contains(&0) {
        out.extend_from_slice(user_key);
        return out.extend_from_slice(&[0, 0]);
    }
    let mut parts = user_key.split(|byte| *byte == 0);
    if let Some(first) = parts.next() {
        out.extend_from_slice(first);
    }
    for part in parts {
        out.extend_from_slice(&[0, ESCAPE]);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&[0, 0]);
}

/// The user key and what follows its terminator.
fn unescape(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut user_key = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        let (plain, tail) = rest.split_at_checked(zero)?;
        user_key.extend_from_slice(plain);
        match tail {
            [0, 0, namespace @ ..] => return Some((user_key, namespace)),
            [0, ESCAPE, more @ ..] => {
                user_key.push(0);
                rest = more;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes in which zeros, ones and 0xff are frequent: where escaping can go wrong.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), Just(0xfe), any::<u8>()];
        proptest::collection::vec(byte, 0..8)
    }

    fn encoded(parts: &(u16, u16, Vec<u8>, Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(parts.0, KeyGroup(parts.1), &parts.2, &parts.3, &mut out);
        out
    }

    fn encoded_timer(parts: &(u16, u16, i64, Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode_timer_key(parts.0, KeyGroup(parts.1), Timestamp(parts.2), &parts.3, &mut out);
        out
    }

    proptest! {
        #[test]
        fn keys_come_back_and_keep_their_order(
            a in (0u16..3, 0u16..3, bytes(), bytes()),
            b in (0u16..3, 0u16..3, bytes(), bytes()),
        ) {
            let (key_a, key_b) = (encoded(&a), encoded(&b));
            let parts = decode_key(&key_a).unwrap();
            prop_assert_eq!(
                (parts.store, parts.group.0, parts.user_key, parts.namespace.to_vec()), a.clone());
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        }

        #[test]
        fn no_key_without_namespace_is_a_prefix_of_another(a in bytes(), b in bytes()) {
            let (key_a, key_b) =
                (encoded(&(1, 1, a.clone(), vec![])), encoded(&(1, 1, b.clone(), vec![])));
            prop_assert_eq!(key_b.starts_with(&key_a), a == b);
        }

        #[test]
        fn timer_keys_come_back_and_keep_their_order(
            a in (0u16..3, 0u16..3, prop_oneof![-2i64..3, any::<i64>()], bytes()),
            b in (0u16..3, 0u16..3, prop_oneof![-2i64..3, any::<i64>()], bytes()),
        ) {
            let (key_a, key_b) = (encoded_timer(&a), encoded_timer(&b));
            let parts = decode_timer_key(&key_a).unwrap();
            prop_assert_eq!(
                (parts.store, parts.group.0, parts.time.0, parts.user_key), a.clone());
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        }

        #[test]
        fn ranges_hold_exactly_their_keys(
            one in (0u16..3, 0u16..2, bytes(), bytes()),
            other in (0u16..3, 0u16..2, bytes(), bytes()),
        ) {
            let key = encoded(&other);
            let within = |(from, to): (Vec<u8>, Option<Vec<u8>>)| {
                from <= key && to.is_none_or(|to| key < to)
            };
            prop_assert_eq!(within(store_range(one.0)), one.0 == other.0);
            prop_assert_eq!(
                within(user_key_range(one.0, KeyGroup(one.1), &one.2)),
                (one.0, one.1, &one.2) == (other.0, other.1, &other.2)
            );
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(key in bytes()) {
            if let Ok(parts) = decode_key(&key) {
                let parts = (parts.store, parts.group.0, parts.user_key, parts.namespace.to_vec());
                prop_assert_eq!(encoded(&parts), key.clone());
            }
            if let Ok(parts) = decode_timer_key(&key) {
                let parts = (parts.store, parts.group.0, parts.time.0, parts.user_key);
                prop_assert_eq!(encoded_timer(&parts), key);
            }
        }
    }

    #[test]
    fn the_last_store_has_no_upper_bound() {
        assert_eq!(store_range(u16::MAX), (vec![0xff, 0xff], None));
    }
}
