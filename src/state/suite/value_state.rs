//! Resident values against a naive model that keeps a whole copy per epoch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use proptest::{prelude::*, test_runner::Config};

use super::backend::{Backend, marker, on_all_backends};
use crate::{
    formats::{Codec, CodecError},
    record::{Offset, Timestamp},
    state::{TaskState, ValueState},
};

/// Text as it is.
struct Text;

impl Codec<String> for Text {
    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        String::from_utf8(bytes.to_vec()).map_err(|e| CodecError { reason: e.to_string() })
    }
}

fn owned(value: Option<&String>) -> Option<String> {
    value.cloned()
}

#[derive(Debug, Clone)]
enum Step {
    Update(String, Option<String>),
    Read(String),
    Evict(usize),
    Seal,
    Commit,
    Abort,
    Spill,
    /// The task closes after its last commit and opens again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => ("[a-f]", proptest::option::weighted(0.8, "[x-z]{0,3}"))
            .prop_map(|(key, value)| Step::Update(key, value)),
        4 => "[a-f]".prop_map(Step::Read),
        4 => (0..4usize).prop_map(|entries| Step::Evict(entries * 150)),
        4 => Just(Step::Seal),
        4 => Just(Step::Commit),
        2 => Just(Step::Abort),
        1 => Just(Step::Spill),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..100)
}

type Image = BTreeMap<String, String>;

struct Run<B> {
    backend: B,
    state: Option<TaskState>,
    values: ValueState<String, String>,
    committed: Image,
    sealed: VecDeque<Image>,
    running: Image,
    epoch: u64,
}

impl<B: Backend> Run<B> {
    fn new() -> Self {
        let backend = B::make();
        let values = ValueState::new("op", "value", Arc::new(Text), Arc::new(Text));
        let mut run = Self {
            backend,
            state: None,
            values,
            committed: Image::new(),
            sealed: VecDeque::new(),
            running: Image::new(),
            epoch: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let mut state = TaskState::open(self.backend.stores().open("0_0").unwrap()).unwrap();
        self.values = ValueState::new("op", "value", Arc::new(Text), Arc::new(Text));
        self.values.open(&mut state).unwrap();
        self.state = Some(state);
    }

    fn take(&mut self, step: Step) {
        let state = self.state.as_mut().unwrap();
        match step {
            Step::Update(key, value) => {
                let old = self
                    .values
                    .update(state, &key, |slot| std::mem::replace(slot, value.clone()))
                    .unwrap();
                assert_eq!(old, self.running.get(&key).cloned(), "key {key}");
                match value {
                    Some(value) => self.running.insert(key, value),
                    None => self.running.remove(&key),
                };
            }
            Step::Read(key) => {
                let value = self.values.read(state, &key, owned).unwrap();
                assert_eq!(value, self.running.get(&key).cloned(), "key {key}");
            }
            Step::Evict(budget) => {
                self.values.evict(state, budget).unwrap();
                assert!(self.values.resident_bytes() <= budget);
            }
            Step::Seal if self.sealed.len() < 2 => {
                self.values.seal(state).unwrap();
                state.seal();
                self.sealed.push_back(self.running.clone());
            }
            Step::Commit if !self.sealed.is_empty() => self.commit(),
            Step::Seal | Step::Commit => {}
            Step::Abort => {
                state.abort().unwrap();
                self.values.aborted();
                self.sealed.clear();
                self.running = self.committed.clone();
            }
            Step::Spill => state.spill("topic", Timestamp(0)).unwrap(),
            Step::Restart => {
                state.spill("topic", Timestamp(0)).unwrap();
                self.state = None;
                self.open();
                self.sealed.clear();
                self.running = self.committed.clone();
            }
        }
    }

    fn commit(&mut self) {
        self.epoch += 1;
        let state = self.state.as_mut().unwrap();
        state.commit(marker(self.epoch), Offset(self.epoch as i64));
        self.values.committed();
        self.committed = self.sealed.pop_front().unwrap();
    }

    fn check(&self) {
        self.values.verify(self.state.as_ref().unwrap()).unwrap();
    }

    /// All keys at the end, through the cache and below it.
    fn finish(mut self) {
        for key in ["a", "b", "c", "d", "e", "f"] {
            self.take(Step::Read(key.to_owned()));
        }
        while !self.sealed.is_empty() {
            self.take(Step::Commit);
        }
        self.take(Step::Seal);
        self.take(Step::Commit);
        self.check();
        self.take(Step::Restart);
        for key in ["a", "b", "c", "d", "e", "f"] {
            self.take(Step::Read(key.to_owned()));
        }
    }
}

fn resident_values_are_what_a_copy_per_epoch_would_be<B: Backend>() {
    let config = Config { failure_persistence: None, ..Config::with_cases(B::CASES) };
    proptest!(config, |(steps in steps())| {
        let mut run = Run::<B>::new();
        for step in steps {
            run.take(step);
            run.check();
        }
        run.finish();
    });
}

on_all_backends!(resident_values_are_what_a_copy_per_epoch_would_be);
