//! A typed stream of records.

use std::{
    cell::RefCell, convert::Infallible, fmt::Display, marker::PhantomData, rc::Rc, sync::Arc,
};

use crate::{
    dsl::{
        KeyedStream, Repartition,
        declaration::{Kind, Node, Shared},
        partitioned_by::{NoCodec, PartitionedBy},
    },
    operators::{
        Branch, Data, ErrorPolicy, Filter, FlatMap, FlatMapValues, Key, KeyBy, Map, MapValues,
        Merge, Outlet, Peek, Port, Receive, StepPolicy,
    },
    topology::TopologyError,
};

/// A stream of keys and values. Cloning the handle, or using it several times, sends every record
/// each way.
///
/// Functions that can fail have a `try_` form; what they refuse follows the policy of
/// [`Stream::on_error`]. One instance of each function serves all tasks.
pub struct Stream<K, V> {
    pub(super) shared: Shared,
    pub(super) port: Port,
    pub(super) partitioned_by: PartitionedBy<K>,
    pub(super) on_error: ErrorPolicy,
    values: PhantomData<fn() -> V>,
}

impl<K, V> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            port: self.port,
            partitioned_by: self.partitioned_by.clone(),
            on_error: self.on_error,
            values: PhantomData,
        }
    }
}

impl<K: Data, V: Data> Stream<K, V> {
    pub(super) fn new(
        shared: &Shared,
        port: Port,
        partitioned_by: PartitionedBy<K>,
        on_error: ErrorPolicy,
    ) -> Self {
        Self { shared: Rc::clone(shared), port, partitioned_by, on_error, values: PhantomData }
    }

