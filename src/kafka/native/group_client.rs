//! A group's committed offsets and the bounds of partitions, asked for beside any consumption.
//!
//! The client is a consumer that never subscribes, not the safe crate's admin client, which is a
//! producer: librdkafka 2.12 follows a null pointer when a producer asks for a group's offsets and
//! the coordinator has moved (`rd_kafka_handle_OffsetFetch` tells the client's own group).

use std::{ffi::CString, time::Duration};

use rdkafka_sys as sys;

use super::{
    ask::{Handle, ask, part_error, results},
    client::{Client, ClientErrors},
    config::Config,
    describe::not_understood,
    error::Error,
    partition_list::{self, PartitionList},
};
use crate::{
    record::{Offset, TopicPartition},
    runtime::{CommittedOffset, Isolation},
};

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum Edge {
    /// The first record that still exists.
    Start,
    /// Where a reader of this isolation stops.
    End(Isolation),
}

/// An answer about each partition: the offset, or the broker's code.
pub(in crate::kafka) type Edges = Vec<(TopicPartition, Result<Offset, i32>)>;

/// A client that asks on behalf of a group without being in it. Any thread may ask.
pub(in crate::kafka) struct GroupClient {
    client: Client,
}

impl GroupClient {
    /// A client; the configuration names the group. It connects in the background.
    pub(in crate::kafka) fn new(config: Config) -> Result<Self, Error> {
        Client::consumer(config).map(|client| Self { client })
    }

    /// What other questions can be asked through.
    pub(in crate::kafka) fn handle(&self) -> Handle<'_> {
        Handle::of(&self.client)
    }

    /// Client-wide errors since the last call.
    pub(in crate::kafka) fn errors(&self) -> ClientErrors {
        // SAFETY: the handle is alive. Errors lie on the main queue, which nobody else serves.
        unsafe { sys::rd_kafka_poll(self.client.raw(), 0) };
        self.client.take_errors()
    }

    /// The group's committed offsets, one answer per partition that the coordinator knows. Where
    /// `stable` ones are wanted (only a mutant wants others), an open transaction on a partition
    /// is that partition's error at once: of librdkafka's ways to ask this is the only one that
    /// does not ask again by itself until its time is over.
    pub(in crate::kafka) fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
        stable: bool,
        timeout: Duration,
    ) -> Result<Vec<(CommittedOffset, i32)>, Error> {
        let name = CString::new(group)
            .map_err(|_| Error::new(-186, format!("group {group:?} contains a NUL")))?;
        let list = PartitionList::of(partitions)?;
        let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let answer = ask(self.handle(), api, timeout, |options, queue| {
            if stable {
                options.require_stable()?;
            }
            // SAFETY: name and list are alive and copied into the question, which is copied into
            // the request and destroyed once; handle, options and queue are alive.
            unsafe {
                let mut question =
                    sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list.raw());
                sys::rd_kafka_ListConsumerGroupOffsets(
                    self.client.raw(),
                    &raw mut question,
                    1,
                    options.raw(),
                    queue.raw(),
                );
                sys::rd_kafka_ListConsumerGroupOffsets_destroy(question);
            }
            Ok(())
        })?;
        // SAFETY: the answer is of this kind (the only request on its queue), owns all that is
        // read here, and outlives it.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(answer.raw());
            if result.is_null() {
                return Err(not_understood());
            }
            let mut count = 0;
            let array =
                sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
            let group = results(array, count).first().copied().ok_or_else(not_understood)?;
            part_error(sys::rd_kafka_group_result_error(group))?;
            let list = sys::rd_kafka_group_result_partitions(group);
            Ok(partition_list::committed(list))
        }
    }

    /// One edge of each partition.
    pub(in crate::kafka) fn edges(
        &self,
        partitions: &[TopicPartition],
        edge: Edge,
        timeout: Duration,
    ) -> Result<Edges, Error> {
        use sys::rd_kafka_IsolationLevel_t as Level;
        let (spec, level) = match edge {
            Edge::Start => (EARLIEST, Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
            Edge::End(Isolation::ReadUncommitted) => {
                (LATEST, Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED)
            }
            Edge::End(Isolation::ReadCommitted) => {
                (LATEST, Level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED)
            }
        };
        let mut list = PartitionList::new(partitions.len());
        for partition in partitions {
            list.add(&partition.topic, partition.partition, Some(spec), None)?;
        }
        let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let answer = ask(self.handle(), api, timeout, |options, queue| {
            options.isolation(level)?;
            // SAFETY: the list is alive and copied; handle, options and queue are alive.
            unsafe {
                sys::rd_kafka_ListOffsets(
                    self.client.raw(),
                    list.raw(),
                    options.raw(),
                    queue.raw(),
                );
            }
            Ok(())
        })?;
        // SAFETY: as in `committed`.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(answer.raw());
            if result.is_null() {
                return Err(not_understood());
            }
            let mut count = 0;
            let array = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            Ok(results(array, count)
                .iter()
                .map(|info| {
                    let element = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
                    partition_list::offset_or_error(element)
                })
                .collect())
        }
    }
}

const EARLIEST: Offset = Offset(-2);
const LATEST: Offset = Offset(-1);
