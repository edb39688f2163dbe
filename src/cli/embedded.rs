//! What `dev` runs on: the production runtime over the in-memory log and its virtual clock.
//!
//! One stream thread, memory state, no faults. Ends when every input record, also on topics that
//! the topology itself writes, is processed and committed, and every processing-time timer that is
//! due within a span of virtual time has fired.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use crate::{
    cli::{
        DevJob, DevRecord,
        engine::{memory_error, thread_settings},
    },
    error::{Error, ErrorKind},
    record::{PartitionId, Timestamp, TopicName},
    runtime::{
        StatusBoard, TopicAdmin, TopicInfo, TopicSpec,
        hooks::NoHooks,
        mutants::Mutant,
        plan::{InstancePlan, TaskId},
        restore::{RestoreJob, RestoreOutcome, RestoreService, Restorer},
        stream_thread::{Step, StreamThread},
        supervisor::SystemClock,
    },
    state::{MemoryByteStores, partition_of},
    testing::{ClientSettings, SimCluster, SimLog, SimRestoreLog, SimSettings},
    topology::{external_topics, plan_topics},
};

const INSTANCE: &str = "dev";
/// The virtual time of one round: small beside an epoch.
const ROUND: Duration = Duration::from_millis(5);
/// The most virtual time that one step may let pass: short beside the group's session.
const STRIDE: Duration = Duration::from_secs(5);
/// Virtual time without progress after which a run counts as stuck.
const PATIENCE: Duration = Duration::from_mins(10);

/// Runs the job; hands over what was committed to the topology's output topics, also when the run
/// ends with an error.
pub(super) fn run(job: DevJob, emit: &mut dyn FnMut(DevRecord)) -> Result<(), Error> {
    let wall = SystemClock::start().now().wall;
    let cluster = SimCluster::new(0, SimSettings { start_wall: wall, ..SimSettings::quiet() });
    let plan = Arc::new(prepare(&cluster, &job)?);
    feed(&cluster, &job)?;
    let result = drive(&cluster, &plan, &job);
    for record in outputs(&cluster, &job) {
        emit(record);
    }
    result
}

/// Creates all topics and resolves the topology on them.
fn prepare(cluster: &SimCluster, job: &DevJob) -> Result<InstancePlan, Error> {
    let counts: BTreeMap<String, i32> =
        external_topics(&job.topology).into_keys().map(|topic| (topic, job.partitions)).collect();
    let planned = plan_topics(&job.topology, &job.application, &counts, 1)?;
    let external = counts.iter().map(|(name, partitions)| TopicSpec {
        name: name.as_str().into(),
        partitions: *partitions,
        replication: 1,
        config: BTreeMap::new(),
    });
    let internal = planned.internal.iter().map(|topic| TopicSpec {
        name: topic.name.as_str().into(),
        partitions: topic.partitions,
        replication: 1,
        config: topic.config.clone(),
    });
    let specs: Vec<TopicSpec> = external.chain(internal).collect();
    let names: Vec<TopicName> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut admin = cluster.admin();
    admin.create(&specs)?;
    let topics: BTreeMap<TopicName, TopicInfo> = admin
        .describe(&names)?
        .into_iter()
        .flatten()
        .map(|info| (info.name.clone(), info))
        .collect();
    Ok(InstancePlan::resolve(&job.topology, &job.application, INSTANCE, &topics)?)
}

