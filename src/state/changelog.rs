//! The format of a changelog partition, and what its topic must be.
//!
//! Pure: records in, meaning out. An entry's record is the store's key and its value as the layers
//! hold it (version byte in front; null deletes). The epoch marker has one reserved key and is the
//! last record of its epoch; the store catalogue has another. Must never read what a newer version
//! wrote as if it knew it (DATA-1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::{
    CatalogueError, EpochMarker, StoreCatalogue, ValueError,
    keys::{self, CATALOGUE_KEY, ENGINE_STORE, MARKER_KEY},
    value,
};

/// The version of the marker that is written here.
const MARKER_VERSION: u32 = 1;

/// Brokers from which on a changelog must survive the loss of one.
const BROKERS_FOR_REPLICATION: usize = 3;

/// The shortest `delete.retention.ms`: one day, Kafka's default.
const DELETE_RETENTION_MS_MIN: i64 = 24 * 60 * 60 * 1000;

/// What is asked for at creation: a week, so that local images outlive a long weekend.
const DELETE_RETENTION_MS: i64 = 7 * DELETE_RETENTION_MS_MIN;

/// A record of a changelog partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangelogRecord<'a> {
    /// A change of a key, to be written to the byte store as it is; `None` deletes the key.
    Entry {
        /// The store key.
        key: &'a [u8],
        /// The value with its version byte.
        value: Option<&'a [u8]>,
    },
    /// The end of an epoch. Not a change of the byte store: its positions hold it.
    Marker(EpochMarker),
    /// The ids of the stores; also a change of the byte store, under [`CATALOGUE_KEY`].
    Catalogue {
        /// What it says.
        catalogue: StoreCatalogue,
        /// The record's value as it is.
        value: &'a [u8],
    },
}

impl<'a> ChangelogRecord<'a> {
    /// What a restore writes to the byte store for this record; `None` for a marker.
    pub fn change(&self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        match self {
            Self::Entry { key, value } => Some((key, *value)),
            Self::Catalogue { value, .. } => Some((CATALOGUE_KEY, Some(value))),
            Self::Marker(_) => None,
        }
    }
}

/// Why a record of a changelog cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangelogError {
    /// A record without a key, or with one that no store has: the topic is not Tidemill's alone.
    #[error("a changelog record has no state key: something else writes to this topic")]
    NoKey,
    /// A reserved key that this version does not know.
    #[error("a changelog record has the unknown reserved key {key:?}; use a newer Tidemill")]
    Reserved {
        /// The key, as far as it is text.
        key: String,
    },
    /// A reserved record was deleted.
    #[error("the changelog's {what} was deleted: something else writes to this topic")]
    Deleted {
        /// Marker or catalogue.
        what: &'static str,
    },
    /// The marker has a newer version.
    #[error(
        "an epoch marker has version {found}, this Tidemill reads up to {MARKER_VERSION}; use a newer one"
    )]
    NewerMarker {
        /// The version found.
        found: u32,
    },
    /// The marker cannot be read.
    #[error("an epoch marker cannot be read: {reason}")]
    Marker {
        /// The parser's words.
        reason: String,
    },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A value cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
}

#[derive(Serialize)]
struct MarkerOut<'a> {
    v: u32,
    #[serde(flatten)]
    marker: &'a EpochMarker,
}

/// The part of a marker that every version has.
#[derive(Deserialize)]
struct MarkerVersion {
    v: u32,
}

/// The epoch marker's record: its reserved key and its value. Errors: none in practice, JSON takes
/// every marker.
pub fn marker_record(marker: &EpochMarker) -> Result<(&'static [u8], Vec<u8>), ChangelogError> {
    let value = serde_json::to_vec(&MarkerOut { v: MARKER_VERSION, marker })
        .map_err(|error| ChangelogError::Marker { reason: error.to_string() })?;
    Ok((MARKER_KEY, value))
}

