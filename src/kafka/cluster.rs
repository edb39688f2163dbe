//! Questions about topics and groups, and their creation and deletion: the safe crate's admin
//! client, called so that it blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::{
    failure::{self, AskError},
    native::{
        self, Handle, Met, code, code_text,
        describe::{self, GroupDescription, TopicDescription},
    },
};
use crate::{
    record::{Offset, TopicName, TopicPartition},
    runtime::{TopicInfo, TopicSpec},
};

/// How long the controller may take to create or delete.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// A first connection is tried in slices, to see its errors early.
const SLICE: Duration = Duration::from_millis(250);
/// After so many slices of nothing but broken connections no broker is there.
const SLICES_DOWN: u32 = 4;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
const SETTLE_ATTEMPTS: u32 = 200;

/// A client for questions about a cluster. Any thread may ask; every call blocks, at most about
/// two time-outs long.
pub(super) struct Cluster {
    /// Always there until the drop.
    admin: Option<AdminClient<DefaultClientContext>>,
    timeout: Duration,
    reached: AtomicBool,
}

impl Cluster {
    /// A client; it connects when it is asked something.
    ///
    /// # Errors
    /// librdkafka does not take the configuration.
    pub(super) fn new(config: &ClientConfig, timeout: Duration) -> Result<Self, KafkaError> {
        let admin = Some(config.create()?);
        Ok(Self { admin, timeout, reached: AtomicBool::new(false) })
    }

    /// How many brokers the cluster has. Also what a first connection is tried with: wrong
    /// credentials, and that nobody is there, are told as soon as they are known.
    pub(super) fn broker_count(&self) -> Result<usize, AskError> {
        let admin = self.admin()?;
        let slices = u32::try_from(self.timeout.as_millis() / SLICE.as_millis()).unwrap_or(1);
        let mut met = Met::default();
        for slice in 1..=slices.max(1) {
            let answer = admin.inner().fetch_metadata(None, SLICE);
            let more = native::drain_main_queue(Handle::of_safe(admin.inner()));
            met.errors.extend(more.errors);
            met.broken.extend(more.broken);
            match answer {
                Ok(metadata) => {
                    self.reached.store(true, Ordering::Relaxed);
                    return Ok(metadata.brokers().len());
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
                    if code > 0 {
                        return Err(refused("metadata", code));
                    }
                }
            }
            if let Some(error) = credentials(&met) {
                return Err(error);
            }
            let is_down = met.errors.iter().any(|error| error.code == code::ALL_BROKERS_DOWN);
            if is_down && slice >= SLICES_DOWN {
                break;
            }
        }
        // Why the last connection broke says more than that there is none.
        let silence = || code_text(code::TIMED_OUT);
        Err(AskError::NoAnswer(met.broken.pop().unwrap_or_else(silence)))
    }

    /// Describes topics with their configuration, in the order asked; `None` for one that does
    /// not exist.
    pub(super) fn describe(
        &self,
        topics: &[TopicName],
    ) -> Result<Vec<Option<TopicInfo>>, AskError> {
        let mut found = BTreeMap::new();
        for (name, description) in self.described(topics)? {
            let TopicDescription { id, partitions, replication, .. } = description;
            let info = TopicInfo {
                name: name.clone(),
                id,
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                replication: i32::try_from(replication).unwrap_or(i32::MAX),
                config: BTreeMap::new(),
            };
            found.insert(name, info);
        }
        self.add_configs(&mut found)?;
        Ok(topics.iter().map(|topic| found.get(topic).cloned()).collect())
    }

