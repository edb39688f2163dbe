//! Merges the layers of a task's state in key order.
//!
//! Owns the rule that a younger change hides an older one, and a delete what it deletes. Knows
//! nothing of what values mean.

use std::{collections::BTreeMap, iter};

use crate::state::{ByteStore, Entry, StateError, overlay::Overlay};

/// The live entries with `from <= key < to` over `overlays`, the oldest first, above `store`.
pub(crate) fn merged<'a>(
    overlays: impl Iterator<Item = &'a Overlay>,
    store: &'a dyn ByteStore,
    from: &'a [u8],
    to: Option<&'a [u8]>,
) -> impl Iterator<Item = Result<Entry, StateError>> + 'a {
    let mut changes = BTreeMap::new();
    for overlay in overlays {
        changes.extend(overlay.range(from, to));
    }
    let mut changes = changes.into_iter().peekable();
    let mut stored = store.scan(from, to).peekable();
    let changed =
        |key: &[u8], change: Option<&[u8]>| change.map(|v| Ok((key.to_vec(), v.to_vec())));
    iter::from_fn(move || {
        loop {
            let next = match (changes.peek(), stored.peek()) {
                (_, Some(Err(_))) | (None, _) => return stored.next(),
                (Some((key, _)), Some(Ok((below, _)))) if *key > &below[..] => {
                    return stored.next();
                }
                (Some((key, _)), Some(Ok((below, _)))) if *key == &below[..] => {
                    stored.next();
                    changes.next()
                }
                _ => changes.next(),
            };
            // A deleted key: on to the next one.
            if let Some(live) = next.and_then(|(key, change)| changed(key, change)) {
                return Some(live);
            }
        }
    })
}
