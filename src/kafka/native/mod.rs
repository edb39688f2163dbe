//! A thin, safe layer over the parts of librdkafka that the data plane needs.
//!
//! The only unsafe code of the crate; every block says why it is sound. Nothing here decides
//! anything: it calls, converts, and owns what librdkafka gives out.
#![allow(unsafe_code)]

mod allocator;
mod ask;
mod batch;
mod client;
mod committer;
mod config;
mod consumer;
pub(in crate::kafka) mod describe;
mod error;
mod group_client;
mod partition_list;
mod producer;
mod queue;
mod record_buffer;
mod wake;

pub(in crate::kafka) use allocator::keep_less;
pub(in crate::kafka) use ask::{Handle, Met, drain_main_queue};
pub(in crate::kafka) use batch::{Batch, PartitionError};
pub(in crate::kafka) use client::{Rebalance, RebalanceKind};
pub(in crate::kafka) use committer::Committer;
pub(in crate::kafka) use config::Config;
pub(in crate::kafka) use consumer::Consumer;
pub(in crate::kafka) use error::{Error, code, code_name, code_text};
pub(in crate::kafka) use group_client::{Edge, GroupClient};
pub(in crate::kafka) use partition_list::PartitionList;
pub(in crate::kafka) use producer::{GroupIdentity, Producer, Report, TopicHandle};
pub(in crate::kafka) use record_buffer::{ProduceScratch, RecordBuffer};
pub(in crate::kafka) use wake::Wake;
