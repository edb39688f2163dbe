//! `aggregate`: folds the values of a key into a value of another type.

/// The function that folds, for [`crate::operators::Fold`]: `initial` makes the value of a key
/// that has none yet.
pub fn aggregate<K, V, A, E>(
    initial: impl Fn() -> A,
    fold: impl Fn(&K, V, &mut A) -> Result<(), E>,
) -> impl Fn(&K, V, &mut Option<A>) -> Result<(), E> {
    move |key, value, slot| fold(key, value, slot.get_or_insert_with(&initial))
}
