//! `reduce`: combines the values of a key into one of the same type.

/// The function that combines, for [`crate::operators::Fold`]: the first value is taken as it is.
pub fn reduce<K, V, E>(
    combine: impl Fn(&K, V, V) -> Result<V, E>,
) -> impl Fn(&K, V, &mut Option<V>) -> Result<(), E> {
    move |key, value, slot| {
        let combined = match slot.take() {
            Some(before) => combine(key, before, value)?,
            None => value,
        };
        *slot = Some(combined);
        Ok(())
    }
}
