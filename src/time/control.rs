//! A control record of a repartition topic: how far the tasks that write to it are.
//!
//! Key and value are null; all of it is in one header. A repartition sink always writes a key, so
//! no user's record is ever taken for one, whatever its headers. Must never change what a version
//! means: records of it lie in topics.

use std::collections::BTreeMap;

use crate::{
    record::{Header, RecordRef, Timestamp},
    time::Progress,
};

/// The header that makes a record a control record. Other readers of a repartition topic skip
/// records that have it and neither key nor value.
pub const CONTROL_HEADER: &str = "tidemill.control";

/// The version that is written; the value's first byte.
const VERSION: u8 = 1;

/// What follows the watermark's number of a task that has one, and of an idle one.
const AT: u8 = 0;
const IDLE: u8 = 1;

/// What one stream thread says of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// How many tasks write to the topic, over all instances.
    pub tasks: u32,
    /// Those that are further than they said before, by partition.
    pub progress: BTreeMap<u32, Progress>,
}

/// Why a control record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A newer Tidemill wrote it.
    #[error(
        "a control record has version {found}, this Tidemill reads up to {VERSION}; use a newer one"
    )]
    Newer {
        /// The version found.
        found: u8,
    },
    /// It is none.
    #[error(
        "a control record of {bytes} bytes cannot be read: something else writes to this topic"
    )]
    Unreadable {
        /// The header's length.
        bytes: usize,
    },
}

impl Control {
    /// The header's value: version, number of tasks (u32), then task (u32), kind (u8) and
    /// watermark (i64, 0 for an idle one) of each; big endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + 13 * self.progress.len());
        out.push(VERSION);
        out.extend_from_slice(&self.tasks.to_be_bytes());
        for (task, progress) in &self.progress {
            let (kind, watermark) = match progress {
                Progress::At(watermark) => (AT, watermark.0),
                Progress::Idle => (IDLE, 0),
            };
            out.extend_from_slice(&task.to_be_bytes());
            out.push(kind);
            out.extend_from_slice(&watermark.to_be_bytes());
        }
        out
    }

    /// What a record of a repartition topic says; `None` for a user's record.
    pub fn of(record: &RecordRef<'_>) -> Result<Option<Self>, ControlError> {
        if record.headers.is_empty() || record.key.is_some() || record.value.is_some() {
            return Ok(None);
        }
        let header = record.headers.iter().find(|header| &*header.name == CONTROL_HEADER);
        header
            .map(|Header { value, .. }| Self::decode(value.as_deref().unwrap_or_default()))
            .transpose()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        match bytes.first() {
            Some(&found) if found > VERSION => return Err(ControlError::Newer { found }),
            _ => {}
        }
        Self::decode_parts(bytes).ok_or(ControlError::Unreadable { bytes: bytes.len() })
    }

    fn decode_parts(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
        let (tasks, mut rest) = rest.split_first_chunk::<4>()?;
        let mut progress = BTreeMap::new();
        while let Some((task, more)) = rest.split_first_chunk::<4>() {
            let (&[kind], more) = more.split_first_chunk::<1>()?;
            let (watermark, more) = more.split_first_chunk::<8>()?;
            let said = match kind {
                AT => Progress::At(Timestamp(i64::from_be_bytes(*watermark))),
                IDLE => Progress::Idle,
                _ => return None,
            };
            progress.insert(u32::from_be_bytes(*task), said);
            rest = more;
        }
        let tasks = u32::from_be_bytes(*tasks);
        rest.is_empty().then_some(Self { tasks, progress })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::record::Offset;

    fn read(value: &[u8], key: Option<&[u8]>) -> Result<Option<Control>, ControlError> {
        let headers = [Header { name: CONTROL_HEADER.into(), value: Some(value.to_vec()) }];
        let topic = Arc::from("t");
        Control::of(&RecordRef {
            topic: &topic,
            partition: 0,
            offset: Offset(0),
            timestamp: Timestamp(-1),
            key,
            value: None,
            headers: &headers,
        })
    }

    fn control() -> Control {
        let progress = [(0, Progress::At(Timestamp(-7))), (3, Progress::Idle)];
        Control { tasks: 4, progress: progress.into() }
    }

    #[test]
    fn a_control_record_comes_back_and_has_this_format() {
        let bytes = control().encode();
        let mut expected = vec![1, 0, 0, 0, 4, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&(-7_i64).to_be_bytes());
        expected.extend_from_slice(&[0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(read(&bytes, None), Ok(Some(control())));
    }

    #[test]
    fn a_users_record_with_that_header_is_not_one_since_it_has_a_key() {
        assert_eq!(read(&control().encode(), Some(b"")), Ok(None));
    }

    #[test]
    fn a_newer_version_and_damage_are_refused() {
        assert_eq!(read(&[2, 9], None), Err(ControlError::Newer { found: 2 }));
        let bytes = control().encode();
        for cut in (0..bytes.len()).filter(|cut| (cut + 8) % 13 != 0) {
            let refused = read(&bytes[..cut], None);
            assert_eq!(refused, Err(ControlError::Unreadable { bytes: cut }));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some(control)) = read(&bytes, None) {
                prop_assert_eq!(read(&control.encode(), None), Ok(Some(control)));
            }
        }
    }
}
