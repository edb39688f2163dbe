//! The timers of a task in the order in which they come due: an index of what the state holds.
//!
//! Owns no truth: timers are durable as keys of their stores; this is rebuilt from them.

use std::collections::BTreeMap;

use crate::{
    record::Timestamp,
    time::{TimerDomain, TimerFired},
};

/// Where a timer stands in the order of firing: time, store, user key.
pub(crate) type TimerPlace = (Timestamp, u16, Box<[u8]>);

/// The ordered timers, per domain. The value is the number of the running overlay that a timer
/// was first set in while no layer below knew it, or 0: such a timer leaves no trace when it goes
/// within that epoch.
#[derive(Debug, Default)]
pub(crate) struct TimerIndex {
    event_time: BTreeMap<TimerPlace, u64>,
    processing_time: BTreeMap<TimerPlace, u64>,
    /// Of all user keys.
    key_bytes: usize,
}

/// What a timer costs beside its place and key: free places of its node (timers that are set in
/// their order leave nodes half full), and what the allocator adds to the key.
const NODE_SHARE: usize = 60;

impl TimerIndex {
    fn of(&self, domain: TimerDomain) -> &BTreeMap<TimerPlace, u64> {
        match domain {
            TimerDomain::EventTime => &self.event_time,
            TimerDomain::ProcessingTime => &self.processing_time,
        }
    }

    fn of_mut(&mut self, domain: TimerDomain) -> &mut BTreeMap<TimerPlace, u64> {
        match domain {
            TimerDomain::EventTime => &mut self.event_time,
            TimerDomain::ProcessingTime => &mut self.processing_time,
        }
    }

    /// Whether there is this timer.
    pub(crate) fn contains(&self, domain: TimerDomain, place: &TimerPlace) -> bool {
        self.of(domain).contains_key(place)
    }

    /// Adds a timer.
    pub(crate) fn insert(&mut self, domain: TimerDomain, place: TimerPlace, fresh_in: u64) {
        let bytes = place.2.len();
        if self.of_mut(domain).insert(place, fresh_in).is_none() {
            self.key_bytes += bytes;
        }
    }

    /// Removes a timer, and says which running overlay it is fresh in; `None` where there is none.
    pub(crate) fn remove(&mut self, domain: TimerDomain, place: &TimerPlace) -> Option<u64> {
        let removed = self.of_mut(domain).remove(place);
        if removed.is_some() {
            self.key_bytes -= place.2.len();
        }
        removed
    }

    /// The time of the earliest timer.
    pub(crate) fn next(&self, domain: TimerDomain) -> Option<Timestamp> {
        self.of(domain).first_key_value().map(|((time, ..), _)| *time)
    }

    /// Takes the earliest timer that is due by `until`, with the overlay that it is fresh in.
    pub(crate) fn pop(
        &mut self,
        domain: TimerDomain,
        until: Timestamp,
    ) -> Option<(TimerFired, u64)> {
        let first = self.of_mut(domain).first_entry()?;
        if first.key().0 > until {
            return None;
        }
        let ((time, store, key), fresh_in) = first.remove_entry();
        self.key_bytes -= key.len();
        Some((TimerFired { store, domain, key: key.into_vec(), time }, fresh_in))
    }

    /// Bytes that the index holds, roughly. It grows with the number of timers, which the topology
    /// alone bounds: what it holds is taken from the cache (MEM-1).
    pub(crate) fn bytes(&self) -> usize {
        self.key_bytes + self.count() * (size_of::<(TimerPlace, u64)>() + NODE_SHARE)
    }

    fn count(&self) -> usize {
        self.event_time.len() + self.processing_time.len()
    }

    /// How many timers there are.
    pub(crate) fn len(&self, domain: TimerDomain) -> usize {
        self.of(domain).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_nodes_and_keys_take() {
        // Nodes have 11 places; in order of time they keep 6, one more of each is in a node above.
        let node = 11 * size_of::<(TimerPlace, u64)>() + 12;
        let per_timer = node.next_multiple_of(16) / 7 + (node + 96).next_multiple_of(16) / 42;
        for key_bytes in [8, 20, 100] {
            let mut index = TimerIndex::default();
            for number in 0..10_000 {
                let place = (Timestamp(number), 3, vec![0; key_bytes].into());
                index.insert(TimerDomain::EventTime, place, 0);
            }
            let key = (key_bytes + 8).next_multiple_of(16).max(32);
            let (told, held) = (index.bytes(), 10_000 * (per_timer + key));
            assert!(told * 100 >= held * 85 && told * 100 <= held * 125, "{told}, {held}");
        }
    }
}
