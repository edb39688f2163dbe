//! `table`: the latest value of each key of a topic.

use std::convert::Infallible;

/// Takes the row as the key's value; null deletes. For [`Fold`](crate::operators::Fold).
pub fn latest<K, V>(_: &K, row: Option<V>, value: &mut Option<V>) -> Result<(), Infallible> {
    *value = row;
    Ok(())
}
