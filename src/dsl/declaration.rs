//! What has been declared so far: nodes with their parents, and how each is installed in a chain.
//!
//! Types are erased here; the typed handles (`Stream`, `Table`) only connect what fits.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use crate::{
    operators::{ErrorPolicy, Port, Wiring},
    time::WatermarkStrategy,
    topology::{StartFrom, StoreSpec, TopicRef, TopologyError, check_name, check_topic},
};

/// Installs a node in the chain of one task; is given the node's number.
pub(super) type Installer = Arc<dyn Fn(&mut Wiring, usize) + Send + Sync>;

/// What a node is to the outside.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Reads a topic.
    Source {
        topic: TopicRef,
        start: StartFrom,
        /// The sink that writes the topic, where the topology itself does.
        written_by: Option<usize>,
        watermarks: Option<WatermarkStrategy>,
    },
    /// Works.
    Operator,
    /// Works, and is a reason to exist without anything below it.
    Effect,
    /// Writes a topic.
    Sink { topic: TopicRef, on_error: ErrorPolicy },
}

/// A declared node.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) uid: Arc<str>,
    pub(super) operator: &'static str,
    /// Whether the user named it (so that it may name its subtopology).
    pub(super) named: bool,
    pub(super) parents: Vec<Port>,
    pub(super) kind: Kind,
    pub(super) stores: Vec<StoreSpec>,
    pub(super) install: Installer,
}

/// Everything declared in one builder.
pub(super) struct Declarations {
    pub(super) nodes: Vec<Node>,
    pub(super) errors: Vec<TopologyError>,
    pub(super) on_error: ErrorPolicy,
    uids: BTreeSet<Arc<str>>,
    topics_read: BTreeSet<String>,
}

/// Shared by the builder and its streams.
pub(super) type Shared = Rc<RefCell<Declarations>>;

impl Declarations {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            errors: Vec::new(),
            on_error: ErrorPolicy::default(),
            uids: BTreeSet::new(),
            topics_read: BTreeSet::new(),
        }
    }

    /// The uid of a step that the user named; checks it.
    pub(super) fn name(&mut self, name: &str, operator: &str) -> Arc<str> {
        if let Err(error) = check_name(name, operator) {
            self.errors.push(error);
        }
        let uid: Arc<str> = name.into();
        if !self.uids.insert(Arc::clone(&uid)) {
            self.errors.push(TopologyError::DuplicateName { name: name.into() });
        }
        uid
    }

    /// The uid of the next step, which has no name: nothing durable belongs to it.
    pub(super) fn ordinal(&self, operator: &str) -> Arc<str> {
        // '#' cannot be in a name, so an ordinal never meets one.
        format!("{operator}#{}", self.nodes.len()).into()
    }

    /// Checks a topic that is to be read.
    pub(super) fn reads(&mut self, topic: &str) {
        if let Err(error) = check_topic(topic) {
            self.errors.push(error);
        }
        if !self.topics_read.insert(topic.to_owned()) {
            self.errors.push(TopologyError::TopicReadTwice { topic: topic.into() });
        }
    }

    /// Checks a topic that is to be written; the sink's uid.
    pub(super) fn writes(&mut self, topic: &str) -> Arc<str> {
        if let Err(error) = check_topic(topic) {
            self.errors.push(error);
        }
        let taken = self
            .nodes
            .iter()
            .any(|node| matches!(node.kind, Kind::Sink { .. }) && &*node.uid == topic);
        if taken { format!("{topic}#{}", self.nodes.len()).into() } else { topic.into() }
    }

    /// Adds a node; its number.
    pub(super) fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}
