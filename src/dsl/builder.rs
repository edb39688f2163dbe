//! Where a topology begins and ends.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use crate::{
    dsl::{
        Source, Stream, Table,
        cut::cut,
        declaration::{Declarations, Kind, Node, Shared},
        partitioned_by::PartitionedBy,
    },
    formats::Codec,
    operators::{self, Data, ErrorPolicy, Key, Port, StepPolicy, TimestampOf},
    time::WatermarkStrategy,
    topology::{StartFrom, TopicRef, Topology, TopologyError, check_name, validate},
};

/// Collects sources, steps and sinks, and builds the topology.
///
/// ```
/// use tidemill::{
///     dsl::{Repartition, Source, TopologyBuilder},
///     formats::{Unit, Utf8},
/// };
///
/// let builder = TopologyBuilder::new("word-count");
/// builder
///     .stream(Source::new("lines", Unit, Utf8))
///     .flat_map_values(|_, line: String| {
///         line.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>()
///     })
///     .group_by(Repartition::new("words", Utf8, Utf8), |_, word| word.clone())
///     .count("counts")
///     .updates()
///     .map_values(|_, count| count.to_string())
///     .to("word-counts", Utf8, Utf8);
/// let topology = builder.build()?;
/// assert_eq!(topology.subtopologies.len(), 2);
/// # Ok::<(), tidemill::dsl::TopologyError>(())
/// ```
pub struct TopologyBuilder {
    name: String,
    declarations: Shared,
}

/// What reads a topic: an external one, or one that the topology writes itself.
pub(super) struct Reading<K, V> {
    pub(super) topic: TopicRef,
    pub(super) start: StartFrom,
    pub(super) written_by: Option<usize>,
    pub(super) uid: Arc<str>,
    pub(super) key: Arc<dyn Codec<K>>,
    pub(super) value: Arc<dyn Codec<V>>,
    pub(super) on_error: ErrorPolicy,
    pub(super) timestamps: Option<TimestampOf<K, V>>,
    pub(super) watermarks: Option<WatermarkStrategy>,
}

/// Adds a source node; its output.
pub(super) fn read<K: Data, V: Data>(shared: &Shared, reading: Reading<K, V>) -> Port {
    let Reading { topic, start, written_by, uid, key, value, on_error, timestamps, watermarks } =
        reading;
    let step = StepPolicy::new(Arc::clone(&uid), on_error);
    let node = shared.borrow_mut().add(Node {
        uid,
        operator: "source",
        named: false,
        parents: Vec::new(),
        kind: Kind::Source { topic, start, written_by, watermarks },
        stores: Vec::new(),
        install: Arc::new(move |wiring, node| {
            let next = wiring.outlet::<K, V>(Port::of(node));
            let (key, value) = (Arc::clone(&key), Arc::clone(&value));
            let head = operators::Source::new(step.clone(), key, value, next);
            wiring.source(node, head.timestamps(timestamps.clone()));
        }),
    });
    Port::of(node)
}

impl TopologyBuilder {
    /// An empty topology. The name becomes the default of the application id.
    pub fn new(name: impl Into<String>) -> Self {
        let declarations = Rc::new(RefCell::new(Declarations::new()));
        Self { name: name.into(), declarations }
    }

    /// The policy of every source and stream declared from here on: `fail` unless told otherwise.
    #[must_use]
    pub fn on_error(self, policy: ErrorPolicy) -> Self {
        self.declarations.borrow_mut().on_error = policy;
        self
    }

    /// A stream of the records of a topic.
    pub fn stream<K: Data, V: Data>(&self, source: Source<K, V>) -> Stream<K, V> {
        let Source { topic, key, value, start, on_error, timestamps, watermarks } = source;
        let default = {
            let mut declarations = self.declarations.borrow_mut();
            declarations.reads(&topic);
            declarations.on_error
        };
        let partitioned_by = PartitionedBy::Key(Arc::clone(&key));
        let reading = Reading {
            uid: topic.as_str().into(),
            topic: TopicRef::External(topic),
            start,
            written_by: None,
            key,
            value,
            on_error: on_error.unwrap_or(default),
            timestamps,
            watermarks,
        };
        let port = read(&self.declarations, reading);
        Stream::new(&self.declarations, port, partitioned_by, default)
    }

    /// A table of the latest value per key of a topic; a null value deletes.
    pub fn table<K: Key, V: Data>(&self, name: &str, source: Source<K, V>) -> Table<K, V> {
        let Source { topic, key, value, start, on_error, timestamps, watermarks } = source;
        // A delete has no value to ask: it keeps the record's timestamp.
        let timestamps = timestamps.map(|of| {
            Arc::new(move |key: &K, row: &Option<V>| of(key, row.as_ref()?)) as TimestampOf<_, _>
        });
        let rows = Source {
            topic,
            key,
            value: Arc::new(crate::formats::Nullable(Arc::clone(&value))) as Arc<dyn Codec<_>>,
            start,
            on_error,
            timestamps,
            watermarks,
        };
        Table::materialize(&self.stream(rows), name, value)
    }

    /// Cuts what was declared into subtopologies. Errors: everything that is wrong with it.
    pub fn build(self) -> Result<Topology, TopologyError> {
        let declarations = self.declarations.borrow();
        let mut errors = declarations.errors.clone();
        if let Err(error) = check_name(&self.name, "the topology") {
            errors.push(error);
        }
        TopologyError::collect(errors)?;
        let topology = cut(&self.name, &declarations.nodes)?;
        validate(&topology)?;
        Ok(topology)
    }
}
