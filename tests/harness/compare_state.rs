//! Compares each task's state directory with the state that its changelog alone gives.
//!
//! An image that stands at the changelog's end must hold exactly what the changelog holds; one
//! that was left behind (its task moved away) must hold what the changelog held at the image's
//! position. At least one image per task must stand at the end. What was damaged on purpose must be
//! refused by name instead, never read (DATA-1).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::Message;
use tidemill::state::{
    ByteStores, EpochId, Positions, RocksDbSettings, StateBackend, StateDirectory, StateError,
    changelog::{self, ChangelogRecord},
};

use crate::{
    cluster::{Cluster, Isolation},
    instance::Fleet,
    ledger_run::{self, BALANCES, Place, Topics},
    outcome::Outcome,
    report,
    tail::Tail,
};

/// `compare-state`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Transfers.
    #[arg(long, default_value_t = 200_000)]
    transfers: u64,
    /// Accounts.
    #[arg(long, default_value_t = 20_000)]
    accounts: u64,
    /// Seed of the input.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Instances.
    #[arg(long, default_value_t = 3)]
    instances: u8,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    use std::time::Duration;
    let launch = arguments.place.launch("compare-state", "ledger")?;
    let cluster = Cluster::connect(&arguments.place.bootstrap)?;
    let topics = Topics::make(&cluster, &launch.application)?;
    let tail = Tail::start(&cluster.again()?, BALANCES)?;
    let mut fleet = Fleet::new(&launch, usize::from(arguments.instances))?;
    fleet.start()?;
    let mut inputs = ledger_run::inputs(arguments.seed, arguments.accounts);
    ledger_run::produce(&cluster, &mut inputs, arguments.transfers)?;
    fleet.wait_ready(1)?;
    let expected = 2 * arguments.transfers;
    let patience = Duration::from_secs(60);
    let count = tail.wait(expected, Duration::from_secs(2), patience, |_| fleet.check_alive())?;
    if count != expected {
        bail!("{count} of {expected} balances were committed");
    }
    fleet.drain()?;
    Ok(Outcome::of(of(&cluster, &topics, &launch.directory, &BTreeSet::new())?))
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One record of a changelog partition.
struct Change {
    offset: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The committed records of one changelog partition, and its last marker.
#[derive(Default)]
struct Partition {
    changes: Vec<Change>,
    marker: Option<EpochId>,
}

/// Compares all images under `directory`; prints what it found; whether nothing differs. The state
/// of the instances in `damaged` was damaged on purpose, and need not be readable.
pub(crate) fn of(
    cluster: &Cluster,
    topics: &Topics,
    directory: &Path,
    damaged: &BTreeSet<usize>,
) -> Result<bool> {
    let mut tasks = BTreeMap::new();
    for topic in topics.changelogs(cluster)? {
        let subtopology = topics
            .subtopology_of(&topic)
            .with_context(|| format!("{topic} is no changelog of this application"))?;
        for (partition, content) in read(cluster, &topic)? {
            tasks.insert(format!("{subtopology}_{partition}"), content);
        }
    }
    let mut images = Images::default();
    let on_purpose: BTreeSet<String> =
        damaged.iter().map(|number| format!("i{number}-state")).collect();
    for state in state_directories(directory)? {
        let name = state.file_name().map(|name| name.to_string_lossy().into_owned());
        let may_be_damaged = name.is_some_and(|name| on_purpose.contains(&name));
        images.compare(&state, topics.application(), &tasks, may_be_damaged)?;
    }
    let behind: Vec<&String> = tasks
        .keys()
        .filter(|task| !images.at_end.contains_key(*task) && !images.refused.contains(*task))
        .collect();
    for task in &behind {
        report::line(format_args!("task {task}: no image stands at its changelog's end"));
    }
    let differences = images.differences + behind.len() as u64;
    report::line(format_args!(
        "compare-state: tasks={} images={} refused={} keys={} differences={differences}",
        tasks.len(),
        images.compared,
        images.refused.len(),
        images.at_end.values().sum::<u64>(),
    ));
    Ok(differences == 0 && !tasks.is_empty() && images.at_end.values().sum::<u64>() > 0)
}

#[derive(Default)]
struct Images {
    compared: u64,
    differences: u64,
    /// Keys of the images at their changelog's end, by task.
    at_end: BTreeMap<String, u64>,
    /// Tasks of which an image that was damaged on purpose was refused as damaged.
    refused: BTreeSet<String>,
}

impl Images {
    fn compare(
        &mut self,
        state: &Path,
        application: &str,
        tasks: &BTreeMap<String, Partition>,
        may_be_damaged: bool,
    ) -> Result<()> {
        let directory = StateDirectory::open(state, application, "compare-state")
            .with_context(|| state.display().to_string())?;
        let backend = StateBackend::RocksDb(RocksDbSettings::default());
        let mut stores = directory.byte_stores(&backend);
        for (task, changelog) in tasks {
            if directory.tasks_path().join(task).exists() {
                match self.compare_task(stores.as_mut(), state, task, changelog) {
                    Err(error) if may_be_damaged && is_damage(&error) => {
                        report::line(format_args!("refused: {error:#}"));
                        self.refused.insert(task.clone());
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn compare_task(
        &mut self,
        stores: &mut dyn ByteStores,
        state: &Path,
        task: &str,
        changelog: &Partition,
    ) -> Result<()> {
        let store = stores.open(task)?;
        let Some(positions) = store.positions()? else { return Ok(()) };
        let image: Entries = store.scan(&[], None).collect::<Result<_, _>>()?;
        let expected = changelog.until(&positions)?;
        let differing = differences(&image, &expected);
        self.compared += 1;
        self.differences += differing.len() as u64;
        for key in differing.iter().take(3) {
            report::line(format_args!(
                "task {task} in {}: key {:?}: image {:?}, changelog {:?}",
                state.display(),
                String::from_utf8_lossy(key),
                image.get(*key).map(|value| String::from_utf8_lossy(value)),
                expected.get(*key).map(|value| String::from_utf8_lossy(value)),
            ));
        }
        let marker = positions.marker.map(|marker| marker.id);
        if positions.whole && marker.is_some() && marker == changelog.marker {
            self.at_end.insert(task.to_owned(), image.len() as u64);
        }
        Ok(())
    }
}

impl Partition {
    /// The last value per key of what lies below an image's position.
    fn until(&self, positions: &Positions) -> Result<Entries> {
        let mut entries = Entries::new();
        for change in self.changes.iter().filter(|c| c.offset < positions.changelog_next.0) {
            let parsed = changelog::parse(Some(&change.key), change.value.as_deref())?;
            match parsed.change() {
                Some((key, Some(value))) => entries.insert(key.to_vec(), value.to_vec()),
                Some((key, None)) => entries.remove(key),
                None => None,
            };
        }
        Ok(entries)
    }
}

fn is_damage(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StateError>(), Some(StateError::Damaged { .. }))
}

/// The keys that are in one only, or with another value.
fn differences<'a>(image: &'a Entries, expected: &'a Entries) -> Vec<&'a Vec<u8>> {
    let of_image = image.iter().filter(|(key, value)| expected.get(*key) != Some(*value));
    let missing = expected.keys().filter(|key| !image.contains_key(*key));
    of_image.map(|(key, _)| key).chain(missing).collect()
}

/// All partitions of a changelog, read_committed.
fn read(cluster: &Cluster, topic: &str) -> Result<BTreeMap<i32, Partition>> {
    let partitions = cluster.partitions(topic)?.unwrap_or(0);
    let mut read: BTreeMap<i32, Partition> =
        (0..partitions).map(|partition| (partition, Partition::default())).collect();
    cluster.read(topic, Isolation::Committed, |message| {
        let partition = read.entry(message.partition()).or_default();
        let (key, value) = (message.key(), message.payload());
        if let ChangelogRecord::Marker(marker) = changelog::parse(key, value)? {
            partition.marker = Some(marker.id);
        }
        let key = key.ok_or_else(|| anyhow!("{topic} has a record without a key"))?;
        partition.changes.push(Change {
            offset: message.offset(),
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        });
        Ok(())
    })?;
    Ok(read)
}

/// The instances' state directories of a run.
fn state_directories(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-state")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_damage_that_is_named_is_taken_for_damage() {
        let (store, reason) = ("t_0".to_owned(), "checksum".to_owned());
        assert!(is_damage(
            &StateError::Damaged { store: store.clone(), reason: reason.clone() }.into()
        ));
        assert!(!is_damage(&StateError::Store { store, reason }.into()));
    }

    #[test]
    fn differing_missing_and_surplus_keys_are_differences() {
        let entries = |all: &[(&str, &str)]| -> Entries {
            all.iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect()
        };
        let expected = entries(&[("a", "1"), ("b", "2")]);
        assert!(differences(&expected, &expected).is_empty());
        assert_eq!(differences(&entries(&[("a", "1")]), &expected).len(), 1);
        assert_eq!(differences(&entries(&[("a", "1"), ("b", "3")]), &expected).len(), 1);
        let surplus = entries(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(differences(&surplus, &expected).len(), 1);
    }
}