/// Reads a record of a changelog partition. Errors: what no version up to this one writes.
pub fn parse<'a>(
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> Result<ChangelogRecord<'a>, ChangelogError> {
    let key = key.ok_or(ChangelogError::NoKey)?;
    if key == MARKER_KEY {
        let value = value.ok_or(ChangelogError::Deleted { what: "epoch marker" })?;
        return parse_marker(value).map(ChangelogRecord::Marker);
    }
    if key == CATALOGUE_KEY {
        let value = value.ok_or(ChangelogError::Deleted { what: "store catalogue" })?;
        let catalogue = StoreCatalogue::decode(value)?;
        return Ok(ChangelogRecord::Catalogue { catalogue, value });
    }
    match keys::store_of(key) {
        Some(ENGINE_STORE) => {
            let name = key.get(keys::PREFIX..).unwrap_or_default();
            Err(ChangelogError::Reserved { key: String::from_utf8_lossy(name).into_owned() })
        }
        Some(_) if key.len() > keys::PREFIX => {
            value.map(value::check).transpose()?;
            Ok(ChangelogRecord::Entry { key, value })
        }
        _ => Err(ChangelogError::NoKey),
    }
}

fn parse_marker(value: &[u8]) -> Result<EpochMarker, ChangelogError> {
    let wrong = |error: serde_json::Error| ChangelogError::Marker { reason: error.to_string() };
    let version: MarkerVersion = serde_json::from_slice(value).map_err(wrong)?;
    if version.v > MARKER_VERSION {
        return Err(ChangelogError::NewerMarker { found: version.v });
    }
    serde_json::from_slice(value).map_err(wrong)
}

/// The replication factor of a new changelog: 3 where the cluster has three brokers (with fewer, a
/// lost leader can take a committed epoch with it), else 1.
pub fn changelog_replication(brokers: usize) -> i32 {
    if brokers >= BROKERS_FOR_REPLICATION { 3 } else { 1 }
}

/// The configuration of a new changelog topic, as Kafka spells it.
pub fn changelog_config(brokers: usize) -> BTreeMap<String, String> {
    let min_insync = if brokers >= BROKERS_FOR_REPLICATION { 2 } else { 1 };
    [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("delete.retention.ms", DELETE_RETENTION_MS.to_string()),
        ("min.insync.replicas", min_insync.to_string()),
        // Records are not compacted before their segment is closed, and restores read them all.
        ("segment.bytes", (128 * 1024 * 1024).to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// What is wrong with an existing changelog topic, one sentence each; empty where it will do.
/// `config` is its effective configuration.
pub fn changelog_violations(
    brokers: usize,
    replication: i32,
    config: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let policy = config.get("cleanup.policy").map_or("", String::as_str);
    if policy != "compact" {
        wrong.push(format!(
            "cleanup.policy is {policy:?}, must be \"compact\" (any other deletes state)"
        ));
    }
    let number = |key: &str| config.get(key).and_then(|value| value.parse::<i64>().ok());
    match number("delete.retention.ms") {
        Some(found) if found >= DELETE_RETENTION_MS_MIN => {}
        found => wrong.push(format!(
            "delete.retention.ms is {}, must be at least {DELETE_RETENTION_MS_MIN} (24 h)",
            found.map_or("unknown".to_owned(), |found| found.to_string())
        )),
    }
    if brokers >= BROKERS_FOR_REPLICATION {
        if replication < 3 {
            wrong.push(format!(
                "replication factor is {replication}, must be 3 where there are {brokers} brokers"
            ));
        }
        match number("min.insync.replicas") {
            Some(found) if found >= 2 => {}
            found => wrong.push(format!(
                "min.insync.replicas is {}, must be at least 2 where there are {brokers} brokers",
                found.map_or("unknown".to_owned(), |found| found.to_string())
            )),
        }
    }
    wrong
}

#[cfg(test)]
#[path = "changelog_tests.rs"]
mod tests;