fn feed(cluster: &SimCluster, job: &DevJob) -> Result<(), Error> {
    let now = cluster.now().wall;
    for (index, record) in job.records.iter().enumerate() {
        let by_key = || record.key.as_deref().map_or(0, |key| partition_of(key, job.partitions));
        let partition = record.partition.unwrap_or_else(by_key);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let timestamp = record.timestamp.unwrap_or(now);
        if cluster.produce(&record.topic, partition, key, value, timestamp).is_none() {
            let known: Vec<String> = external_topics(&job.topology).into_keys().collect();
            let message = format!(
                "input record {}: the topology has no topic {} with partition {partition}; its \
                 topics are {}",
                index + 1,
                record.topic,
                known.join(", ")
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    Ok(())
}

/// The restorer, used by its thread and stepped by the loop.
#[derive(Clone)]
struct SharedRestorer(Rc<RefCell<Restorer<SimRestoreLog>>>);

impl RestoreService for SharedRestorer {
    fn submit(&mut self, job: RestoreJob) {
        self.0.borrow_mut().submit(job);
    }

    fn cancel(&mut self, task: TaskId) {
        self.0.borrow_mut().cancel(task);
    }

    fn poll(&mut self) -> Option<RestoreOutcome> {
        self.0.borrow_mut().poll()
    }
}

fn drive(cluster: &SimCluster, plan: &Arc<InstancePlan>, job: &DevJob) -> Result<(), Error> {
    let memory = job.settings.memory_plan(1).map_err(memory_error)?;
    let stores = Box::new(MemoryByteStores::default());
    let restorer = Restorer::new(cluster.restore_log(INSTANCE), stores);
    let restorer = SharedRestorer(Rc::new(RefCell::new(restorer)));
    let mut thread: StreamThread<SimLog, SharedRestorer> = StreamThread::new(
        plan.clone(),
        thread_settings(&job.settings, &memory, 1, Mutant::None),
        cluster.log(ClientSettings::new(&*job.application, INSTANCE, 0)),
        restorer.clone(),
        StatusBoard::default(),
        Box::new(NoHooks),
    );
    let (mut progress, mut progressed, mut stopping) = ((0, 0), cluster.now().mono, false);
    let mut input_ended = None;
    loop {
        let now = cluster.now();
        restorer.0.borrow_mut().step(now, now.mono);
        match thread.step(now, now.mono) {
            Step::Continue => {}
            Step::Stopped => return Ok(()),
            Step::Failed(failure) => return Err(failure.into()),
        }
        let counters = thread.counters();
        let seen = (counters.records_in, counters.epochs_committed);
        let mut stride = ROUND;
        if seen != progress {
            (progress, progressed) = (seen, now.mono);
        } else if !stopping && all_processed(cluster, plan) {
            let ended = *input_ended.get_or_insert(now.wall);
            match rest(thread.next_timer(), ended, job.timers_within) {
                Rest::Until(at) if at > now.wall => {
                    let ms = u64::try_from(at.0 - now.wall.0).unwrap_or_default();
                    stride = Duration::from_millis(ms).clamp(ROUND, STRIDE);
                    progressed = now.mono;
                }
                // Due: it fires at the end of the epoch that has begun with it.
                Rest::Until(_) if now.mono.saturating_sub(progressed) <= PATIENCE => {}
                rest => {
                    if let Rest::Beyond(at) = rest {
                        tracing::warn!(
                            "timers that are due {} ms after the end of the input or later did \
                             not fire (--timers-within {:?})",
                            at.0 - ended.0,
                            job.timers_within
                        );
                    }
                    stopping = true;
                    thread.stop(true);
                }
            }
        } else if now.mono.saturating_sub(progressed) > PATIENCE {
            let message = format!("the run is stuck in phase {}: a bug", thread.phase());
            return Err(Error::new(ErrorKind::Other, message));
        }
        cluster.advance(stride);
    }
}

/// What is left to do when all input is processed.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    Done,
    /// A timer is due at that time.
    Until(Timestamp),
    /// The next timer is due at that time, which is too late.
    Beyond(Timestamp),
}

fn rest(timer: Option<Timestamp>, input_ended: Timestamp, within: Duration) -> Rest {
    let span = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    match timer {
        None => Rest::Done,
        Some(at) if !within.is_zero() && at.0 <= input_ended.0.saturating_add(span) => {
            Rest::Until(at)
        }
        Some(at) => Rest::Beyond(at),
    }
}

/// Whether the group's offsets are behind every record of every input, and nothing is pending.
fn all_processed(cluster: &SimCluster, plan: &InstancePlan) -> bool {
    if !cluster.open_transactions().is_empty() {
        return false;
    }
    let offsets = cluster.group_offsets(&plan.application);
    let passed = |topic: &TopicName, partition: usize| {
        let committed = offsets.iter().find(|offset| {
            offset.partition.topic == *topic
                && PartitionId::try_from(partition) == Ok(offset.partition.partition)
        });
        committed.map(|commit| commit.offset)
    };
    plan.subtopologies.iter().flat_map(|part| &part.sources).all(|source| {
        let records = cluster.committed_records(&source.topic);
        records.iter().enumerate().all(|(partition, records)| {
            let next = passed(&source.topic, partition);
            records.last().is_none_or(|last| next.is_some_and(|next| last.offset < next))
        })
    })
}

/// The committed records of the topics that the topology writes, by time.
fn outputs(cluster: &SimCluster, job: &DevJob) -> Vec<DevRecord> {
    let mut records = Vec::new();
    for (topic, read) in external_topics(&job.topology) {
        if read {
            continue;
        }
        for (partition, committed) in cluster.committed_records(&topic).into_iter().enumerate() {
            records.extend(committed.into_iter().map(|record| DevRecord {
                topic: topic.clone(),
                partition: PartitionId::try_from(partition).ok(),
                timestamp: Some(record.timestamp),
                key: record.key,
                value: record.value,
            }));
        }
    }
    // Stable: within a partition the order stays.
    records.sort_by_key(|record| record.timestamp);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dsl::{Repartition, Source, TopologyBuilder},
        formats::{Unit, Utf8},
        operators::{TimerFunction, Timers},
        settings::Settings,
        time::TimerDomain,
        topologies,
    };

    fn job(lines: &[&str]) -> DevJob {
        let record = |line: &&str| DevRecord {
            topic: "lines".to_owned(),
            partition: None,
            timestamp: None,
            key: None,
            value: Some(line.as_bytes().to_vec()),
        };
        DevJob {
            topology: topologies::by_name("word-count").unwrap()().unwrap(),
            application: "word-count".to_owned(),
            partitions: 4,
            settings: Settings::default(),
            records: lines.iter().map(record).collect(),
            timers_within: Duration::from_secs(3_600),
        }
    }

    /// Says `late` for a key ten minutes after its element, and then every `again` milliseconds.
    struct Reminder {
        again: Option<i64>,
    }

    impl TimerFunction for Reminder {
        type Key = String;
        type Value = String;
        type State = String;
        type Output = String;

        fn on_element(
            &self,
            _key: &String,
            value: String,
            state: &mut Option<String>,
            timers: &mut Timers,
        ) -> Option<String> {
            *state = Some(value);
            timers.set(Timestamp(timers.now().0 + 600_000));
            None
        }

        fn on_timer(
            &self,
            _key: &String,
            state: &mut Option<String>,
            timers: &mut Timers,
        ) -> Option<String> {
            if let Some(again) = self.again {
                timers.set(Timestamp(timers.timestamp().0 + again));
            }
            state.as_ref().map(|value| format!("late {value}"))
        }
    }

    /// What reminders say of two lines, with the span in which timers may fire.
    fn reminded(again: Option<i64>, timers_within: Duration) -> Vec<String> {
        let builder = TopologyBuilder::new("reminders");
        builder
            .stream(Source::new("lines", Unit, Utf8))
            .flat_map(|(), line: String| [(line.clone(), line)])
            .repartition(Repartition::new("by-line", Utf8, Utf8))
            .group_by_key()
            .keyed_timer("reminders", TimerDomain::ProcessingTime, Utf8, Reminder { again })
            .to("late", Utf8, Utf8);
        let topology = builder.build().unwrap();
        let application = "reminders".to_owned();
        let job = DevJob { topology, application, timers_within, ..job(&["one", "two"]) };
        let mut said = vec![];
        run(job, &mut |record| said.push(String::from_utf8(record.value.unwrap()).unwrap()))
            .unwrap();
        said.sort();
        said
    }

    #[test]
    fn timers_that_are_due_after_the_end_of_the_input_fire_in_virtual_time() {
        assert_eq!(reminded(None, Duration::from_secs(3_600)), ["late one", "late two"]);
    }

    #[test]
    fn timers_beyond_the_span_do_not_fire_nor_does_any_without_a_span() {
        let none: [&str; 0] = [];
        assert_eq!(reminded(None, Duration::from_secs(599)), none);
        assert_eq!(reminded(None, Duration::ZERO), none);
    }

    #[test]
    fn timers_that_set_each_other_end_with_the_span() {
        // At 10, 15, 20, 25 and 30 minutes, for each of two keys.
        let said = reminded(Some(300_000), Duration::from_secs(1_801));
        assert_eq!(said.len(), 10, "{said:?}");
    }

    #[test]
    fn word_count_counts_words_through_its_repartition_topic() {
        let mut counts: BTreeMap<String, String> = BTreeMap::new();
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        run(job(&["to be or not", "", "to be"]), &mut |record| {
            assert_eq!(record.topic, "word-counts");
            counts.insert(text(record.key), text(record.value));
        })
        .unwrap();
        let expected = [("be", "2"), ("not", "1"), ("or", "1"), ("to", "2")];
        let expected = expected.map(|(word, n)| (word.to_owned(), n.to_owned()));
        assert_eq!(counts, BTreeMap::from(expected));
    }

    #[test]
    fn an_empty_input_ends_at_once() {
        run(job(&[]), &mut |record| panic!("{record:?}")).unwrap();
    }

    #[test]
    fn a_record_for_a_foreign_topic_is_named() {
        let mut job = job(&["one", "two"]);
        job.records[1].topic = "other".to_owned();
        let error = run(job, &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(
            error.to_string(),
            "input record 2: the topology has no topic other with partition 0; its topics are \
             lines, word-counts"
        );
    }

    #[test]
    fn a_poison_record_stops_the_run_and_is_named() {
        let mut job = job(&["fine"]);
        let poison = DevRecord { value: Some(vec![0xff, 0xfe]), ..job.records[0].clone() };
        job.records.push(poison);
        let error = run(job, &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Record);
        let message = error.to_string();
        assert!(message.contains("lines"), "{message}");
    }
}
