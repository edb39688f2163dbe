//! Wires the operators of one task together, from the bottom of the graph to the top.
//!
//! The types are erased between declaration and wiring; the typed `dsl` guarantees that they
//! agree, and what does not agree is reported by [`crate::operators::Chain`]'s `open`.

use std::{any::Any, cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::operators::{
    Chain, Data, Outlet, Receive, ReceiveRecord, Receiver, SinkIndex, SourceIndex, Stateful,
};

/// One output of one declared node: most have a single port, `branch` has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The declared node's number.
    pub node: usize,
    /// Which of its outputs.
    pub port: u8,
}

impl Port {
    /// The only (or first) output of a node.
    pub fn of(node: usize) -> Self {
        Self { node, port: 0 }
    }
}

/// Collects operators while a chain is built. Nodes are wired in reverse order of declaration, so
/// that all receivers of a node exist before the node itself.
#[derive(Default)]
pub struct Wiring {
    sinks: BTreeMap<usize, SinkIndex>,
    sources: BTreeMap<usize, SourceIndex>,
    waiting: BTreeMap<Port, Vec<Box<dyn Any>>>,
    heads: BTreeMap<SourceIndex, Box<dyn ReceiveRecord>>,
    stateful: Vec<Rc<RefCell<dyn Stateful>>>,
    broken: Option<String>,
}

impl Wiring {
    /// An empty wiring, told which declared nodes are which sources and sinks.
    pub fn new(sources: BTreeMap<usize, SourceIndex>, sinks: BTreeMap<usize, SinkIndex>) -> Self {
        Self { sinks, sources, ..Self::default() }
    }

    /// What listens to `port`, in the order of declaration.
    pub fn outlet<K: Data, V: Data>(&mut self, port: Port) -> Outlet<K, V> {
        let waiting = self.waiting.remove(&port).unwrap_or_default();
        let mut receivers = Vec::with_capacity(waiting.len());
        for receiver in waiting.into_iter().rev() {
            match receiver.downcast::<Receiver<K, V>>() {
                Ok(receiver) => receivers.push(*receiver),
                Err(_) => self.fail(format!("types do not agree behind node {}", port.node)),
            }
        }
        Outlet::new(receivers)
    }

    /// Makes `receiver` listen to `parent`.
    pub fn connect<K: Data, V: Data, N: Receive<K, V> + 'static>(
        &mut self,
        parent: Port,
        receiver: &Rc<RefCell<N>>,
    ) {
        let receiver: Receiver<K, V> = Rc::<RefCell<N>>::clone(receiver);
        self.waiting.entry(parent).or_default().push(Box::new(receiver));
    }

    /// Makes an operator take part in the task's life.
    pub fn stateful<N: Stateful + 'static>(&mut self, operator: &Rc<RefCell<N>>) {
        self.stateful.push(Rc::<RefCell<N>>::clone(operator));
    }

    /// Makes `head` the operator of the declared source `node`.
    pub fn source(&mut self, node: usize, head: impl ReceiveRecord + 'static) {
        match self.sources.get(&node) {
            Some(&index) => {
                self.heads.insert(index, Box::new(head));
            }
            None => self.fail(format!("node {node} is no source of this subtopology")),
        }
    }

    /// The index of the declared sink `node`.
    pub fn sink(&mut self, node: usize) -> SinkIndex {
        self.sinks.get(&node).copied().unwrap_or_else(|| {
            self.fail(format!("node {node} is no sink of this subtopology"));
            SinkIndex::MAX
        })
    }

    /// The finished chain.
    pub fn finish(mut self) -> Chain {
        let complete = self.heads.keys().copied().eq(0..self.sources.len());
        if !complete {
            self.fail("a source has no operator".into());
        }
        // Wired from the bottom; life goes from the top.
        self.stateful.reverse();
        Chain::new(self.heads.into_values().collect(), self.stateful, self.broken)
    }

    fn fail(&mut self, reason: String) {
        self.broken.get_or_insert(reason);
    }
}
