//! Offset commits of a member, submitted and answered on a queue of their own.

use std::{ffi::c_void, sync::Arc};

use rdkafka_sys as sys;

use super::{
    ask::Answer,
    client::Client,
    error::{Error, code, code_text},
    partition_list::{self, PartitionList},
    queue::Queue,
    wake::Wake,
};

/// Commits offsets with the consumer's own membership; never waits.
pub(in crate::kafka) struct Committer {
    queue: Queue,
    client: Arc<Client>,
}

impl Committer {
    pub(super) fn new(client: &Arc<Client>, wake: &Arc<Wake>) -> Self {
        // SAFETY: the handle is alive; the new queue is given to its owner.
        let mut queue = unsafe { Queue::own(sys::rd_kafka_queue_new(client.raw()), client) };
        queue.wakes(wake);
        Self { queue, client: client.clone() }
    }

    /// Commits; the answer comes with this id.
    pub(in crate::kafka) fn commit(&self, list: &PartitionList, id: u64) -> Result<(), Error> {
        let opaque = std::ptr::without_provenance_mut::<c_void>(id as usize);
        // SAFETY: handle, list and queue are alive; the list is copied. The opaque value is a
        // number, which nobody follows.
        let response = unsafe {
            sys::rd_kafka_commit_queue(
                self.client.raw(),
                list.raw(),
                self.queue.raw(),
                None,
                opaque,
            )
        };
        Error::check(response)
    }

    /// The answers that have arrived.
    pub(in crate::kafka) fn answers(&self) -> Vec<(u64, Result<(), Error>)> {
        let mut answers = vec![];
        loop {
            // SAFETY: the queue is alive; the event is owned from here on.
            let raw = unsafe { sys::rd_kafka_queue_poll(self.queue.raw(), 0) };
            if raw.is_null() {
                return answers;
            }
            let event = Answer::own(raw);
            // SAFETY: the event is alive; the list belongs to it and is only read.
            let (kind, id, errors) = unsafe {
                let kind = sys::rd_kafka_event_type(event.raw());
                let list = sys::rd_kafka_event_topic_partition_list(event.raw());
                let id = sys::rd_kafka_event_opaque(event.raw());
                (kind, id.addr() as u64, partition_list::committed(list))
            };
            if kind != sys::RD_KAFKA_EVENT_OFFSET_COMMIT {
                continue;
            }
            let refused = errors.into_iter().find(|(_, error)| *error != code::OK);
            let result = event.error().and_then(|()| match refused {
                Some((offset, error)) => {
                    Err(Error::new(error, format!("{}: {}", offset.partition, code_text(error))))
                }
                None => Ok(()),
            });
            answers.push((id, result));
        }
    }
}
