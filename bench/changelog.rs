//! What a changelog holds: records, bytes, and whether a key stands in an epoch more than once.

use std::{collections::HashSet, fs, path::Path};

use anyhow::{Context, Result};
use rdkafka::Message;
use serde::Serialize;
use tidemill::state::changelog::{self, ChangelogRecord};

use crate::{
    cluster::{Cluster, Isolation, value},
    systems::{Job, System},
};

/// A changelog's contents.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Changelog {
    /// Records, without transaction markers.
    pub(crate) records: u64,
    /// Their keys and values in bytes, uncompressed.
    pub(crate) payload_bytes: u64,
    /// Log segments on the broker's disk in bytes: headers, markers and compression included.
    pub(crate) disk_bytes: u64,
    /// Records of a key that stands in the same epoch already (Tidemill only).
    pub(crate) repeated: u64,
}

/// Reads the changelog of a job; `data` is the broker's log directory.
pub(crate) fn read(cluster: &Cluster, job: &Job, data: &Path) -> Result<Option<Changelog>> {
    let Some(topic) = job.changelog() else { return Ok(None) };
    let mut found = Changelog { disk_bytes: disk_bytes(data, &topic)?, ..Changelog::default() };
    let mut epochs: Vec<HashSet<Vec<u8>>> = Vec::new();
    cluster.read(&topic, Isolation::Committed, |message| {
        let key = message.key().unwrap_or_default();
        found.records += 1;
        found.payload_bytes += (key.len() + value(message).len()) as u64;
        if job.system != System::Tidemill {
            return Ok(());
        }
        let partition = usize::try_from(message.partition())?;
        if epochs.len() <= partition {
            epochs.resize_with(partition + 1, HashSet::new);
        }
        let epoch = epochs.get_mut(partition).context("partition")?;
        match changelog::parse(message.key(), message.payload())? {
            ChangelogRecord::Marker(_) => epoch.clear(),
            _ if !epoch.insert(key.to_vec()) => found.repeated += 1,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(found))
}

/// Bytes of a topic's log segments.
pub(crate) fn disk_bytes(data: &Path, topic: &str) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(data).with_context(|| format!("no {}", data.display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_topic = name.rsplit_once('-').is_some_and(|(of, number)| {
            of == topic && number.bytes().all(|digit| digit.is_ascii_digit())
        });
        if !of_topic {
            continue;
        }
        for segment in fs::read_dir(entry.path())?.flatten() {
            if segment.path().extension().is_some_and(|extension| extension == "log") {
                bytes += segment.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}
