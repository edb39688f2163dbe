//! The layers of a task's state against a naive model that keeps a whole copy per epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{prelude::*, test_runner::Config};

use super::backend::{Backend, marker, on_all_backends};
use crate::{
    record::{Offset, Timestamp},
    state::{
        ByteStore, KEY_GROUPS_DEFAULT, Layer, Positions, StateError, TaskState, changelog,
        key_group, keys,
    },
    time::{TimerDomain, TimerFired},
};

const DOMAINS: [TimerDomain; 2] = [TimerDomain::EventTime, TimerDomain::ProcessingTime];
const NAMES: [&str; 4] = ["op/one", "op/two", "op/event", "op/processing"];

/// One epoch's view of everything.
#[derive(Debug, Clone, Default, PartialEq)]
struct Image {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    timers: BTreeSet<(TimerDomain, i64, u16, Vec<u8>)>,
    ids: BTreeMap<String, u16>,
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, Vec<u8>, Vec<u8>),
    Delete(usize, Vec<u8>),
    SetTimer(usize, Vec<u8>, i64),
    DeleteTimer(usize, Vec<u8>, i64),
    PopTimers(usize, i64),
    NewStore(u8),
    Seal,
    Commit,
    Abort,
    Spill,
    /// The process dies; whether the changelog is read up to its end before going on.
    Crash(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || proptest::collection::vec(prop_oneof![Just(0u8), Just(97), Just(255)], 0..3);
    let step = prop_oneof![
        6 => (0..2usize, key(), "[a-c]{0,2}").prop_map(|(s, k, v)| Step::Put(s, k, v.into())),
        3 => (0..2usize, key()).prop_map(|(s, k)| Step::Delete(s, k)),
        4 => (0..2usize, key(), -2i64..3).prop_map(|(d, k, t)| Step::SetTimer(d, k, t)),
        2 => (0..2usize, key(), -2i64..3).prop_map(|(d, k, t)| Step::DeleteTimer(d, k, t)),
        2 => (0..2usize, -2i64..3).prop_map(|(d, t)| Step::PopTimers(d, t)),
        1 => (0..4u8).prop_map(Step::NewStore),
        5 => Just(Step::Seal),
        5 => Just(Step::Commit),
        2 => Just(Step::Abort),
        2 => Just(Step::Spill),
        1 => any::<bool>().prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A record of the changelog: key and value.
type Record = (Vec<u8>, Option<Vec<u8>>);

/// The state under test beside its model and the changelog that the runtime would have written.
struct Run<B> {
    backend: B,
    state: Option<TaskState>,
    committed: Image,
    spilled: Image,
    sealed: VecDeque<(Image, Vec<Record>)>,
    running: Image,
    /// Committed records; an offset is an index.
    changelog: Vec<Record>,
    epoch: u64,
}

impl<B: Backend> Run<B> {
    fn new() -> Self {
        let backend = B::make();
        let mut run = Self {
            backend,
            state: None,
            committed: Image::default(),
            spilled: Image::default(),
            sealed: VecDeque::new(),
            running: Image::default(),
            changelog: Vec::new(),
            epoch: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let store = self.backend.stores().open("0_0").unwrap();
        self.state = Some(TaskState::open(store).unwrap());
        self.running = self.committed.clone();
        for name in NAMES {
            self.allocate(name.to_owned());
        }
    }

    fn state(&mut self) -> &mut TaskState {
        self.state.as_mut().unwrap()
    }

    fn allocate(&mut self, name: String) {
        let id = self.state().store_id(&name).unwrap();
        let other = self.running.ids.iter().find(|(known, taken)| **known != name && **taken == id);
        assert_eq!(other, None, "an id was given twice");
        assert_eq!(*self.running.ids.entry(name).or_insert(id), id, "an id has changed");
    }

    fn id(&self, name: usize) -> u16 {
        self.running.ids[NAMES[name]]
    }

    fn key(&self, store: usize, user_key: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        let group = key_group(user_key, KEY_GROUPS_DEFAULT);
        keys::encode_key(self.id(store), group, user_key, b"ns", &mut key);
        key
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Put(store, key, value) => {
                let key = self.key(store, &key);
                self.state().put(&key, &value);
                self.running.entries.insert(key, value);
            }
            Step::Delete(store, key) => {
                let key = self.key(store, &key);
                self.state().delete(&key);
                self.running.entries.remove(&key);
            }
            Step::SetTimer(domain, key, time) => {
                let id = self.id(2 + domain);
                self.state().set_timer(id, DOMAINS[domain], &key, Timestamp(time));
                self.running.timers.insert((DOMAINS[domain], time, id, key));
            }
            Step::DeleteTimer(domain, key, time) => {
                let id = self.id(2 + domain);
                self.state().delete_timer(id, DOMAINS[domain], &key, Timestamp(time));
                self.running.timers.remove(&(DOMAINS[domain], time, id, key));
            }
            Step::PopTimers(domain, until) => self.pop_timers(DOMAINS[domain], until),
            Step::NewStore(number) => self.allocate(format!("later/{number}")),
            Step::Seal if self.sealed.len() < 2 => self.seal(),
            Step::Commit if !self.sealed.is_empty() => self.commit(),
            Step::Seal | Step::Commit => {}
            Step::Abort => self.abort(),
            Step::Spill => {
                self.state().spill("topic", Timestamp(7)).unwrap();
                if self.state().changelog_next().is_some() {
                    assert_eq!(self.state().committed_bytes(), 0);
                }
                self.spilled = self.committed.clone();
            }
            Step::Crash(restore) => self.crash(restore),
        }
    }

    fn pop_timers(&mut self, domain: TimerDomain, until: i64) {
        let mut due: Vec<_> = self.running.timers.iter().cloned().collect();
        due.retain(|(of, time, ..)| *of == domain && *time <= until);
        for timer in due {
            let (_, time, store, key) = timer.clone();
            let expected = TimerFired { store, domain, key, time: Timestamp(time) };
            assert_eq!(self.state().pop_due_timer(domain, Timestamp(until)), Some(expected));
            self.running.timers.remove(&timer);
        }
        assert_eq!(self.state().pop_due_timer(domain, Timestamp(until)), None);
    }

    fn seal(&mut self) {
        let state = self.state.as_mut().unwrap();
        state.seal();
        assert_eq!(state.running_bytes(), 0);
        let records: Vec<Record> =
            state.sealed_changes().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        let keys: BTreeSet<&Vec<u8>> = records.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), records.len(), "one record per key");
        self.sealed.push_back((self.running.clone(), records));
    }

    fn commit(&mut self) {
        let (image, records) = self.sealed.pop_front().unwrap();
        self.epoch += 1;
        let marker = marker(self.epoch);
        let (key, value) = changelog::marker_record(&marker).unwrap();
        self.changelog.extend(records);
        self.changelog.push((key.to_vec(), Some(value)));
        let next = Offset(self.changelog.len() as i64);
        self.state().commit(marker.clone(), next);
        assert_eq!(self.state().marker(), Some(&marker));
        self.committed = image;
    }

    fn abort(&mut self) {
        self.state().abort().unwrap();
        self.sealed.clear();
        let ids = std::mem::take(&mut self.running.ids);
        self.running = Image { ids, ..self.committed.clone() };
    }

    fn crash(&mut self, restore: bool) {
        self.state = None;
        self.sealed.clear();
        if restore {
            let mut store = self.backend.stores().open("0_0").unwrap();
            restore_tail(&mut *store, &self.changelog);
            self.spilled = self.committed.clone();
        } else {
            let store = self.backend.stores().open("0_0").unwrap();
            let next = store.positions().unwrap().map_or(0, |found| found.changelog_next.0);
            self.changelog.truncate(next as usize);
            self.committed = self.spilled.clone();
        }
        self.open();
    }

    /// Everything that can be read is what the model says.
    fn check(&mut self) {
        let state = self.state.as_ref().unwrap();
        let (mut entries, mut timers) = (BTreeMap::new(), BTreeSet::new());
        for (key, value) in state.scan(&[], None).unwrap() {
            let store = keys::store_of(&key).unwrap();
            if let Some(domain) = state.catalogue().timer_domain(store) {
                let timer = keys::decode_timer_key(&key).unwrap();
                timers.insert((domain, timer.time.0, store, timer.user_key));
            } else {
                entries.insert(key, value);
            }
        }
        assert_eq!(entries, self.running.entries);
        assert_eq!(timers, self.running.timers, "timers as they are stored");
        for (key, value) in &self.running.entries {
            let (found, layer) = state.find(key).unwrap();
            assert_eq!(found.as_ref(), Some(value));
            if layer == Layer::Committed {
                assert_eq!(self.committed.entries.get(key), Some(value));
            }
        }
        for domain in DOMAINS {
            let mut of_domain = self.running.timers.iter().filter(|(of, ..)| *of == domain);
            assert_eq!(state.timer_count(domain), of_domain.clone().count());
            let first = of_domain.next().map(|(_, time, ..)| Timestamp(*time));
            assert_eq!(state.next_timer(domain), first);
        }
        let ids = state.catalogue().stores().map(|(name, id)| (name.to_owned(), id)).collect();
        assert_eq!(self.running.ids, ids);
    }
}