    /// Creates topics and waits until their partitions have leaders; an existing one is no error.
    pub(super) fn create(&self, topics: &[TopicSpec]) -> Result<(), AskError> {
        if topics.is_empty() {
            return Ok(());
        }
        let wanted: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| NewTopic {
                name: &topic.name,
                num_partitions: topic.partitions,
                replication: TopicReplication::Fixed(topic.replication),
                config: topic.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            })
            .collect();
        let admin = self.reached_admin()?;
        let results = self.wait("topics", admin.create_topics(&wanted, &self.options()))?;
        for (topic, error) in results.into_iter().filter_map(Result::err) {
            if error as i32 != code::TOPIC_ALREADY_EXISTS {
                return Err(refused(&format!("topic {topic}"), error as i32));
            }
        }
        let names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        self.wait_for_leaders(&names)
    }

    /// Deletes topics; one that does not exist is no error.
    pub(super) fn delete_topics(&self, topics: &[TopicName]) -> Result<(), AskError> {
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        let admin = self.reached_admin()?;
        let results = self.wait("topics", admin.delete_topics(&names, &self.options()))?;
        match results.into_iter().filter_map(Result::err).find(|(_, error)| !is_absent(*error)) {
            Some((topic, error)) => Err(refused(&format!("topic {topic}"), error as i32)),
            None => Ok(()),
        }
    }

    /// Deletes a group without members; one that does not exist is no error.
    pub(super) fn delete_group(&self, group: &str) -> Result<(), AskError> {
        let admin = self.reached_admin()?;
        let results = self.wait("group", admin.delete_groups(&[group], &self.options()))?;
        for (group, error) in results.into_iter().filter_map(Result::err) {
            if error as i32 != code::GROUP_ID_NOT_FOUND {
                return Err(refused(&format!("group {group}"), error as i32));
            }
        }
        Ok(())
    }

    /// Describes a group.
    pub(super) fn group(&self, name: &str) -> Result<GroupDescription, AskError> {
        let admin = self.reached_admin()?;
        describe::group(Handle::of_safe(admin.inner()), name, self.timeout)
            .map_err(|error| self.explained(&format!("group {name}"), &error))
    }

    /// Deletes the records below an offset.
    pub(super) fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Offset,
    ) -> Result<(), AskError> {
        let what = format!("records of {partition}");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &partition.topic,
            partition.partition,
            rdkafka::Offset::Offset(before.0),
        )
        .map_err(|error| AskError::NoAnswer(error.to_string()))?;
        let admin = self.reached_admin()?;
        let deleted = self.wait(&what, admin.delete_records(&list, &self.options()))?;
        match deleted.elements().iter().find_map(|element| element.error().err()) {
            Some(error) => Err(refused(&what, error.rdkafka_error_code().map_or(-1, |c| c as i32))),
            None => Ok(()),
        }
    }

    fn admin(&self) -> Result<&AdminClient<DefaultClientContext>, AskError> {
        self.admin.as_ref().ok_or_else(|| AskError::NoAnswer("the client is closed".to_owned()))
    }

    /// The client, once a broker has answered: before that a question would wait for its whole
    /// time-out, whatever the reason.
    fn reached_admin(&self) -> Result<&AdminClient<DefaultClientContext>, AskError> {
        if !self.reached.load(Ordering::Relaxed) {
            self.broker_count()?;
        }
        self.admin()
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout.max(OPERATION_TIMEOUT)))
            .operation_timeout(Some(OPERATION_TIMEOUT))
    }

    /// The topics that exist.
    fn described(
        &self,
        topics: &[TopicName],
    ) -> Result<Vec<(TopicName, TopicDescription)>, AskError> {
        if topics.is_empty() {
            return Ok(vec![]);
        }
        // librdkafka refuses a name that comes twice.
        let names: BTreeSet<&str> = topics.iter().map(|topic| &**topic).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let admin = self.reached_admin()?;
        let answers = describe::topics(Handle::of_safe(admin.inner()), &names, self.timeout)
            .map_err(|error| self.explained("topics", &error))?;
        let mut found = vec![];
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(description) => found.push((name.into(), description)),
                Err(error) if error.code == code::UNKNOWN_TOPIC_OR_PART => {}
                Err(error) => return Err(self.explained(&format!("topic {name}"), &error)),
            }
        }
        Ok(found)
    }

    fn add_configs(&self, found: &mut BTreeMap<TopicName, TopicInfo>) -> Result<(), AskError> {
        if found.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = found.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        let admin = self.reached_admin()?;
        let what = "configuration of topics";
        let mut configs = BTreeMap::new();
        for answer in self.wait(what, admin.describe_configs(&wanted, &self.options()))? {
            match answer {
                Ok(resource) => {
                    let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
                    let entries = resource.entries.into_iter();
                    let config = entries.filter_map(|entry| Some((entry.name, entry.value?)));
                    configs.insert(name, config.collect());
                }
                Err(error) if is_absent(error) => {}
                Err(error) => return Err(refused(what, error as i32)),
            }
        }
        // One without was deleted in between.
        found.retain(|name, info| match configs.remove(&**name) {
            Some(config) => {
                info.config = config;
                true
            }
            None => false,
        });
        Ok(())
    }

    fn wait_for_leaders(&self, names: &[TopicName]) -> Result<(), AskError> {
        for _ in 0..SETTLE_ATTEMPTS {
            let found = self.described(names);
            if found.is_ok_and(|found| {
                found.len() == names.len() && found.iter().all(|(_, topic)| topic.is_led)
            }) {
                return Ok(());
            }
            pause();
        }
        Err(refused(&format!("topics {}", names.join(", ")), code::LEADER_NOT_AVAILABLE))
    }

    /// Waits for an answer of the safe crate.
    fn wait<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, KafkaError>>,
    ) -> Result<T, AskError> {
        block_on(future).map_err(|error| {
            let code = match &error {
                KafkaError::AdminOp(code) | KafkaError::Global(code) => *code as i32,
                _ => return AskError::NoAnswer(error.to_string()),
            };
            self.explained(what, &native::Error::new(code, code_text(code)))
        })
    }

    /// A failure in the light of what else the client has met meanwhile.
    fn explained(&self, what: &str, error: &native::Error) -> AskError {
        let Ok(admin) = self.admin() else { return failure::of_question(what, error) };
        let met = native::drain_main_queue(Handle::of_safe(admin.inner()));
        match failure::of_question(what, error) {
            silence @ AskError::NoAnswer(_) => credentials(&met).unwrap_or(silence),
            other => other,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The safe crate waits for its polling thread: not on the caller's time.
        let admin = self.admin.take();
        let spawned = thread::Builder::new().name("dispose".to_owned()).spawn(move || drop(admin));
        if let Err(error) = spawned {
            tracing::debug!(%error, "no thread to dispose of an admin client");
        }
    }
}

/// That the brokers do not take this client, if that is what it has met.
fn credentials(met: &Met) -> Option<AskError> {
    let error = met.errors.iter().find(|error| failure::is_credentials(error.code))?;
    Some(AskError::Credentials(error.to_string()))
}

fn refused(what: &str, code: i32) -> AskError {
    failure::of_question(what, &native::Error::new(code, code_text(code)))
}

fn is_absent(error: RDKafkaErrorCode) -> bool {
    error as i32 == code::UNKNOWN_TOPIC_OR_PART
}

#[allow(clippy::disallowed_methods)] // Nothing signals that a topic has its leaders.
fn pause() {
    thread::sleep(SETTLE_PAUSE);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
