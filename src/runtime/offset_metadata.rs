//! The metadata string of a committed offset: who committed which epoch (DESIGN section 5).
//!
//! RESOLVE compares (owner, incarnation, epoch) on any partition of an epoch; a restore takes the
//! epoch that the changelog must show from here.

use serde::{Deserialize, Serialize};

use crate::{record::Timestamp, state::EpochId};

/// The version that is written.
const VERSION: u32 = 1;

/// What stands beside a committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetMetadata {
    /// The format's version.
    v: u32,
    /// The epoch and the process that committed it.
    #[serde(flatten)]
    pub id: EpochId,
    /// The base of the owner's transactional ids: `<app>.<instance>.<thread>`.
    pub owner: String,
    /// The topic's partition count at that time.
    pub partitions: i32,
    /// The task's watermark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watermark: Option<Timestamp>,
}

impl OffsetMetadata {
    /// The metadata of one input partition.
    pub fn new(id: EpochId, owner: &str, partitions: i32, watermark: Option<Timestamp>) -> Self {
        Self { v: VERSION, id, owner: owner.to_owned(), partitions, watermark }
    }

    /// The string that is committed; about 100 bytes.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a committed string. `Ok(None)` for one that Tidemill did not write (also an empty
    /// one); an error for a newer version.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        match serde_json::from_str::<Self>(text) {
            Ok(metadata) if metadata.v == VERSION => Ok(Some(metadata)),
            Ok(metadata) => Err(format!(
                "offset metadata of version {}, this version reads {VERSION}: run the newer one",
                metadata.v
            )),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_the_round_trip_and_foreign_strings_are_told_apart() {
        let id = EpochId { epoch: 7, incarnation: u64::MAX };
        let metadata = OffsetMetadata::new(id, "app.i.0", 8, Some(Timestamp(-1)));
        assert_eq!(OffsetMetadata::parse(&metadata.encode()), Ok(Some(metadata.clone())));
        assert_eq!(OffsetMetadata::parse(""), Ok(None));
        assert_eq!(OffsetMetadata::parse("somebody else's"), Ok(None));
        let newer = metadata.encode().replace("\"v\":1", "\"v\":2");
        assert!(OffsetMetadata::parse(&newer).unwrap_err().contains("version 2"));
    }
}
