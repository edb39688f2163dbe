//! A consumer whose messages, errors and rebalances are served from one queue.

use std::{ffi::c_int, sync::Arc};

use rdkafka_sys as sys;

use super::{
    batch::{Batch, PartitionError, RunFilter, Wanted},
    client::{Client, ClientErrors, Rebalance},
    committer::Committer,
    config::Config,
    error::{Error, text},
    partition_list::PartitionList,
    queue::Queue,
    wake::Wake,
};
use crate::record::TopicName;

/// A consumer of a group, or of assigned partitions.
pub(in crate::kafka) struct Consumer {
    // Queues first: they go before the client.
    queue: Queue,
    closing: Option<Queue>,
    scratch: Vec<*mut sys::rd_kafka_message_t>,
    client: Arc<Client>,
}

// SAFETY: the scratch space holds no messages between calls; all else may be used anywhere.
unsafe impl Send for Consumer {}

struct Filter<W, K> {
    wanted: W,
    kept: K,
}

impl<W, K> RunFilter for Filter<W, K>
where
    W: FnMut(&str, i32) -> Option<(TopicName, i64)>,
    K: FnMut(i64),
{
    fn start(&mut self, topic: &str, partition: i32) -> Option<Wanted> {
        (self.wanted)(topic, partition).map(|(topic, from)| Wanted { topic, from })
    }

    fn kept(&mut self, offset: i64) {
        (self.kept)(offset);
    }
}

