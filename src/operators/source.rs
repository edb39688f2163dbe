//! The head of a chain: bytes of a topic become typed elements.

use std::sync::Arc;

use crate::{
    formats::{Codec, CodecError},
    operators::{Data, Element, OperatorError, Outlet, ReceiveRecord, StepPolicy, TaskContext},
    record::RecordRef,
};

/// Decodes key and value; a record that cannot be decoded (a poison record) follows the policy.
pub struct Source<K, V> {
    step: StepPolicy,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
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
        Self { step, key, value, next }
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
        let element = Element { key, value, timestamp: record.timestamp, headers: record.headers };
        self.next.push(element, ctx)
    }
}
