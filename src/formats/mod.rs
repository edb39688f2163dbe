//! Bytes ⇄ values: codecs for keys, values and state.

mod codec;

pub use codec::{Codec, CodecError};
