//! librdkafka's list of partitions with offsets.

use std::ffi::{CStr, CString};

use rdkafka_sys as sys;

use super::error::Error;
use crate::{
    record::{Offset, TopicPartition},
    runtime::CommittedOffset,
};

/// An owned list.
pub(in crate::kafka) struct PartitionList {
    raw: *mut sys::rd_kafka_topic_partition_list_t,
}

// SAFETY: plain memory, owned; librdkafka keeps no reference to it.
unsafe impl Send for PartitionList {}

impl PartitionList {
    /// An empty list with room.
    pub(in crate::kafka) fn new(capacity: usize) -> Self {
        let capacity = i32::try_from(capacity).unwrap_or(0);
        // SAFETY: takes a number; aborts rather than returning null.
        Self { raw: unsafe { sys::rd_kafka_topic_partition_list_new(capacity) } }
    }

    /// The list of these partitions, without offsets.
    pub(in crate::kafka) fn of<'a>(
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<Self, Error> {
        let mut list = Self::new(8);
        for partition in partitions {
            list.add(&partition.topic, partition.partition, None, None)?;
        }
        Ok(list)
    }

    /// Appends a partition; the metadata is copied.
    pub(in crate::kafka) fn add(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Option<Offset>,
        metadata: Option<&str>,
    ) -> Result<(), Error> {
        let name = CString::new(topic)
            .map_err(|_| Error::new(-186, format!("topic {topic:?} contains a NUL")))?;
        // SAFETY: list and name are alive; the name is copied. The returned element stays valid
        // until the next `add`, and is written here only. Metadata is memory of `malloc`, which
        // the list frees with `free`; its size is what was allocated and copied.
        unsafe {
            let element =
                sys::rd_kafka_topic_partition_list_add(self.raw, name.as_ptr(), partition);
            if let Some(offset) = offset {
                (*element).offset = offset.0;
            }
            if let Some(metadata) = metadata.filter(|m| !m.is_empty()) {
                let memory = libc::malloc(metadata.len());
                if memory.is_null() {
                    return Err(Error::new(-186, "out of memory"));
                }
                std::ptr::copy_nonoverlapping(
                    metadata.as_ptr(),
                    memory.cast::<u8>(),
                    metadata.len(),
                );
                (*element).metadata = memory;
                (*element).metadata_size = metadata.len();
            }
        }
        Ok(())
    }

    /// Whether it has no partition.
    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.elements().is_empty()
    }

    /// The partitions that a call left with an error, with its code.
    pub(in crate::kafka) fn errors(&self) -> Vec<(TopicPartition, i32)> {
        self.elements()
            .iter()
            .filter_map(|element| {
                // SAFETY: an element of this list.
                let error = unsafe { error_of(element) };
                // SAFETY: an element's topic is a NUL-terminated string owned by the list.
                (error != 0).then(|| (unsafe { partition_of(element) }, error))
            })
            .collect()
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.raw
    }

    fn elements(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list is alive and owned.
        unsafe { elements(self.raw) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: owned and destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw) }
    }
}

/// The partitions of a list that librdkafka owns.
///
/// # Safety
/// `list` is null or valid for the duration of the call.
pub(super) unsafe fn copy(list: *mut sys::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    if list.is_null() {
        return vec![];
    }
    // SAFETY: by the contract; each element's topic is a NUL-terminated string.
    unsafe { elements(list).iter().map(|element| partition_of(element)).collect() }
}

/// What a list says of committed offsets, each with the broker's error code for it.
///
/// # Safety
/// `list` is null or valid for the duration of the call.
pub(super) unsafe fn committed(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> Vec<(CommittedOffset, i32)> {
    if list.is_null() {
        return vec![];
    }
    let one = |element: &sys::rd_kafka_topic_partition_t| {
        // SAFETY: an element of a valid list; its metadata is null or as long as said.
        let (partition, error, metadata) = unsafe {
            let metadata = if element.metadata.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
            };
            (partition_of(element), error_of(element), String::from_utf8_lossy(metadata))
        };
        // Negative numbers of librdkafka stand for "none".
        let offset = (element.offset >= 0).then_some(Offset(element.offset));
        (CommittedOffset { partition, offset, metadata: metadata.into_owned() }, error)
    };
    // SAFETY: by the contract; the elements are only read.
    unsafe { elements(list.cast_mut()).iter().map(one).collect() }
}

/// One element: the partition with its offset, or with the broker's error code.
///
/// # Safety
/// `element` is valid for the duration of the call.
pub(super) unsafe fn offset_or_error(
    element: *const sys::rd_kafka_topic_partition_t,
) -> (TopicPartition, Result<Offset, i32>) {
    // SAFETY: by the contract.
    let (element, partition, error) =
        unsafe { (&*element, partition_of(&*element), error_of(&*element)) };
    (partition, if error == 0 { Ok(Offset(element.offset)) } else { Err(error) })
}

/// # Safety
/// The element is one that librdkafka wrote.
unsafe fn error_of(element: &sys::rd_kafka_topic_partition_t) -> i32 {
    // SAFETY: reads the enum's memory as the number it is, valid for any code.
    unsafe { (&raw const element.err).cast::<i32>().read() }
}

/// # Safety
/// `list` is valid for the lifetime that the caller gives the slice.
unsafe fn elements<'a>(
    list: *mut sys::rd_kafka_topic_partition_list_t,
) -> &'a [sys::rd_kafka_topic_partition_t] {
    // SAFETY: `elems` points to `cnt` initialised elements, or is null where there is none.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        if count == 0 { &[] } else { std::slice::from_raw_parts((*list).elems, count) }
    }
}

/// # Safety
/// The element's topic is a NUL-terminated string.
unsafe fn partition_of(element: &sys::rd_kafka_topic_partition_t) -> TopicPartition {
    // SAFETY: by the contract.
    let topic = unsafe { CStr::from_ptr(element.topic) }.to_string_lossy();
    TopicPartition::new(&*topic, element.partition)
}
