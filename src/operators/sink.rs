//! The end of a chain: typed elements become bytes for a topic.

use std::sync::Arc;

use crate::{
    formats::{Codec, CodecError},
    operators::{
        Data, Element, Emitted, OperatorError, Receive, SinkIndex, StepPolicy, TaskContext,
    },
};

/// Encodes key and value and emits them. What cannot be encoded, or would be refused by the
/// target topic, follows the policy.
pub struct Sink<K, V> {
    step: StepPolicy,
    index: SinkIndex,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
    keyed: bool,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K: Data, V: Data> Sink<K, V> {
    /// A sink of the subtopology. With `keyed` the key chooses the partition of a topic that
    /// state depends on: then it is always written as bytes, never as null.
    pub fn new(
        step: StepPolicy,
        index: SinkIndex,
        key: Arc<dyn Codec<K>>,
        value: Arc<dyn Codec<V>>,
        keyed: bool,
    ) -> Self {
        Self { step, index, key, value, keyed, key_bytes: Vec::new(), value_bytes: Vec::new() }
    }
}

/// Encodes into a cleared buffer; `None` for null.
fn encode<'b, T>(
    codec: &dyn Codec<T>,
    value: &T,
    keyed: bool,
    buffer: &'b mut Vec<u8>,
) -> Result<Option<&'b [u8]>, CodecError> {
    buffer.clear();
    if !keyed && codec.is_null(value) {
        return Ok(None);
    }
    codec.encode(value, buffer)?;
    Ok(Some(buffer))
}

impl<K: Data, V: Data> Receive<K, V> for Sink<K, V> {
    fn receive(
        &mut self,
        element: Element<'_, K, V>,
        ctx: &mut TaskContext<'_>,
    ) -> Result<(), OperatorError> {
        let key = match encode(&*self.key, &element.key, self.keyed, &mut self.key_bytes) {
            Ok(key) => key,
            Err(error) => {
                return self.step.refuse(format_args!("cannot encode the key: {error}"), ctx);
            }
        };
        let value = match encode(&*self.value, &element.value, false, &mut self.value_bytes) {
            Ok(value) => value,
            Err(error) => {
                return self.step.refuse(format_args!("cannot encode the value: {error}"), ctx);
            }
        };
        let emitted = Emitted {
            key,
            value,
            timestamp: element.timestamp,
            headers: element.headers,
            partition: None,
        };
        match ctx.output.emit(self.index, emitted) {
            Ok(()) => Ok(()),
            Err(refused) => self.step.refuse(refused, ctx),
        }
    }
}
