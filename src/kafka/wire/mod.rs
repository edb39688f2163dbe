//! A small, blocking client of Kafka's protocol for what librdkafka cannot do: stable offsets
//! with their reason, producers and transactions described, a fence that expects its victim.
//!
//! Fixed versions that brokers from 3.0 to 4.x have. Plain text only. Used on threads of its own,
//! never on a stream thread.

mod client;
mod connection;
mod groups;
mod offsets;
mod topics;
mod transactions;

pub(super) use client::WireClient;
pub(super) use connection::WireError;
pub(super) use topics::CreateTopic;
