//! The declaration of a repartition topic.

use std::sync::Arc;

use crate::formats::Codec;

/// A named repartition step: its topic is `<application>-<name>-repartition`.
pub struct Repartition<K, V> {
    pub(super) name: String,
    pub(super) key: Arc<dyn Codec<K>>,
    pub(super) value: Arc<dyn Codec<V>>,
    pub(super) partitions: Option<i32>,
}

impl<K, V> Repartition<K, V> {
    /// A step with this name and these codecs. Its topic gets as many partitions as the input
    /// with most partitions of what writes it.
    pub fn new(
        name: impl Into<String>,
        key: impl Codec<K> + 'static,
        value: impl Codec<V> + 'static,
    ) -> Self {
        Self { name: name.into(), key: Arc::new(key), value: Arc::new(value), partitions: None }
    }

    /// Declares the number of partitions. Cannot be changed later while state depends on it.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}
