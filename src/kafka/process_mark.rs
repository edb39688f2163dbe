//! Which process a member of the group belongs to, told by its client id.
//!
//! A coordinator describes members by member id, client id and host; none of these tells a
//! process from the one that ran before it in the same place. So the consumer's client id ends in
//! a mark: when the process's connection was made, and its process id.

use crate::runtime::{Standing, supervisor::SystemClock};

/// Before the mark in a consumer's client id.
const ROLE: &str = "consumer";

/// One stream thread's connection, of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessMark {
    started_ms: i64,
    process: u32,
}

impl ProcessMark {
    /// A mark that is made now.
    pub(super) fn new(clock: &SystemClock) -> Self {
        Self { started_ms: clock.now().wall.0, process: std::process::id() }
    }

    /// The last part of the consumer's client id.
    pub(super) fn role(self) -> String {
        format!("{ROLE}.{:x}-{:x}", self.started_ms, self.process)
    }

    /// Where the process of a client id stands, seen from this one.
    pub(super) fn standing_of(self, client_id: &str) -> Standing {
        match Self::parse(client_id) {
            None => Standing::Unknown,
            Some(other) if other == self => Standing::Ours,
            Some(other) if other < self => Standing::Older,
            Some(_) => Standing::Newer,
        }
    }

    fn parse(client_id: &str) -> Option<Self> {
        let (_, mark) = client_id.rsplit_once(&format!(".{ROLE}."))?;
        let (started, process) = mark.split_once('-')?;
        Some(Self {
            started_ms: i64::from_str_radix(started, 16).ok()?,
            process: u32::from_str_radix(process, 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_tells_whether_its_process_is_this_one_or_came_before_or_after() {
        let mark = |started_ms, process| ProcessMark { started_ms, process };
        let of = |other: ProcessMark| format!("app.pod.consumer.0.{}", other.role());
        let me = mark(1_763_000_000_000, 7);
        let table = [
            (of(me), Standing::Ours),
            (of(mark(1_763_000_000_001, 7)), Standing::Newer),
            (of(mark(1_762_999_999_999, 9)), Standing::Older),
            // In the same millisecond the two still agree who is the newer one.
            (of(mark(1_763_000_000_000, 8)), Standing::Newer),
            ("app.pod.0.consumer".to_owned(), Standing::Unknown),
            ("app.pod.0.consumer.x-1".to_owned(), Standing::Unknown),
            ("rdkafka".to_owned(), Standing::Unknown),
        ];
        for (client_id, standing) in table {
            assert_eq!(me.standing_of(&client_id), standing, "{client_id}");
        }
    }
}
