//! Which input of a subtopology leads, and which partition counts may stand side by side: the one
//! place for both, whether counts are planned or found.

/// The index of the lead topic among (name, partitions): the one with most partitions, ties by
/// name. The group subscribes to it, and its partitions are the tasks. `None` without inputs.
pub fn lead_input<'a>(inputs: impl IntoIterator<Item = (&'a str, i32)>) -> Option<usize> {
    let before = |one: &(usize, (&str, i32)), two: &(usize, (&str, i32))| {
        let ((_, (one, more)), (_, (two, fewer))) = (one, two);
        fewer.cmp(more).then_with(|| one.cmp(two))
    };
    inputs.into_iter().enumerate().min_by(before).map(|(index, _)| index)
}

/// Keyed inputs, as (name, partitions), must have equal counts: the first pair that has not.
pub fn unequal_inputs<'a>(
    keyed: impl IntoIterator<Item = (&'a str, i32)>,
) -> Option<((&'a str, i32), (&'a str, i32))> {
    let mut keyed = keyed.into_iter();
    let first = keyed.next()?;
    keyed.find(|(_, partitions)| *partitions != first.1).map(|other| (first, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_with_most_partitions_leads_and_ties_go_by_name() {
        assert_eq!(lead_input([]), None);
        assert_eq!(lead_input([("b", 4), ("a", 2), ("c", 4)]), Some(0));
        assert_eq!(lead_input([("c", 4), ("a", 2), ("b", 4)]), Some(2));
    }

    #[test]
    fn unequal_counts_are_named() {
        assert_eq!(unequal_inputs([("a", 4)]), None);
        assert_eq!(unequal_inputs([("a", 4), ("b", 4)]), None);
        assert_eq!(unequal_inputs([("a", 4), ("b", 4), ("c", 2)]), Some((("a", 4), ("c", 2))));
    }
}
