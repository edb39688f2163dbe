//! Which parts of a topology have a watermark, and where they keep it.

use std::collections::BTreeSet;

use crate::topology::{StoreSpec, Subtopology, TopicRef};

/// The uid that watermarks are kept under. No step has it: `#` cannot be in a name.
const OPERATOR: &str = "#event-time";

/// The store that a subtopology keeps its watermarks in. What its sources have seen and what it
/// has heard of upstream tasks is part of the epoch (TIME-1), so it has a changelog even where no
/// operator keeps anything.
pub fn watermark_store() -> StoreSpec {
    StoreSpec { operator: OPERATOR.into(), state: "watermarks".into() }
}

/// Whether the tasks of a subtopology have a watermark.
pub fn has_watermark(part: &Subtopology) -> bool {
    part.stores.iter().any(|store| store.operator == OPERATOR)
}

/// Gives every part its watermark store whose inputs all have a watermark: external topics by a
/// declared strategy, repartition topics from the part that writes them. One input without would
/// hold the others back for ever. `parts` are in topological order.
pub fn declare_watermarks(parts: &mut [Subtopology]) {
    let mut passed_on = BTreeSet::new();
    for part in parts {
        let all = part.sources.iter().all(|source| match &source.topic {
            TopicRef::External(_) => source.watermarks.is_some(),
            TopicRef::Repartition { step, .. } => passed_on.contains(step),
        });
        if !all || part.sources.is_empty() {
            continue;
        }
        part.stores.push(watermark_store());
        passed_on.extend(part.sinks.iter().filter_map(|sink| match &sink.topic {
            TopicRef::Repartition { step, .. } => Some(step.clone()),
            TopicRef::External(_) => None,
        }));
    }
}
