//! A cluster in memory for the command line's tests: topics, groups, and being out of reach.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    cli::{DevJob, DevRecord, Engine, Job},
    error::{Error, ErrorKind},
    record::TopicName,
    runtime::{ApplicationAdmin, TopicAdmin, TopicInfo, TopicSpec, TopicsError},
    settings::Settings,
};

/// What the cluster has.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) topics: BTreeMap<TopicName, TopicInfo>,
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    pub(crate) brokers: usize,
    /// How many more questions stay without an answer.
    pub(crate) silent: usize,
}

/// The cluster, and an engine that runs nothing on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeCluster(Arc<Mutex<Content>>);

impl FakeCluster {
    /// One broker with topics of that many partitions.
    pub(crate) fn with(topics: &[(&str, i32)]) -> Self {
        let cluster = Self::default();
        cluster.content().brokers = 1;
        for (name, partitions) in topics {
            cluster.add(&TopicSpec {
                name: (*name).into(),
                partitions: *partitions,
                replication: 1,
                config: BTreeMap::new(),
            });
        }
        cluster
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    pub(crate) fn add(&self, spec: &TopicSpec) {
        let defaulted = |n: i32, default: i32| if n < 0 { default } else { n };
        let mut config = spec.config.clone();
        // What a broker shows of a topic that does not set it.
        for (key, value) in [("cleanup.policy", "delete"), ("min.insync.replicas", "1")] {
            config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let info = TopicInfo {
            name: spec.name.clone(),
            id: "0".repeat(32),
            partitions: defaulted(spec.partitions, 1),
            replication: defaulted(spec.replication, 1),
            config,
        };
        self.content().topics.insert(spec.name.clone(), info);
    }

    pub(crate) fn topic_names(&self) -> Vec<String> {
        self.content().topics.keys().map(ToString::to_string).collect()
    }

    fn answer(&self) -> Result<(), TopicsError> {
        let mut content = self.content();
        if content.silent == 0 {
            return Ok(());
        }
        content.silent -= 1;
        let address = "broker-7:9092".to_owned();
        Err(TopicsError::Unreachable { address, reason: "connection refused".to_owned() })
    }
}

impl TopicAdmin for FakeCluster {
    fn describe(&mut self, topics: &[TopicName]) -> Result<Vec<Option<TopicInfo>>, TopicsError> {
        self.answer()?;
        let content = self.content();
        Ok(topics.iter().map(|topic| content.topics.get(topic).cloned()).collect())
    }

    fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicsError> {
        self.answer()?;
        for topic in topics {
            self.add(topic);
        }
        Ok(())
    }

    fn brokers(&mut self) -> Result<usize, TopicsError> {
        self.answer()?;
        Ok(self.content().brokers)
    }
}

impl ApplicationAdmin for FakeCluster {
    fn group_members(&mut self, group: &str) -> Result<Option<Vec<String>>, TopicsError> {
        self.answer()?;
        Ok(self.content().groups.get(group).cloned())
    }

    fn delete_group(&mut self, group: &str) -> Result<(), TopicsError> {
        self.answer()?;
        self.content().groups.remove(group);
        Ok(())
    }

    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<(), TopicsError> {
        self.answer()?;
        let mut content = self.content();
        for topic in topics {
            content.topics.remove(topic);
        }
        Ok(())
    }
}

impl Engine for FakeCluster {
    fn admin(&self, _settings: &Settings) -> Result<Box<dyn ApplicationAdmin>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn run(&self, _job: Job) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Other, "the fake cluster runs nothing"))
    }

    /// Gives every record back on the topic `echo`.
    fn dev(&self, job: DevJob, emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error> {
        for record in job.records {
            emit(DevRecord { topic: "echo".to_owned(), ..record });
        }
        Ok(())
    }
}
