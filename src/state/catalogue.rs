//! Which store has which id.
//!
//! Ids are allocated once per qualified name, from 1 on, and never reused, so that inserting or
//! removing an operator moves nobody's bytes. The catalogue is a record of its own in the
//! changelog and so in the byte store. Must never forget an id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{state::KEY_GROUPS_DEFAULT, time::TimerDomain};

/// The version of the record that is written here.
const VERSION: u32 = 1;

/// The names and ids of a task's stores, and the number of key groups, fixed at the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCatalogue {
    groups: u16,
    /// The next id to allocate; beyond `u16` when all are taken.
    next: u32,
    stores: BTreeMap<String, u16>,
    timers: BTreeMap<u16, TimerDomain>,
}

/// Why a catalogue cannot be read, or gives no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A newer Tidemill wrote it.
    #[error(
        "the store catalogue has version {found}, this Tidemill reads up to {VERSION}; use a newer one"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// It is no catalogue.
    #[error("the store catalogue cannot be read: {reason}")]
    Unreadable {
        /// The parser's words, or what contradicts itself.
        reason: String,
    },
    /// All ids are taken.
    #[error("no store id is left for {name}: 65535 stores were made in the life of this task")]
    Full {
        /// The store's qualified name.
        name: String,
    },
}

/// What the record's JSON looks like.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    groups: u16,
    next: u32,
    stores: BTreeMap<String, u16>,
    timers: BTreeMap<u16, Domain>,
}

/// A timer domain's name in the record.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Domain {
    EventTime,
    ProcessingTime,
}

/// The part of the record that every version has.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Default for StoreCatalogue {
    fn default() -> Self {
        Self::new(KEY_GROUPS_DEFAULT)
    }
}

impl StoreCatalogue {
    /// An empty catalogue with this number of key groups.
    pub fn new(groups: u16) -> Self {
        Self { groups, next: 1, stores: BTreeMap::new(), timers: BTreeMap::new() }
    }

    /// The application's number of key groups.
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// The id of a qualified name, where it has one.
    pub fn id(&self, name: &str) -> Option<u16> {
        self.stores.get(name).copied()
    }