/// What a restore does: the changelog's tail into the store, then whole positions.
fn restore_tail(store: &mut dyn ByteStore, changelog: &[Record]) {
    let found = store.positions().unwrap();
    let from = found.map_or(0, |found| found.changelog_next.0 as usize);
    let mut changes = BTreeMap::new();
    let mut last = None;
    for (key, value) in &changelog[from..] {
        match changelog::parse(Some(key), value.as_deref()).unwrap() {
            changelog::ChangelogRecord::Marker(marker) => last = Some(marker),
            record => changes.extend(record.change()),
        }
    }
    let Some(marker) = last else { return };
    let positions = Positions {
        changelog_next: Offset(changelog.len() as i64),
        changelog_topic_id: "topic".to_owned(),
        marker: Some(marker),
        whole: true,
        written_at: Timestamp(0),
    };
    store.write(&mut changes.into_iter(), &positions).unwrap();
}

fn the_layers_are_what_a_copy_per_epoch_would_be<B: Backend>() {
    let config = Config { failure_persistence: None, ..Config::with_cases(B::CASES) };
    proptest!(config, |(steps in steps())| {
        let mut run = Run::<B>::new();
        for step in steps {
            run.take(step);
            run.check();
        }
        // The changelog alone gives the same committed state.
        run.crash(true);
        run.check();
        run.state = None;
        run.backend.stores().wipe("0_0").unwrap();
        run.crash(true);
        run.check();
    });
}

