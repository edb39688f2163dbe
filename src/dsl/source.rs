//! The declaration of an input.

use std::sync::Arc;

use crate::{
    formats::Codec,
    operators::{ErrorPolicy, TimestampOf},
    record::Timestamp,
    time::WatermarkStrategy,
    topology::StartFrom,
};

/// A topic to be read, and how.
pub struct Source<K, V> {
    pub(super) topic: String,
    pub(super) key: Arc<dyn Codec<K>>,
    pub(super) value: Arc<dyn Codec<V>>,
    pub(super) start: StartFrom,
    pub(super) on_error: Option<ErrorPolicy>,
    pub(super) timestamps: Option<TimestampOf<K, V>>,
    pub(super) watermarks: Option<WatermarkStrategy>,
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
            timestamps: None,
            watermarks: None,
        }
    }

    /// Takes timestamps from what was decoded instead of from the record: of key and value, in
    /// milliseconds since 1970-01-01 UTC. It is the element's timestamp from here on, and the
    /// records' that come of it. A negative one is none: it makes no watermark.
    #[must_use]
    pub fn timestamps(mut self, of: impl Fn(&K, &V) -> Timestamp + Send + Sync + 'static) -> Self {
        self.timestamps = Some(Arc::new(move |key, value| Some(of(key, value))));
        self
    }

    /// Declares the order of timestamps within each partition. Tasks have a watermark, and timers
    /// in event time fire, where every topic that leads to them declares one; a partition that
    /// has had no record yet holds the watermark back.
    #[must_use]
    pub fn watermarks(mut self, strategy: WatermarkStrategy) -> Self {
        self.watermarks = Some(strategy);
        self
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
