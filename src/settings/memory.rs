//! `[memory]`: the one limit (MEM-1), what it is where none is set, and what it makes of the rest.

use std::fs;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{
    kafka::{self, PropertyValue},
    runtime::memory::{MemoryError, MemoryOverrides, MemoryPlan, default_limit},
    settings::Settings,
};

/// `[memory]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MemorySettings {
    /// What the process may take, all in all.
    pub limit: Option<ByteSize>,
}

impl Settings {
    /// The limit: as set, else a share of what the machine or its container gives.
    pub fn memory_limit(&self) -> u64 {
        self.memory.limit.map_or_else(|| default_limit(available()), |limit| limit.as_u64())
    }

    /// What every part of the process may take when it runs `applications` of them.
    ///
    /// # Errors
    /// The limit is too small, or too small for what is set besides.
    pub fn memory_plan(&self, applications: usize) -> Result<MemoryPlan, MemoryError> {
        let state = &self.state;
        let bytes = |size: Option<ByteSize>| size.map(|size| size.as_u64());
        let fixed = MemoryOverrides {
            cache: bytes(state.cache_bytes),
            spill: bytes(state.spill_bytes),
            byte_store: bytes(state.rocksdb.cache_bytes),
            fetch_queue: kilobytes(&self.kafka, "queued.max.messages.kbytes"),
            produce_queue: kilobytes(&self.kafka, "queue.buffering.max.kbytes"),
        };
        MemoryPlan::split(self.memory_limit(), self.threads * applications.max(1), fixed)
    }
}

/// A property of the client that bounds a queue: it fixes that part.
fn kilobytes(kafka: &kafka::Settings, name: &str) -> Option<u64> {
    match kafka.properties.get(name)? {
        PropertyValue::Inline(text) => text.trim().parse::<u64>().ok()?.checked_mul(1024),
        PropertyValue::File(_) => None,
    }
}

/// The smaller of the machine's memory and the limit of the container that this process is in.
fn available() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| machine_bytes(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let containers =
        limit_files(&groups).into_iter().filter_map(|path| container_bytes(&read(&path)?));
    machine.into_iter().chain(containers).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn machine_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may hold the limit, by `/proc/self/cgroup`: of version 2 and 1, as seen from the
/// host and from inside a container.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = vec![
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            files.push(format!("/sys/fs/cgroup{path}/memory.max"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.push(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"));
        }
    }
    files
}

/// A limit; `None` for `max`, and for version 1's word for none.
fn container_bytes(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_its_containers_are_read_in_both_versions() {
        assert_eq!(machine_bytes("MemTotal:       24105 kB\nMemFree: 1 kB\n"), Some(24_105 * 1024));
        assert_eq!(container_bytes("536870912\n"), Some(512 << 20));
        assert_eq!(container_bytes("max\n"), None);
        assert_eq!(container_bytes("9223372036854771712\n"), None);
        let files = limit_files("4:memory:/a/b\n3:cpuset:/\n0::/c\n");
        assert!(files.contains(&"/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes".to_owned()));
        assert!(files.contains(&"/sys/fs/cgroup/c/memory.max".to_owned()));
        assert!(available().is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn a_property_of_the_client_counts_against_the_limit() {
        let mut settings = Settings {
            memory: MemorySettings { limit: Some(ByteSize::mib(512)) },
            ..<_>::default()
        };
        assert!(settings.memory_plan(1).is_ok());
        let queue = PropertyValue::Inline("262144".to_owned());
        settings.kafka.properties.insert("queue.buffering.max.kbytes".to_owned(), queue);
        let refused = settings.memory_plan(1).unwrap_err().to_string();
        assert!(refused.contains("queue.buffering.max.kbytes makes 1024 MiB"), "{refused}");
    }
}