fn a_timer_that_is_deleted_set_and_deleted_again_stays_deleted<B: Backend>() {
    let mut run = Run::<B>::new();
    let set = Step::SetTimer(0, b"k".to_vec(), 1);
    let delete = Step::DeleteTimer(0, b"k".to_vec(), 1);
    let steps = [set.clone(), Step::Seal, Step::Commit, delete.clone(), set, delete];
    for step in steps.into_iter().chain([Step::Seal, Step::Commit, Step::Crash(true)]) {
        run.take(step);
        run.check();
    }
}

fn nothing_reaches_the_byte_store_before_its_commit<B: Backend>() {
    let backend = B::make();
    let mut state = TaskState::open(backend.stores().open("0_0").unwrap()).unwrap();
    let id = state.store_id("op/count").unwrap();
    let mut key = Vec::new();
    keys::encode_key(id, key_group(b"k", KEY_GROUPS_DEFAULT), b"k", b"", &mut key);
    state.put(&key, b"first");
    state.spill("topic", Timestamp(1)).unwrap();
    state.seal();
    state.commit(marker(1), Offset(3));
    state.put(&key, b"second");
    state.seal();
    state.put(&key, b"third");
    state.spill("topic", Timestamp(1)).unwrap();
    let store = state.into_store();
    assert_eq!(store.get(&key).unwrap().unwrap(), b"\x01first");
    let positions = store.positions().unwrap().unwrap();
    assert_eq!((positions.changelog_next, positions.marker), (Offset(3), Some(marker(1))));
    assert!(positions.whole);
}

fn an_image_that_is_not_a_whole_epoch_is_not_served<B: Backend>() {
    let backend = B::make();
    let mut store = backend.stores().open("0_0").unwrap();
    let half = Positions { whole: false, ..super::backend::positions(3) };
    store.write(&mut std::iter::empty(), &half).unwrap();
    assert!(matches!(TaskState::open(store).map(|_| ()), Err(StateError::Damaged { .. })));
}

fn a_value_of_a_newer_version_is_refused<B: Backend>() {
    let backend = B::make();
    let mut store = backend.stores().open("0_0").unwrap();
    let key = [0, 1, 0, 0, 0, 0];
    let change = [(&key[..], Some(&b"\x02x"[..]))];
    store.write(&mut change.into_iter(), &super::backend::positions(3)).unwrap();
    let state = TaskState::open(store).unwrap();
    let refused = state.find(&key).unwrap_err().to_string();
    assert!(refused.contains("version 2"), "{refused}");
    assert!(state.scan(&[], None).is_err());
}

fn the_number_of_key_groups_is_fixed_at_the_first_start<B: Backend>() {
    let backend = B::make();
    let store = backend.stores().open("0_0").unwrap();
    let mut state = TaskState::open_with_key_groups(store, 2520).unwrap();
    state.store_id("op/count").unwrap();
    state.seal();
    state.commit(marker(1), Offset(2));
    state.spill("topic", Timestamp(1)).unwrap();
    drop(state);
    let state = TaskState::open(backend.stores().open("0_0").unwrap()).unwrap();
    assert_eq!(state.key_groups(), 2520);
}

on_all_backends!(
    the_layers_are_what_a_copy_per_epoch_would_be,
    a_timer_that_is_deleted_set_and_deleted_again_stays_deleted,
    nothing_reaches_the_byte_store_before_its_commit,
    an_image_that_is_not_a_whole_epoch_is_not_served,
    a_value_of_a_newer_version_is_refused,
    the_number_of_key_groups_is_fixed_at_the_first_start,
);
