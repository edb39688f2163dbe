//! A stream whose records of one key meet in one partition: where state can be kept.

use std::{
    cell::RefCell, convert::Infallible, fmt::Display, marker::PhantomData, rc::Rc, sync::Arc,
};

use crate::{
    dsl::{
        Stream, Table,
        declaration::{Kind, Node, Shared},
        partitioned_by::PartitionedBy,
    },
    formats::{Codec, U64},
    operators::{
        Data, ErrorPolicy, Fold, Key, KeyedTimer, KeyedTimerParts, Port, StepPolicy, TimerFunction,
        aggregate, count, reduce,
    },
    state::ValueState,
    time::TimerDomain,
    topology::StoreSpec,
};

/// A stream grouped by its key (Kafka Streams calls it a grouped stream).
pub struct KeyedStream<K, V> {
    shared: Shared,
    port: Port,
    key: Arc<dyn Codec<K>>,
    on_error: ErrorPolicy,
    values: PhantomData<fn() -> V>,
}

/// What makes a fold: the step, its state, its function.
struct FoldStep<A, F> {
    name: String,
    operator: &'static str,
    value: Arc<dyn Codec<A>>,
    function: F,
    fallible: bool,
}

/// The one state of a fold; the store is `<step>/value`.
const VALUE: &str = "value";

/// The timers of a step in processing time and in event time.
const TIMERS: [&str; 2] = ["processing-timers", "event-timers"];

impl<K: Key, V: Data> KeyedStream<K, V> {
    pub(super) fn new(
        shared: &Shared,
        port: Port,
        key: Arc<dyn Codec<K>>,
        on_error: ErrorPolicy,
    ) -> Self {
        Self { shared: Rc::clone(shared), port, key, on_error, values: PhantomData }
    }

