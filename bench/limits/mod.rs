//! The limit ladder: what librdkafka alone allows for the same work (L1, L2, L3, L4).

mod ladder;
mod raw;
mod reader;
mod state;

pub(crate) use ladder::{Arguments, run};
pub(crate) use reader::read_all;
