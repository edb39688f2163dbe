//! The declaration of an input.

use std::sync::Arc;

use crate::{formats::Codec, operators::ErrorPolicy, topology::StartFrom};

/// A topic to be read, and how.
pub struct Source<K, V> {
    pub(super) topic: String,
    pub(super) key: Arc<dyn Codec<K>>,
    pub(super) value: Arc<dyn Codec<V>>,
    pub(super) start: StartFrom,
    pub(super) on_error: Option<ErrorPolicy>,
}

impl<K, V> Source<K, V> {
    /// A topic with these codecs, read from its first record on when nothing is committed yet.
    pub fn new(
        topic: impl Into<String>,
        key: impl Codec<K> + 'static,
        value: impl Codec<V> + 'static,
    ) -> Self {
        Self {
            topic: topic.into(),
            key: Arc::new(key),
            value: Arc::new(value),
            start: StartFrom::Earliest,
            on_error: None,
        }
    }

    /// Where to start when nothing is committed yet.
    #[must_use]
    pub fn start(mut self, start: StartFrom) -> Self {
        self.start = start;
        self
    }

    /// What to do with records that cannot be decoded; else the topology's default.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.on_error = Some(policy);
        self
    }
}
