//! librdkafka's list of partitions with offsets.

use std::ffi::{CStr, CString};

use rdkafka_sys as sys;

use super::error::Error;
use crate::record::{Offset, TopicPartition};

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
                // SAFETY: reads the enum's memory as the number it is, valid for any code.
                let error = unsafe { (&raw const element.err).cast::<i32>().read() };
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