impl Consumer {
    /// A consumer that notifies `wake` when there is something to fetch or to serve.
    pub(in crate::kafka) fn new(config: Config, wake: &Arc<Wake>) -> Result<Self, Error> {
        let client = Arc::new(Client::consumer(config)?);
        // SAFETY: the handle is alive. Errors and statistics of the main queue go to the consumer
        // queue from here on, as batch consumers must do.
        let response = unsafe { sys::rd_kafka_poll_set_consumer(client.raw()) };
        Error::check(response)?;
        // SAFETY: the handle is alive; the reference is given to the `Queue`.
        let raw = unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) };
        if raw.is_null() {
            return Err(Error::new(-186, "a consumer needs a group.id"));
        }
        // SAFETY: just obtained from this client, and owned.
        let mut queue = unsafe { Queue::own(raw, &client) };
        queue.wakes(wake);
        Ok(Self { queue, closing: None, scratch: vec![], client })
    }

    /// An empty batch for [`Consumer::fetch`].
    pub(in crate::kafka) fn batch(&self) -> Batch {
        Batch::new(&self.client)
    }

    /// Serves the queue without waiting and appends at most `max` messages. Returns how many were
    /// taken off the queue: fewer than `max` means that it is empty. `wanted` says once per run of
    /// messages of one partition which are kept (the topic's shared name, the first offset), and
    /// `kept` hears the offset of each kept message.
    pub(in crate::kafka) fn fetch(
        &mut self,
        max: usize,
        batch: &mut Batch,
        errors: &mut Vec<PartitionError>,
        wanted: impl FnMut(&str, i32) -> Option<(TopicName, i64)>,
        kept: impl FnMut(i64),
    ) -> usize {
        self.scratch.resize(max, std::ptr::null_mut());
        let queue = self.closing.as_ref().unwrap_or(&self.queue);
        // SAFETY: the queue is alive, the array has room for `max` pointers.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(queue.raw(), 0, self.scratch.as_mut_ptr(), max)
        };
        let taken = usize::try_from(taken).unwrap_or(0).min(max);
        // SAFETY: the first `taken` entries were written by the call and are given away.
        unsafe { batch.take(&self.scratch[..taken], errors, &mut Filter { wanted, kept }) };
        taken
    }

    /// Messages that were fetched and not taken, and whatever else waits in the queue.
    pub(in crate::kafka) fn queued(&self) -> u64 {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.queue.raw()) as u64 }
    }

    /// Commits offsets with this consumer's membership.
    pub(in crate::kafka) fn committer(&self, wake: &Arc<Wake>) -> Committer {
        Committer::new(&self.client, wake)
    }

    /// Rebalances that wait for an answer, in order.
    pub(in crate::kafka) fn rebalances(&self) -> Vec<Rebalance> {
        self.client.take_rebalances()
    }

    /// Client-wide errors since the last call.
    pub(in crate::kafka) fn errors(&self) -> ClientErrors {
        self.client.take_errors()
    }

    /// The error that made the consumer unusable.
    pub(in crate::kafka) fn fatal_error(&self) -> Option<Error> {
        self.client.fatal_error()
    }

    /// Joins the group, or changes what is subscribed to.
    pub(in crate::kafka) fn subscribe(&self, topics: &[TopicName]) -> Result<(), Error> {
        let mut list = PartitionList::new(topics.len());
        for topic in topics {
            list.add(topic, -1, None, None)?;
        }
        // SAFETY: handle and list are alive; the list is copied.
        Error::check(unsafe { sys::rd_kafka_subscribe(self.client.raw(), list.raw()) })
    }

    /// Gives up the subscription: what is assigned is revoked, then the group is left.
    pub(in crate::kafka) fn unsubscribe(&self) -> Result<(), Error> {
        // SAFETY: the handle is alive.
        Error::check(unsafe { sys::rd_kafka_unsubscribe(self.client.raw()) })
    }

    /// Reads these partitions too, and acknowledges an assignment that waits.
    pub(in crate::kafka) fn incremental_assign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: handle and list are alive; the list is copied, the error is taken over.
        unsafe { Error::take(sys::rd_kafka_incremental_assign(self.client.raw(), list.raw())) }
    }

    /// Reads these partitions no more, and acknowledges a revocation that waits. When it returns,
    /// their fetchers have stopped and none is paused: they may be assigned again at once.
    ///
    /// Nothing else unassigns, because it must not be done without waiting: librdkafka stops a
    /// fetcher some time after the call, and until then an assign of any partition is put off, so
    /// that a pause or a seek can overtake its start, which then never happens. `rd_kafka_assign`
    /// with another list is worse: repeated in time it stops a fetcher twice, which violates an
    /// assertion and ends the process (ADR 0011).
    pub(in crate::kafka) fn incremental_unassign(&self, list: &PartitionList) -> Result<(), Error> {
        self.start_unassign(list)?;
        if list.is_empty() {
            // Nothing stops. And a consumer that closes may answer no more questions.
            return Ok(());
        }
        // librdkafka's main thread serves one queue in order. The first answer comes after the
        // orders to stop, whose replies are then in the queue; the second one after these.
        self.ask_main_thread();
        self.ask_main_thread();
        // A pause outlives the assignment.
        self.resume(list)
    }

    fn start_unassign(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: as for `incremental_assign`.
        unsafe { Error::take(sys::rd_kafka_incremental_unassign(self.client.raw(), list.raw())) }
    }

    /// Waits until librdkafka's main thread has done what it was asked before.
    fn ask_main_thread(&self) {
        let mut assignment = std::ptr::null_mut();
        // SAFETY: the handle is alive; the list that the call writes is owned and destroyed once.
        unsafe {
            let _nothing_to_learn =
                sys::rd_kafka_assignment(self.client.raw(), &raw mut assignment);
            if !assignment.is_null() {
                sys::rd_kafka_topic_partition_list_destroy(assignment);
            }
        }
    }

    /// Reads on from the list's offsets; errors per partition are in the list afterwards. Waits
    /// for librdkafka's main thread only, not for a broker.
    pub(in crate::kafka) fn seek(&self, list: &PartitionList) -> Result<(), Error> {
        const TIMEOUT_MS: c_int = 1_000;
        // SAFETY: as for `incremental_assign`; the call writes errors into the list.
        unsafe {
            Error::take(sys::rd_kafka_seek_partitions(self.client.raw(), list.raw(), TIMEOUT_MS))
        }
    }

    /// Stops fetching and drops what is queued of these partitions.
    pub(in crate::kafka) fn pause(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: handle and list are alive; the call writes errors into the list.
        Error::check(unsafe { sys::rd_kafka_pause_partitions(self.client.raw(), list.raw()) })
    }

    /// Fetches these partitions again.
    pub(in crate::kafka) fn resume(&self, list: &PartitionList) -> Result<(), Error> {
        // SAFETY: as for `pause`.
        Error::check(unsafe { sys::rd_kafka_resume_partitions(self.client.raw(), list.raw()) })
    }

    /// Generation and member id, as they are now (-1 and empty before joining).
    pub(in crate::kafka) fn group_metadata(&self) -> Option<(i32, String)> {
        // SAFETY: the handle is alive; the object is owned, read, and destroyed once; the member
        // id belongs to it and is copied before.
        unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(self.client.raw());
            if metadata.is_null() {
                return None;
            }
            let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
            let member = text(sys::rd_kafka_consumer_group_metadata_member_id(metadata));
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            Some((generation, member))
        }
    }

    /// Starts to close; what is left to serve comes out of `fetch` until `is_closed`.
    pub(in crate::kafka) fn start_close(&mut self, wake: &Arc<Wake>) -> Result<(), Error> {
        // SAFETY: the handle is alive; the new queue is owned.
        let mut queue = unsafe {
            let raw = sys::rd_kafka_queue_new(self.client.raw());
            Queue::own(raw, &self.client)
        };
        queue.wakes(wake);
        // SAFETY: handle and queue are alive; the queue is kept until the consumer is dropped.
        let result = unsafe {
            Error::take(sys::rd_kafka_consumer_close_queue(self.client.raw(), queue.raw()))
        };
        self.closing = Some(queue);
        result
    }

    /// Whether a started close has come to its end.
    pub(in crate::kafka) fn is_closed(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { sys::rd_kafka_consumer_closed(self.client.raw()) != 0 }
    }
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
