//! How positions lie in a byte store: version byte, CRC-32C, JSON (DATA-1).

use crate::state::Positions;

const VERSION: u8 = 1;

/// Why stored positions cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PositionError {
    /// A newer Tidemill wrote them.
    #[error(
        "its positions have version {0}, this Tidemill reads version {VERSION}; use a newer one, \
         or remove the directory (its state is then restored from Kafka)"
    )]
    Newer(u8),
    /// They are not what was written.
    #[error("its positions are damaged: {0}")]
    Damaged(String),
}

/// The bytes to store. Errors: none in practice, JSON takes all positions.
pub(crate) fn encode(positions: &Positions) -> Result<Vec<u8>, PositionError> {
    let json = serde_json::to_vec(positions).map_err(damaged)?;
    let mut framed = Vec::with_capacity(5 + json.len());
    framed.push(VERSION);
    framed.extend_from_slice(&crc32c::crc32c(&json).to_be_bytes());
    framed.extend_from_slice(&json);
    Ok(framed)
}

/// Reads stored bytes. Errors: a newer version, a checksum that does not fit.
pub(crate) fn decode(framed: &[u8]) -> Result<Positions, PositionError> {
    let (version, rest) = framed.split_first().ok_or_else(|| damaged("nothing is there"))?;
    if *version > VERSION {
        return Err(PositionError::Newer(*version));
    }
    let (sum, json) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("they are cut off"))?;
    if *version != VERSION || u32::from_be_bytes(*sum) != crc32c::crc32c(json) {
        return Err(damaged("the checksum does not fit"));
    }
    serde_json::from_slice(json).map_err(damaged)
}

fn damaged(reason: impl ToString) -> PositionError {
    PositionError::Damaged(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, Timestamp};

    fn positions() -> Positions {
        Positions {
            changelog_next: Offset(7),
            changelog_topic_id: "ab".to_owned(),
            marker: None,
            whole: true,
            written_at: Timestamp(9),
        }
    }

    #[test]
    fn positions_come_back_as_they_were() {
        assert_eq!(decode(&encode(&positions()).unwrap()), Ok(positions()));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let framed = encode(&positions()).unwrap();
        for bit in 0..framed.len() * 8 {
            let mut broken = framed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&broken).is_err(), "bit {bit}");
        }
        for length in 0..framed.len() {
            assert!(decode(&framed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut framed = encode(&positions()).unwrap();
        framed[0] = 2;
        assert_eq!(decode(&framed), Err(PositionError::Newer(2)));
    }
}
