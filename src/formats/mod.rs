//! Bytes ⇄ values: codecs for keys, values and state.

mod codec;
mod integer;
mod json;
mod nullable;
mod raw;
mod unit;
mod utf8;

pub use codec::{Codec, CodecError};
pub use integer::{I32, I64, U32, U64};
pub use json::Json;
pub use nullable::Nullable;
pub use raw::Bytes;
pub use unit::Unit;
pub use utf8::Utf8;
