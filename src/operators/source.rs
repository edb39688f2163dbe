//! The head of a chain: bytes of a topic become typed elements.

use std::sync::Arc;

use crate::{
    formats::{Codec, CodecError},
    operators::{Data, Element, OperatorError, Outlet, ReceiveRecord, StepPolicy, TaskContext},
    record::{RecordRef, Timestamp},
};

/// Takes an element's timestamp from its key and value; `None` leaves the record's.
pub type TimestampOf<K, V> = Arc<dyn Fn(&K, &V) -> Option<Timestamp> + Send + Sync>;

/// Decodes key and value; a record that cannot be decoded (a poison record) follows the policy.
pub struct Source<K, V> {
    step: StepPolicy,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
    timestamps: Option<TimestampOf<K, V>>,
    next: Outlet<K, V>,
}

impl<K: Data, V: Data> Source<K, V> {
    /// A source that decodes with these codecs.
    pub fn new(
        step: StepPolicy,
        key: Arc<dyn Codec<K>>,
        value: Arc<dyn Codec<V>>,
        next: Outlet<K, V>,
    ) -> Self {
        Self { step, key, value, timestamps: None, next }
    }

    /// With timestamps from what was decoded, where a function is given.
    #[must_use]
    pub fn timestamps(self, timestamps: Option<TimestampOf<K, V>>) -> Self {
        Self { timestamps, ..self }
    }
}

fn decode<T>(codec: &dyn Codec<T>, bytes: Option<&[u8]>) -> Result<T, CodecError> {
    bytes.map_or_else(|| codec.decode_null(), |bytes| codec.decode(bytes))
}

impl<K: Data, V: Data> ReceiveRecord for Source<K, V> {
    fn receive(
        &mut self,
        record: &RecordRef<'_>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let key = match decode(&*self.key, record.key) {
            Ok(key) => key,
            Err(error) => {
                return self.step.refuse(format_args!("cannot decode the key: {error}"), ctx);
            }
        };
        let value = match decode(&*self.value, record.value) {
            Ok(value) => value,
            Err(error) => {
                return self.step.refuse(format_args!("cannot decode the value: {error}"), ctx);
            }
        };
        let own = self.timestamps.as_ref().and_then(|of| of(&key, &value));
        let timestamp = own.unwrap_or(record.timestamp);
        ctx.event_time = Some(timestamp);
        let element = Element { key, value, timestamp, headers: record.headers };
        self.next.push(element, ctx)
    }
}
