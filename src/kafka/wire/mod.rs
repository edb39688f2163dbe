//! A small, blocking client of Kafka's protocol for what librdkafka cannot do: producers
//! and transactions described, a fence that expects its victim, a rebalance on demand.
//!
//! Fixed versions that brokers from 3.0 to 4.x have. Plain text only. Used on threads of its own,
//! never on a stream thread.

mod client;
mod connection;
mod groups;
mod transactions;

pub(super) use client::WireClient;
