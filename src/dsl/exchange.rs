//! Where streams meet topics: `to`, `through`, `repartition`.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use crate::{
    dsl::{
        Repartition, Stream,
        builder::{Reading, read},
        declaration::{Kind, Node},
        partitioned_by::PartitionedBy,
    },
    formats::Codec,
    operators::{Data, ErrorPolicy, Sink, StepPolicy},
    state::{KEY_GROUPS_DEFAULT, check_partitions},
    topology::{StartFrom, TopicRef, TopologyError},
};

impl<K: Data, V: Data> Stream<K, V> {
    /// Sends every record through a repartition topic, so that the records of one key meet in one
    /// partition. Cuts the topology: what follows runs in tasks of its own.
    #[must_use]
    pub fn repartition(&self, repartition: Repartition<K, V>) -> Self {
        let Repartition { name, key, value, partitions } = repartition;
        let uid = self.shared.borrow_mut().name(&name, "repartition");
        if let Some(error) = partitions.and_then(|count| unfit(&name, count)) {
            self.shared.borrow_mut().errors.push(error);
        }
        let topic = TopicRef::Repartition { step: name, partitions };
        let codecs = (Arc::clone(&key), Arc::clone(&value));
        let sink = self.sink(Arc::clone(&uid), true, topic.clone(), codecs);
        self.read_back(Reading {
            topic,
            // Whatever was written before the first assignment must be read.
            start: StartFrom::Earliest,
            written_by: Some(sink),
            uid,
            key,
            value,
            // Tidemill wrote it: what cannot be decoded is damage, not bad input.
            on_error: ErrorPolicy::Fail,
            timestamps: None,
            // They come in band.
            watermarks: None,
        })
    }

    /// Writes every record to a topic of the user's and reads it back, from its first record on.
    /// Cuts the topology. Other writers may write to the topic too.
    #[must_use]
    pub fn through(
        &self,
        topic: &str,
        key: impl Codec<K> + 'static,
        value: impl Codec<V> + 'static,
    ) -> Self {
        let (key, value): (Arc<dyn Codec<K>>, Arc<dyn Codec<V>>) = (Arc::new(key), Arc::new(value));
        let uid = {
            let mut declarations = self.shared.borrow_mut();
            declarations.reads(topic);
            declarations.writes(topic)
        };
        let target = TopicRef::External(topic.into());
        let codecs = (Arc::clone(&key), Arc::clone(&value));
        let sink = self.sink(uid, false, target.clone(), codecs);
        self.read_back(Reading {
            topic: target,
            start: StartFrom::Earliest,
            written_by: Some(sink),
            uid: topic.into(),
            key,
            value,
            on_error: self.on_error,
            timestamps: None,
            watermarks: None,
        })
    }

    fn read_back(&self, reading: Reading<K, V>) -> Self {
        let partitioned_by = PartitionedBy::Key(Arc::clone(&reading.key));
        let port = read(&self.shared, reading);
        Self::new(&self.shared, port, partitioned_by, self.on_error)
    }

    /// Writes every record to a topic, partitioned by murmur2 of the key as Kafka's Java client
    /// does. A target that would refuse a record (size, timestamp) makes it follow the policy.
    pub fn to(&self, topic: &str, key: impl Codec<K> + 'static, value: impl Codec<V> + 'static) {
        let uid = self.shared.borrow_mut().writes(topic);
        let codecs: (Arc<dyn Codec<K>>, Arc<dyn Codec<V>>) = (Arc::new(key), Arc::new(value));
        self.sink(uid, false, TopicRef::External(topic.into()), codecs);
    }

    /// Adds a sink; its node. With `repartition` the user named it.
    fn sink(
        &self,
        uid: Arc<str>,
        repartition: bool,
        topic: TopicRef,
        (key, value): (Arc<dyn Codec<K>>, Arc<dyn Codec<V>>),
    ) -> usize {
        let step = StepPolicy::new(Arc::clone(&uid), self.on_error);
        let parent = self.port;
        self.shared.borrow_mut().add(Node {
            uid,
            operator: if repartition { "repartition" } else { "to" },
            named: repartition,
            parents: vec![parent],
            kind: Kind::Sink { topic, on_error: self.on_error },
            stores: Vec::new(),
            install: Arc::new(move |wiring, node| {
                let index = wiring.sink(node);
                let (key, value) = (Arc::clone(&key), Arc::clone(&value));
                let sink = Sink::new(step.clone(), index, key, value, repartition);
                wiring.connect::<K, V, _>(parent, &Rc::new(RefCell::new(sink)));
            }),
        })
    }
}

/// Why a declared partition count cannot be.
fn unfit(step: &str, partitions: i32) -> Option<TopologyError> {
    let reason = check_partitions(partitions, KEY_GROUPS_DEFAULT).err()?.to_string();
    Some(TopologyError::Partitions { step: step.into(), reason })
}