    /// The policy of the steps that are added to this stream from here on.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.on_error = policy;
        self
    }

    /// Adds an operator without a name and with one output below this stream.
    fn step<K2: Data, V2: Data, N: Receive<K, V> + 'static>(
        &self,
        operator: &'static str,
        kind: Kind,
        make: impl Fn(StepPolicy, Outlet<K2, V2>) -> N + Send + Sync + 'static,
    ) -> Port {
        let uid = self.shared.borrow().ordinal(operator);
        let step = StepPolicy::new(Arc::clone(&uid), self.on_error);
        let parent = self.port;
        let node = self.shared.borrow_mut().add(Node {
            uid,
            operator,
            named: false,
            parents: vec![parent],
            kind,
            stores: Vec::new(),
            install: Arc::new(move |wiring, node| {
                let next = wiring.outlet(Port::of(node));
                let operator = Rc::new(RefCell::new(make(step.clone(), next)));
                wiring.connect::<K, V, _>(parent, &operator);
            }),
        });
        Port::of(node)
    }

    fn uid_of(&self, port: Port) -> Arc<str> {
        let declarations = self.shared.borrow();
        declarations.nodes.get(port.node).map_or_else(|| "?".into(), |node| Arc::clone(&node.uid))
    }

    /// A stream whose key is no longer the one it is partitioned by.
    fn with_changed_key<K2: Data, V2: Data>(&self, port: Port) -> Stream<K2, V2> {
        let partitioned_by = PartitionedBy::Other { since: self.uid_of(port) };
        Stream::new(&self.shared, port, partitioned_by, self.on_error)
    }

    /// A stream with the same keys.
    fn with_same_key<V2: Data>(&self, port: Port) -> Stream<K, V2> {
        Stream::new(&self.shared, port, self.partitioned_by.clone(), self.on_error)
    }

    /// A new key and a new value. The key counts as changed; see [`Stream::map_values`].
    pub fn map<K2: Data, V2: Data>(
        &self,
        function: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    ) -> Stream<K2, V2> {
        self.try_map(move |key, value| Ok::<_, Infallible>(function(key, value)))
    }

    /// [`Stream::map`] with a function that can refuse.
    pub fn try_map<K2: Data, V2: Data, E: Display + 'static>(
        &self,
        function: impl Fn(K, V) -> Result<(K2, V2), E> + Send + Sync + 'static,
    ) -> Stream<K2, V2> {
        let function = Arc::new(function);
        self.with_changed_key(self.step("map", Kind::Operator, move |step, next| {
            Map::new(step, Arc::clone(&function), next)
        }))
    }

    /// A new value under the same key.
    pub fn map_values<V2: Data>(
        &self,
        function: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> Stream<K, V2> {
        self.try_map_values(move |key, value| Ok::<_, Infallible>(function(key, value)))
    }

    /// [`Stream::map_values`] with a function that can refuse.
    pub fn try_map_values<V2: Data, E: Display + 'static>(
        &self,
        function: impl Fn(&K, V) -> Result<V2, E> + Send + Sync + 'static,
    ) -> Stream<K, V2> {
        let function = Arc::new(function);
        self.with_same_key(self.step("map-values", Kind::Operator, move |step, next| {
            MapValues::new(step, Arc::clone(&function), next)
        }))
    }

    /// Keeps what the predicate accepts.
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.try_filter(move |key, value| Ok::<_, Infallible>(predicate(key, value)))
    }

    /// [`Stream::filter`] with a predicate that can refuse.
    #[must_use]
    pub fn try_filter<E: Display + 'static>(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, E> + Send + Sync + 'static,
    ) -> Self {
        let predicate = Arc::new(predicate);
        self.with_same_key(self.step("filter", Kind::Operator, move |step, next| {
            Filter::new(step, Arc::clone(&predicate), next)
        }))
    }

    /// Any number of keys and values for each record. The key counts as changed.
    pub fn flat_map<K2: Data, V2: Data, I: IntoIterator<Item = (K2, V2)> + 'static>(
        &self,
        function: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> Stream<K2, V2> {
        self.try_flat_map(move |key, value| Ok::<_, Infallible>(function(key, value)))
    }

    /// [`Stream::flat_map`] with a function that can refuse.
    pub fn try_flat_map<K2, V2, I, E>(
        &self,
        function: impl Fn(K, V) -> Result<I, E> + Send + Sync + 'static,
    ) -> Stream<K2, V2>
    where
        K2: Data,
        V2: Data,
        I: IntoIterator<Item = (K2, V2)> + 'static,
        E: Display + 'static,
    {
        let function = Arc::new(function);
        self.with_changed_key(self.step("flat-map", Kind::Operator, move |step, next| {
            FlatMap::new(step, Arc::clone(&function), next)
        }))
    }

    /// Any number of values for each record, under the same key.
    pub fn flat_map_values<V2: Data, I: IntoIterator<Item = V2> + 'static>(
        &self,
        function: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> Stream<K, V2> {
        self.try_flat_map_values(move |key, value| Ok::<_, Infallible>(function(key, value)))
    }

    /// [`Stream::flat_map_values`] with a function that can refuse.
    pub fn try_flat_map_values<V2, I, E>(
        &self,
        function: impl Fn(&K, V) -> Result<I, E> + Send + Sync + 'static,
    ) -> Stream<K, V2>
    where
        V2: Data,
        I: IntoIterator<Item = V2> + 'static,
        E: Display + 'static,
    {
        let function = Arc::new(function);
        self.with_same_key(self.step("flat-map-values", Kind::Operator, move |step, next| {
            FlatMapValues::new(step, Arc::clone(&function), next)
        }))
    }

    /// Looks at every record. What the function does is no part of the epoch: it is done again
    /// when an epoch is.
    #[must_use]
    pub fn peek(&self, function: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let function = Arc::new(function);
        self.with_same_key(
            self.step("peek", Kind::Effect, move |_, next| Peek::new(Arc::clone(&function), next)),
        )
    }

    /// A new key for each record. Records stay in their partitions: follow it with
    /// [`Stream::repartition`] before anything with state, or use [`Stream::group_by`].
    pub fn key_by<K2: Data>(
        &self,
        function: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> Stream<K2, V> {
        self.try_key_by(move |key, value| Ok::<_, Infallible>(function(key, value)))
    }

    /// [`Stream::key_by`] with a function that can refuse.
    pub fn try_key_by<K2: Data, E: Display + 'static>(
        &self,
        function: impl Fn(&K, &V) -> Result<K2, E> + Send + Sync + 'static,
    ) -> Stream<K2, V> {
        let function = Arc::new(function);
        self.with_changed_key(self.step("key-by", Kind::Operator, move |step, next| {
            KeyBy::new(step, Arc::clone(&function), next)
        }))
    }

    /// What the predicate accepts, and the rest. One of the two may go unused.
    pub fn branch(
        &self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> (Self, Self) {
        self.try_branch(move |key, value| Ok::<_, Infallible>(predicate(key, value)))
    }

    /// [`Stream::branch`] with a predicate that can refuse.
    pub fn try_branch<E: Display + 'static>(
        &self,
        predicate: impl Fn(&K, &V) -> Result<bool, E> + Send + Sync + 'static,
    ) -> (Self, Self) {
        let uid = self.shared.borrow().ordinal("branch");
        let step = StepPolicy::new(Arc::clone(&uid), self.on_error);
        let (parent, predicate) = (self.port, Arc::new(predicate));
        let node = self.shared.borrow_mut().add(Node {
            uid,
            operator: "branch",
            named: false,
            parents: vec![parent],
            kind: Kind::Operator,
            stores: Vec::new(),
            install: Arc::new(move |wiring, node| {
                let matched = wiring.outlet::<K, V>(Port { node, port: 0 });
                let rest = wiring.outlet::<K, V>(Port { node, port: 1 });
                let predicate = Arc::clone(&predicate);
                let branch = Branch::new(step.clone(), predicate, matched, rest);
                wiring.connect::<K, V, _>(parent, &Rc::new(RefCell::new(branch)));
            }),
        });
        let rest = self.with_same_key(Port { node, port: 1 });
        (self.with_same_key(Port { node, port: 0 }), rest)
    }

    /// The records of both streams. The order within each is kept, between them there is none.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let uid = self.shared.borrow().ordinal("merge");
        if !Rc::ptr_eq(&self.shared, &other.shared) {
            let error = TopologyError::ForeignStream { step: uid.as_ref().into() };
            self.shared.borrow_mut().errors.push(error);
            return self.clone();
        }
        let parents = vec![self.port, other.port];
        let partitioned_by = self.partitioned_by.merged(&other.partitioned_by, &uid);
        let install = {
            let parents = parents.clone();
            Arc::new(move |wiring: &mut crate::operators::Wiring, node| {
                let next = wiring.outlet::<K, V>(Port::of(node));
                let merge = Rc::new(RefCell::new(Merge::new(next)));
                for &parent in &parents {
                    wiring.connect::<K, V, _>(parent, &merge);
                }
            })
        };
        let node = self.shared.borrow_mut().add(Node {
            uid,
            operator: "merge",
            named: false,
            parents,
            kind: Kind::Operator,
            stores: Vec::new(),
            install,
        });
        Self::new(&self.shared, Port::of(node), partitioned_by, self.on_error)
    }

    /// Groups by a new key, through a repartition topic that is named by the declaration.
    pub fn group_by<K2: Key>(
        &self,
        repartition: Repartition<K2, V>,
        key: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KeyedStream<K2, V> {
        self.key_by(key).repartition(repartition).group_by_key()
    }

    /// Groups by the key that the stream is partitioned by. On a stream whose key was changed the
    /// topology does not build: the error names the step that changed it.
    pub fn group_by_key(&self) -> KeyedStream<K, V>
    where
        K: Key,
    {
        let codec = match &self.partitioned_by {
            PartitionedBy::Key(codec) => Arc::clone(codec),
            PartitionedBy::Other { since } => {
                let error = TopologyError::KeyChanged {
                    step: format!("group_by_key on what {} gives", self.uid_of(self.port)),
                    by: since.as_ref().into(),
                };
                self.shared.borrow_mut().errors.push(error);
                Arc::new(NoCodec)
            }
        };
        KeyedStream::new(&self.shared, self.port, codec, self.on_error)
    }
}
