//! What all runs of the ledger share: its topics, its settings, its input, its check.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use rdkafka::Message;

use crate::{
    cluster::{Cluster, Isolation, value},
    instance::{Launch, fresh_directory},
    ledger::{Checker, Findings, Generator},
    load::{Feed, Input},
};

pub(crate) const TRANSFERS: &str = "transfers";
pub(crate) const TRANSFERS_PARTITIONS: i32 = 8;
pub(crate) const POSTINGS_PARTITIONS: i32 = 6;
pub(crate) const BALANCES: &str = "balances";
/// As many as the repartition topic has: then the owner of an account's task is the only writer of
/// the partition of `balances` that the account's records go to.
pub(crate) const BALANCES_PARTITIONS: i32 = 6;

/// The subtopology that keeps the accounts and writes `balances`.
pub(crate) const ACCOUNTS: &str = "accounts";

/// Tasks of the ledger: one per partition of its two subtopologies.
pub(crate) const TASKS: usize = 14;

/// How long transactions without an owner may take to be aborted, by a successor or a timeout.
pub(crate) const SETTLE: Duration = Duration::from_secs(40);

/// Sessions are short, so that takeovers do not take all day.
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// Where a run happens.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(crate) bootstrap: String,
    /// The tidemill binary (built with the feature `mutants`).
    #[arg(long, value_name = "BINARY")]
    pub(crate) tidemill: PathBuf,
    /// Logs and state go here [without it: a directory under the system's temporary one].
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
}

impl Place {
    /// An empty directory for the run named `run`.
    pub(crate) fn directory(&self, run: &str) -> Result<PathBuf> {
        let base = self.directory.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("tidemill-harness-{}", std::process::id()))
        });
        fresh_directory(&base.join(run))
    }

    /// How instances are started, with settings for short sessions.
    pub(crate) fn launch(&self, run: &str, topology: &str) -> Result<Launch> {
        let mut launch = Launch {
            binary: self.tidemill.canonicalize()?,
            topology: topology.to_owned(),
            // New for every run: no offsets, no internal topics of an earlier one.
            application: format!("{topology}-{run}-{}", std::process::id()),
            bootstrap: self.bootstrap.clone(),
            directory: self.directory(run)?,
            environment: Vec::new(),
        };
        launch.set("TIDEMILL_KAFKA__SESSION_TIMEOUT", &format!("{}s", SESSION.as_secs()));
        launch.set("TIDEMILL_SHUTDOWN__LEAVE", "true");
        // The checker reads all of it.
        launch.set("TIDEMILL_STATE__PURGE_REPARTITION_TOPICS", "false");
        let level = std::env::var("TIDEMILL_LOG__LEVEL");
        launch.set("TIDEMILL_LOG__LEVEL", level.as_deref().unwrap_or("info,tidemill=debug"));
        Ok(launch)
    }
}

/// The topics of one run of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    application: String,
}

impl Topics {
    /// Makes `transfers` and `balances` anew; the application makes its own.
    pub(crate) fn make(cluster: &Cluster, application: &str) -> Result<Self> {
        cluster.make_topic(TRANSFERS, TRANSFERS_PARTITIONS)?;
        cluster.make_topic(BALANCES, BALANCES_PARTITIONS)?;
        Ok(Self { application: application.to_owned() })
    }

    /// Those of an application that has run.
    pub(crate) fn of(application: &str) -> Self {
        Self { application: application.to_owned() }
    }

    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    /// Whose changelog `topic` is.
    pub(crate) fn subtopology_of<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let rest = topic.strip_prefix(&self.application)?.strip_prefix('-')?;
        rest.strip_suffix("-changelog")
    }

    pub(crate) fn postings(&self) -> String {
        format!("{}-postings-repartition", self.application)
    }

    /// The changelogs, as far as they have been made.
    pub(crate) fn changelogs(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let mut topics = cluster.topics(&format!("{}-", self.application))?;
        topics.retain(|topic| topic.ends_with("-changelog"));
        Ok(topics)
    }

    /// How many partitions still have an open transaction after `limit`.
    pub(crate) fn hanging(&self, cluster: &Cluster, limit: Duration) -> Result<u64> {
        let (postings, changelogs) = (self.postings(), self.changelogs(cluster)?);
        let mut topics = vec![TRANSFERS, BALANCES, postings.as_str()];
        topics.extend(changelogs.iter().map(String::as_str));
        cluster.hanging(&topics, limit)
    }

    /// Reads everything, read_committed, and judges it.
    pub(crate) fn check(&self, cluster: &Cluster) -> Result<(Findings, Vec<String>)> {
        self.check_altered(cluster, Isolation::Committed, |_| ())
    }

    /// As [`Topics::check`], with the output read as `isolation` says, after `alter` was done to
    /// it.
    pub(crate) fn check_altered(
        &self,
        cluster: &Cluster,
        isolation: Isolation,
        alter: impl FnOnce(&mut Vec<Output>),
    ) -> Result<(Findings, Vec<String>)> {
        let hanging = self.hanging(cluster, SETTLE)?;
        let mut checker = Checker::new(POSTINGS_PARTITIONS, BALANCES_PARTITIONS);
        cluster.read(TRANSFERS, Isolation::Committed, |message| {
            checker.transfer(message.partition(), message.offset(), value(message));
            Ok(())
        })?;
        cluster.read(&self.postings(), Isolation::Committed, |message| {
            checker.posting(message.partition(), message.key(), message.payload());
            Ok(())
        })?;
        let mut outputs = Vec::new();
        cluster.read(BALANCES, isolation, |message| {
            outputs.push(Output {
                partition: message.partition(),
                key: message.key().unwrap_or_default().into(),
                value: value(message).into(),
            });
            Ok(())
        })?;
        alter(&mut outputs);
        for output in &outputs {
            checker.balance(output.partition, Some(&output.key), Some(&output.value));
        }
        Ok(checker.finish(hanging))
    }
}

/// A record of `balances`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) partition: i32,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

/// The seeded input, without end.
pub(crate) fn inputs(seed: u64, accounts: u64) -> impl Iterator<Item = Input> + Send + 'static {
    Generator::new(seed, accounts, TRANSFERS_PARTITIONS)
        .map(|transfer| Input { partition: transfer.partition, value: transfer.value })
}

/// Produces the next `count` inputs as fast as possible, and waits for their acknowledgement.
pub(crate) fn produce(
    cluster: &Cluster,
    inputs: &mut dyn Iterator<Item = Input>,
    count: u64,
) -> Result<()> {
    let mut feed = Feed::open(cluster.bootstrap(), TRANSFERS)?;
    for input in inputs.take(usize::try_from(count)?) {
        feed.send(&input)?;
    }
    feed.finish().map(|_| ())
}

/// The number of committed records of a topic, by reading them.
pub(crate) fn count(cluster: &Cluster, topic: &str) -> Result<u64> {
    let mut records = 0;
    cluster.read(topic, Isolation::Committed, |message| {
        // Looked at, so that a message that cannot be read would show.
        records += u64::from(!value(message).is_empty() || message.key().is_some());
        Ok(())
    })?;
    Ok(records)
}