    /// The qualified names and their ids, by name.
    pub fn stores(&self) -> impl Iterator<Item = (&str, u16)> {
        self.stores.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// The stores that hold timers.
    pub fn timers(&self) -> impl Iterator<Item = (u16, TimerDomain)> {
        self.timers.iter().map(|(id, domain)| (*id, *domain))
    }

    /// The domain of a timer store.
    pub fn timer_domain(&self, store: u16) -> Option<TimerDomain> {
        self.timers.get(&store).copied()
    }

    /// The id of a qualified name and whether it was allocated now. Errors: none is left.
    pub fn allocate(&mut self, name: &str) -> Result<(u16, bool), CatalogueError> {
        if let Some(id) = self.id(name) {
            return Ok((id, false));
        }
        let id =
            u16::try_from(self.next).map_err(|_| CatalogueError::Full { name: name.to_owned() })?;
        self.next += 1;
        self.stores.insert(name.to_owned(), id);
        Ok((id, true))
    }

    /// Notes that a store holds timers of this domain. Whether that was news; the first domain
    /// stays.
    pub fn note_timers(&mut self, store: u16, domain: TimerDomain) -> bool {
        if self.timers.contains_key(&store) {
            return false;
        }
        self.timers.insert(store, domain);
        true
    }

    /// The record's value.
    pub fn encode(&self) -> Result<Vec<u8>, CatalogueError> {
        let timers = self.timers.iter().map(|(id, domain)| (*id, (*domain).into())).collect();
        let record = Record {
            v: VERSION,
            groups: self.groups,
            next: self.next,
            stores: self.stores.clone(),
            timers,
        };
        serde_json::to_vec(&record).map_err(unreadable)
    }

    /// Reads a record's value. Errors: a newer version, no catalogue, ids that contradict.
    pub fn decode(value: &[u8]) -> Result<Self, CatalogueError> {
        let version: Version = serde_json::from_slice(value).map_err(unreadable)?;
        if version.v > VERSION {
            return Err(CatalogueError::Newer { found: version.v });
        }
        let record: Record = serde_json::from_slice(value).map_err(unreadable)?;
        let mut ids: Vec<u16> = record.stores.values().copied().collect();
        ids.sort_unstable();
        let unique = ids.windows(2).all(|pair| pair.first() != pair.last());
        let in_range = ids.iter().all(|id| *id > 0 && u32::from(*id) < record.next);
        if !unique || !in_range || record.groups == 0 || version.v == 0 {
            return Err(unreadable("its ids or counts contradict each other"));
        }
        let timers = record.timers.into_iter().map(|(id, domain)| (id, domain.into())).collect();
        Ok(Self { groups: record.groups, next: record.next, stores: record.stores, timers })
    }
}

fn unreadable(reason: impl ToString) -> CatalogueError {
    CatalogueError::Unreadable { reason: reason.to_string() }
}

impl From<TimerDomain> for Domain {
    fn from(domain: TimerDomain) -> Self {
        match domain {
            TimerDomain::EventTime => Self::EventTime,
            TimerDomain::ProcessingTime => Self::ProcessingTime,
        }
    }
}

impl From<Domain> for TimerDomain {
    fn from(domain: Domain) -> Self {
        match domain {
            Domain::EventTime => Self::EventTime,
            Domain::ProcessingTime => Self::ProcessingTime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_are_given_once() {
        let mut catalogue = StoreCatalogue::default();
        assert_eq!(catalogue.allocate("b/count"), Ok((1, true)));
        assert_eq!(catalogue.allocate("a/count"), Ok((2, true)));
        assert_eq!(catalogue.allocate("b/count"), Ok((1, false)));
    }

    #[test]
    fn the_record_comes_back_as_it_was() {
        let mut catalogue = StoreCatalogue::new(2520);
        catalogue.allocate("a/x").unwrap();
        catalogue.allocate("a/timers").unwrap();
        assert!(catalogue.note_timers(2, TimerDomain::ProcessingTime));
        assert!(!catalogue.note_timers(2, TimerDomain::ProcessingTime));
        let record = catalogue.encode().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&record),
            r#"{"v":1,"groups":2520,"next":3,"stores":{"a/timers":2,"a/x":1},"timers":{"2":"processing-time"}}"#
        );
        assert_eq!(StoreCatalogue::decode(&record), Ok(catalogue));
    }

    #[test]
    fn a_newer_version_and_damage_are_refused_by_name() {
        let newer = StoreCatalogue::decode(br#"{"v":2,"anything":true}"#).unwrap_err();
        assert_eq!(newer, CatalogueError::Newer { found: 2 });
        assert!(newer.to_string().contains("use a newer one"));
        for damaged in [
            r#"{"v":1"#,
            r#"{"v":1,"groups":0,"next":1,"stores":{},"timers":{}}"#,
            r#"{"v":1,"groups":5,"next":1,"stores":{"a":1},"timers":{}}"#,
            r#"{"v":1,"groups":5,"next":3,"stores":{"a":1,"b":1},"timers":{}}"#,
            r#"{"v":1,"groups":5,"next":3,"stores":{"a":0},"timers":{}}"#,
        ] {
            assert!(
                matches!(
                    StoreCatalogue::decode(damaged.as_bytes()),
                    Err(CatalogueError::Unreadable { .. })
                ),
                "{damaged}"
            );
        }
    }

    #[test]
    fn when_all_ids_are_taken_the_next_store_is_refused() {
        let mut catalogue = StoreCatalogue { next: 65_535, ..StoreCatalogue::default() };
        assert_eq!(catalogue.allocate("last"), Ok((65_535, true)));
        assert_eq!(
            catalogue.allocate("more"),
            Err(CatalogueError::Full { name: "more".to_owned() })
        );
    }
}
