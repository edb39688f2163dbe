//! What `run` and `topics create` do with a cluster: reach it, survey topics, create what lacks.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::{Error, ErrorKind},
    record::TopicName,
    runtime::{ApplicationAdmin, TopicInfo, TopicSpec, TopicsError, supervisor::StopSignal},
    topology::{
        ExistingTopic, InternalTopic, TopicPlan, Topology, check, external_topics, plan_topics,
    },
};

const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// How long a created topic may take to be seen by the broker that is asked.
const VISIBLE_WITHIN: Duration = Duration::from_secs(15);
const SLICE: Duration = Duration::from_millis(100);

/// How a wait is done: a test counts, a command sleeps.
pub(super) type Pause<'a> = &'a dyn Fn(Duration);

/// Sleeps; only the driver of a command does.
pub(super) fn sleep(time: Duration) {
    std::thread::park_timeout(time);
}

/// How patiently a cluster is reached for.
pub(super) struct Patience<'a> {
    /// Give up at the first failure.
    pub(super) fail_fast: bool,
    /// Give up when a stop is asked for.
    pub(super) stop: &'a StopSignal,
    /// How to wait.
    pub(super) pause: Pause<'a>,
}

/// Asks until a broker answers, with growing pauses. `None`: a stop was asked for meanwhile.
///
/// # Errors
/// The brokers refuse; or, if failing fast, no broker answers.
pub(super) fn until_reached<T>(
    patience: &Patience<'_>,
    mut ask: impl FnMut() -> Result<T, TopicsError>,
) -> Result<Option<T>, Error> {
    let mut back_off = BACK_OFF_MIN;
    loop {
        match ask() {
            Ok(answer) => return Ok(Some(answer)),
            Err(error @ TopicsError::Unreachable { .. }) if !patience.fail_fast => {
                tracing::warn!("{error}; trying again in {back_off:?} (--fail-fast gives up)");
            }
            Err(error) => return Err(error.into()),
        }
        let mut waited = Duration::ZERO;
        while waited < back_off {
            if patience.stop.is_requested() {
                return Ok(None);
            }
            (patience.pause)(SLICE);
            waited += SLICE;
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// What a topology's topics are, and lack.
pub(super) struct Survey {
    /// What it needs.
    pub(super) plan: TopicPlan,
    /// Those that exist, by name.
    pub(super) existing: BTreeMap<TopicName, TopicInfo>,
    /// The internal ones that do not.
    pub(super) missing: Vec<TopicSpec>,
}

/// Whose topics are surveyed.
pub(super) struct Subject<'a> {
    /// The topology.
    pub(super) topology: &'a Topology,
    /// Its application id.
    pub(super) application: &'a str,
    /// Overrules what the number of brokers suggests.
    pub(super) replication: Option<i32>,
    /// Partitions of user topics that a dry run thinks into existence.
    pub(super) assumed: BTreeMap<String, i32>,
}

/// Surveys the topics of a topology.
///
/// # Errors
/// A user topic is missing, or a topic is not what it must be: all of them, in words.
pub(super) fn survey(
    admin: &mut dyn ApplicationAdmin,
    subject: &Subject<'_>,
) -> Result<Survey, Error> {
    let external: Vec<TopicName> =
        external_topics(subject.topology).into_keys().map(TopicName::from).collect();
    let mut existing = described(admin, &external)?;
    let mut counts = subject.assumed.clone();
    counts.extend(existing.iter().map(|(name, info)| (name.to_string(), info.partitions)));
    let brokers = admin.brokers()?;
    let mut plan = plan_topics(subject.topology, subject.application, &counts, brokers)?;
    for topic in &mut plan.internal {
        replicate(topic, subject.replication);
    }
    let names: Vec<TopicName> =
        plan.internal.iter().map(|topic| topic.name.as_str().into()).collect();
    existing.extend(described(admin, &names)?);
    let (mut missing, mut problems) = (Vec::new(), Vec::new());
    for topic in &plan.internal {
        match existing.get(topic.name.as_str()) {
            None => missing.push(spec(topic)),
            Some(info) => {
                let found = ExistingTopic {
                    partitions: info.partitions,
                    replication: info.replication,
                    config: &info.config,
                };
                problems.extend(check(topic, &found).iter().map(ToString::to_string));
            }
        }
    }
    if problems.is_empty() {
        Ok(Survey { plan, existing, missing })
    } else {
        Err(Error::new(ErrorKind::Topics, problems.join("\n")))
    }
}

/// Creates topics and waits until they can be seen; returns how they are.
///
/// # Errors
/// The brokers refuse, or do not show what they created within 15 seconds.
pub(super) fn create(
    admin: &mut dyn ApplicationAdmin,
    topics: &[TopicSpec],
    pause: Pause<'_>,
) -> Result<BTreeMap<TopicName, TopicInfo>, Error> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    admin.create(topics)?;
    let names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
    let mut waited = Duration::ZERO;
    loop {
        let seen = described(admin, &names)?;
        if seen.len() == names.len() {
            return Ok(seen);
        }
        if waited >= VISIBLE_WITHIN {
            let unseen = names.iter().find(|name| !seen.contains_key(*name));
            let message = format!(
                "topic {} was created, and the brokers do not show it within {VISIBLE_WITHIN:?}",
                unseen.map(ToString::to_string).unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Kafka, message));
        }
        pause(SLICE);
        waited += SLICE;
    }
}

/// Those of the topics that exist.
pub(super) fn described(
    admin: &mut dyn ApplicationAdmin,
    topics: &[TopicName],
) -> Result<BTreeMap<TopicName, TopicInfo>, Error> {
    let found = admin.describe(topics)?;
    Ok(topics.iter().zip(found).filter_map(|(name, info)| Some((name.clone(), info?))).collect())
}

fn replicate(topic: &mut InternalTopic, replication: Option<i32>) {
    let Some(replication) = replication else { return };
    topic.replication = replication;
    if replication < 3 {
        topic.config.remove("min.insync.replicas");
    } else {
        topic.config.insert("min.insync.replicas".to_owned(), "2".to_owned());
    }
}

fn spec(topic: &InternalTopic) -> TopicSpec {
    TopicSpec {
        name: topic.name.as_str().into(),
        partitions: topic.partitions,
        replication: topic.replication,
        config: topic.config.clone(),
    }
}