    /// The policy of the steps that are added from here on.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.on_error = policy;
        self
    }

    pub(super) fn key(&self) -> Arc<dyn Codec<K>> {
        Arc::clone(&self.key)
    }

    /// How many records each key has had.
    pub fn count(&self, name: &str) -> Table<K, u64> {
        self.fold(FoldStep {
            name: name.into(),
            operator: "count",
            value: Arc::new(U64),
            function: count::<K, V>,
            fallible: false,
        })
    }

    /// Combines the values of each key into one of the same type; the first is taken as it is.
    /// `combine` is given the key, what was combined so far, and the next value.
    pub fn reduce(
        &self,
        name: &str,
        value: impl Codec<V> + 'static,
        combine: impl Fn(&K, V, V) -> V + Send + Sync + 'static,
    ) -> Table<K, V> {
        self.fold(FoldStep {
            name: name.into(),
            operator: "reduce",
            value: Arc::new(value),
            function: reduce(move |key: &K, before, next| {
                Ok::<_, Infallible>(combine(key, before, next))
            }),
            fallible: false,
        })
    }

    /// [`KeyedStream::reduce`] with a function that can refuse.
    pub fn try_reduce<E: Display + 'static>(
        &self,
        name: &str,
        value: impl Codec<V> + 'static,
        combine: impl Fn(&K, V, V) -> Result<V, E> + Send + Sync + 'static,
    ) -> Table<K, V> {
        self.fold(FoldStep {
            name: name.into(),
            operator: "reduce",
            value: Arc::new(value),
            function: reduce(combine),
            fallible: true,
        })
    }

    /// Folds the values of each key into one of another type, which is changed in place.
    /// `initial` makes the value of a key that has none yet.
    pub fn aggregate<A: Data>(
        &self,
        name: &str,
        value: impl Codec<A> + 'static,
        initial: impl Fn() -> A + Send + Sync + 'static,
        fold: impl Fn(&K, V, &mut A) + Send + Sync + 'static,
    ) -> Table<K, A> {
        self.fold(FoldStep {
            name: name.into(),
            operator: "aggregate",
            value: Arc::new(value),
            function: aggregate(initial, move |key: &K, next, value: &mut A| {
                fold(key, next, value);
                Ok::<_, Infallible>(())
            }),
            fallible: false,
        })
    }

    /// [`KeyedStream::aggregate`] with a function that can refuse. What it changed before it
    /// refused is undone.
    pub fn try_aggregate<A: Data, E: Display + 'static>(
        &self,
        name: &str,
        value: impl Codec<A> + 'static,
        initial: impl Fn() -> A + Send + Sync + 'static,
        fold: impl Fn(&K, V, &mut A) -> Result<(), E> + Send + Sync + 'static,
    ) -> Table<K, A> {
        self.fold(FoldStep {
            name: name.into(),
            operator: "aggregate",
            value: Arc::new(value),
            function: aggregate(initial, fold),
            fallible: true,
        })
    }

    fn fold<A, F, E>(&self, fold: FoldStep<A, F>) -> Table<K, A>
    where
        A: Data,
        E: Display + 'static,
        F: Fn(&K, V, &mut Option<A>) -> Result<(), E> + Send + Sync + 'static,
    {
        let FoldStep { name, operator, value, function, fallible } = fold;
        let uid = self.shared.borrow_mut().name(&name, operator);
        let step = StepPolicy::new(Arc::clone(&uid), self.on_error);
        let (parent, key, function) = (self.port, Arc::clone(&self.key), Arc::new(function));
        let node = self.shared.borrow_mut().add(Node {
            uid: Arc::clone(&uid),
            operator,
            named: true,
            parents: vec![parent],
            kind: Kind::Effect,
            stores: vec![StoreSpec { operator: name, state: VALUE.into() }],
            install: Arc::new(move |wiring, node| {
                let (key, value) = (Arc::clone(&key), Arc::clone(&value));
                let state = ValueState::new(&uid, VALUE, key, value);
                let next = wiring.outlet(Port::of(node));
                let fold = Fold::new(step.clone(), state, Arc::clone(&function), fallible, next);
                let fold = Rc::new(RefCell::new(fold));
                wiring.connect::<K, V, _>(parent, &fold);
                wiring.stateful(&fold);
            }),
        });
        let partitioned_by = PartitionedBy::Key(Arc::clone(&self.key));
        Table::new(&self.shared, Port::of(node), partitioned_by, self.on_error)
    }

    /// Calls a function for every record and for every timer that it set. One value is kept per
    /// key. The seam's own test operator: process functions will replace it.
    pub fn keyed_timer<F>(
        &self,
        name: &str,
        domain: TimerDomain,
        state: impl Codec<F::State> + 'static,
        function: F,
    ) -> Stream<K, F::Output>
    where
        F: TimerFunction<Key = K, Value = V>,
    {
        let uid = self.shared.borrow_mut().name(name, "keyed-timer");
        let [processing, event] = TIMERS;
        let timers = match domain {
            TimerDomain::ProcessingTime => processing,
            TimerDomain::EventTime => event,
        };
        let store = |state: &str| StoreSpec { operator: name.into(), state: state.into() };
        let (parent, key) = (self.port, Arc::clone(&self.key));
        let (function, codec): (_, Arc<dyn Codec<F::State>>) =
            (Arc::new(function), Arc::new(state));
        let node = self.shared.borrow_mut().add(Node {
            uid: Arc::clone(&uid),
            operator: "keyed-timer",
            named: true,
            parents: vec![parent],
            kind: Kind::Effect,
            stores: vec![store(VALUE), store(timers)],
            install: Arc::new(move |wiring, node| {
                let state = ValueState::new(&uid, VALUE, Arc::clone(&key), Arc::clone(&codec));
                let parts = KeyedTimerParts {
                    operator: Arc::clone(&uid),
                    timers,
                    domain,
                    key: Arc::clone(&key),
                    state,
                    function: Arc::clone(&function),
                };
                let next = wiring.outlet(Port::of(node));
                let operator = Rc::new(RefCell::new(KeyedTimer::new(parts, next)));
                wiring.connect::<K, V, _>(parent, &operator);
                wiring.stateful(&operator);
            }),
        });
        let partitioned_by = PartitionedBy::Key(Arc::clone(&self.key));
        Stream::new(&self.shared, Port::of(node), partitioned_by, self.on_error)
    }
}
