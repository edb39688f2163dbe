//! One value per key, and the stream of its changes.

use std::{cell::RefCell, marker::PhantomData, rc::Rc, sync::Arc};

use crate::{
    dsl::{
        Stream,
        declaration::{Kind, Node, Shared},
        partitioned_by::PartitionedBy,
    },
    formats::Codec,
    operators::{Data, Emit, ErrorPolicy, FlatMap, Fold, Key, PerEpoch, Port, StepPolicy, latest},
    state::ValueState,
    topology::StoreSpec,
};

/// A table: read from a topic, or made by `count`, `reduce`, `aggregate`.
pub struct Table<K, V> {
    shared: Shared,
    port: Port,
    partitioned_by: PartitionedBy<K>,
    on_error: ErrorPolicy,
    values: PhantomData<fn() -> V>,
}

const VALUE: &str = "value";

impl<K: Key, V: Data> Table<K, V> {
    pub(super) fn new(
        shared: &Shared,
        port: Port,
        partitioned_by: PartitionedBy<K>,
        on_error: ErrorPolicy,
    ) -> Self {
        Self { shared: Rc::clone(shared), port, partitioned_by, on_error, values: PhantomData }
    }

    /// Keeps the latest value per key of `rows` in state, encoded with `value`.
    pub(super) fn materialize(
        rows: &Stream<K, Option<V>>,
        name: &str,
        value: Arc<dyn Codec<V>>,
    ) -> Self {
        let shared = &rows.shared;
        let keyed = rows.group_by_key();
        let key = keyed.key();
        let uid = shared.borrow_mut().name(name, "table");
        let (parent, of_node) = (rows.port, Arc::clone(&uid));
        let node = shared.borrow_mut().add(Node {
            uid,
            operator: "table",
            named: true,
            parents: vec![parent],
            kind: Kind::Effect,
            stores: vec![StoreSpec { operator: name.into(), state: VALUE.into() }],
            install: Arc::new(move |wiring, node| {
                let (key, value) = (Arc::clone(&key), Arc::clone(&value));
                let state = ValueState::new(&of_node, VALUE, key, value);
                let next = wiring.outlet(Port::of(node));
                let step = StepPolicy::new(Arc::clone(&of_node), ErrorPolicy::Fail);
                let fold = Fold::new(step, state, Arc::new(latest::<K, V>), false, next);
                let table = Rc::new(RefCell::new(fold));
                wiring.connect::<K, Option<V>, _>(parent, &table);
                wiring.stateful(&table);
            }),
        });
        Self::new(shared, Port::of(node), rows.partitioned_by.clone(), rows.on_error)
    }

    /// When changes go on to the streams made from what this returns; every update unless told
    /// otherwise.
    #[must_use]
    pub fn emit(&self, emit: Emit) -> Self {
        let (shared, parent) = (&self.shared, self.port);
        let port = match emit {
            Emit::EveryUpdate => parent,
            Emit::PerEpoch => {
                let uid = shared.borrow().ordinal("per-epoch");
                Port::of(shared.borrow_mut().add(Node {
                    uid,
                    operator: "per-epoch",
                    named: false,
                    parents: vec![parent],
                    kind: Kind::Operator,
                    stores: Vec::new(),
                    install: Arc::new(move |wiring, node| {
                        let next = wiring.outlet::<K, Option<V>>(Port::of(node));
                        let held = Rc::new(RefCell::new(PerEpoch::new(next)));
                        wiring.connect::<K, Option<V>, _>(parent, &held);
                        wiring.stateful(&held);
                    }),
                }))
            }
        };
        Self::new(shared, port, self.partitioned_by.clone(), self.on_error)
    }

    /// The stream of all changes; `None` where a key was deleted.
    pub fn to_stream(&self) -> Stream<K, Option<V>> {
        Stream::new(&self.shared, self.port, self.partitioned_by.clone(), self.on_error)
    }

    /// The stream of new values, without deletions (what `count`, `reduce` and `aggregate` make is
    /// never deleted).
    pub fn updates(&self) -> Stream<K, V> {
        let (shared, parent) = (&self.shared, self.port);
        let uid = shared.borrow().ordinal("updates");
        let step = StepPolicy::new(Arc::clone(&uid), self.on_error);
        let node = shared.borrow_mut().add(Node {
            uid,
            operator: "updates",
            named: false,
            parents: vec![parent],
            kind: Kind::Operator,
            stores: Vec::new(),
            install: Arc::new(move |wiring, node| {
                let next = wiring.outlet::<K, V>(Port::of(node));
                let present = Arc::new(|key: K, value: Option<V>| {
                    Ok::<_, std::convert::Infallible>(value.map(|value| (key, value)))
                });
                let updates = FlatMap::new(step.clone(), present, next);
                wiring.connect::<K, Option<V>, _>(parent, &Rc::new(RefCell::new(updates)));
            }),
        });
        let port = Port::of(node);
        Stream::new(shared, port, self.partitioned_by.clone(), self.on_error)
    }
}
