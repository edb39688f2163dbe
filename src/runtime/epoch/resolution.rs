//! What the stable committed offsets say of an epoch whose commit has no known outcome (EOS-4).

use crate::{
    runtime::{
        CommittedOffset, epoch::Resolution, mutants::Mutant, offset_metadata::OffsetMetadata,
    },
    state::EpochId,
};

/// Committed, if any of the epoch's partitions carries exactly this owner, incarnation and epoch:
/// all offsets of an epoch are committed together, so any one tells. Only meaningful with *stable*
/// offsets, read after the epoch's producer was replaced.
pub fn resolution(
    offsets: &[CommittedOffset],
    expected: EpochId,
    owner: &str,
    mutant: Mutant,
) -> Resolution {
    let names_it = |offset: &CommittedOffset| {
        let metadata = OffsetMetadata::parse(&offset.metadata).ok().flatten();
        metadata.is_some_and(|m| {
            let epoch = m.id.epoch == expected.epoch || mutant.is(Mutant::ResolveIgnoresEpoch);
            let incarnation = m.id.incarnation == expected.incarnation
                || mutant.is(Mutant::ResolveIgnoresIncarnation);
            m.owner == owner && epoch && incarnation
        })
    };
    if offsets.iter().any(names_it) && !mutant.is(Mutant::UnknownIsAborted) {
        Resolution::Committed
    } else {
        Resolution::Aborted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Offset, TopicPartition};

    const EXPECTED: EpochId = EpochId { epoch: 7, incarnation: 3 };

    fn offset(partition: i32, id: EpochId, owner: &str) -> CommittedOffset {
        CommittedOffset {
            partition: TopicPartition::new("in", partition),
            offset: Some(Offset(10)),
            metadata: OffsetMetadata::new(id, owner, 4, None).encode(),
        }
    }

    fn resolved(id: EpochId, owner: &str, mutant: Mutant) -> Resolution {
        resolution(&[offset(0, id, owner)], EXPECTED, owner_of_the_test(), mutant)
    }

    fn owner_of_the_test() -> &'static str {
        "app.i.0"
    }

    #[test]
    fn owner_incarnation_and_epoch_must_all_be_this_epochs() {
        let owner = owner_of_the_test();
        let none = Mutant::None;
        assert_eq!(resolved(EXPECTED, owner, none), Resolution::Committed);
        assert_eq!(resolved(EpochId { epoch: 6, ..EXPECTED }, owner, none), Resolution::Aborted);
        assert_eq!(resolved(EpochId { epoch: 8, ..EXPECTED }, owner, none), Resolution::Aborted);
        let before = EpochId { incarnation: 2, ..EXPECTED };
        assert_eq!(resolved(before, owner, none), Resolution::Aborted);
        assert_eq!(resolved(EXPECTED, "app.i.1", none), Resolution::Aborted);
        assert_eq!(resolution(&[], EXPECTED, owner, none), Resolution::Aborted);
        let older = EpochId { epoch: 6, ..EXPECTED };
        let both = [offset(0, older, owner), offset(1, EXPECTED, owner)];
        assert_eq!(resolution(&both, EXPECTED, owner, none), Resolution::Committed);
    }

    #[test]
    fn what_nobody_wrote_is_no_commit() {
        let foreign = CommittedOffset {
            partition: TopicPartition::new("in", 0),
            offset: Some(Offset(10)),
            metadata: "set by an operator".to_owned(),
        };
        let resolution = resolution(&[foreign], EXPECTED, owner_of_the_test(), Mutant::None);
        assert_eq!(resolution, Resolution::Aborted);
    }

    /// The negative controls of the table above: each ignored part makes one row wrong.
    #[cfg(feature = "mutants")]
    #[test]
    fn each_ignored_part_is_seen() {
        let owner = owner_of_the_test();
        let rows = [
            (Mutant::ResolveIgnoresEpoch, EpochId { epoch: 6, ..EXPECTED }, Resolution::Aborted),
            (
                Mutant::ResolveIgnoresIncarnation,
                EpochId { incarnation: 2, ..EXPECTED },
                Resolution::Aborted,
            ),
            (Mutant::UnknownIsAborted, EXPECTED, Resolution::Committed),
        ];
        for (mutant, id, right) in rows {
            assert_eq!(resolved(id, owner, Mutant::None), right);
            assert_ne!(resolved(id, owner, mutant), right, "{mutant:?}");
        }
    }
}
