//! The systems under test, and how each is started for a workload.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde::Serialize;

use crate::{
    input::Input,
    launch::{self, Launch},
    process::Process,
    topologies,
};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// librdkafka, one to one, no transactions.
    L1,
    /// The same with a transaction per epoch.
    L2,
    /// The same with counts in memory and a changelog.
    L3,
    /// The same with counts in RocksDB, read and written by every record.
    L4,
    /// Tidemill as it is by default.
    Tidemill,
    /// Kafka Streams, exactly_once_v2, with this cache.
    Streams {
        /// `statestore.cache.max.bytes` in MiB.
        cache_mib: u64,
    },
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::L1 => f.write_str("L1 librdkafka"),
            Self::L2 => f.write_str("L2 + transactions"),
            Self::L3 => f.write_str("L3 + counts, changelog"),
            Self::L4 => f.write_str("L4 on RocksDB (naive)"),
            Self::Tidemill => f.write_str("Tidemill"),
            Self::Streams { cache_mib } => write!(f, "Kafka Streams, cache {cache_mib} MB"),
        }
    }
}

/// What is done with the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Copied, one to one.
    Map,
    /// Counted by key; every update is written.
    Count,
}

impl Operation {
    /// In one word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Count => "count",
        }
    }
}

/// What all runs share: brokers, programs, directories.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) bootstrap: String,
    pub(crate) broker_pid: u32,
    /// The broker's log directory.
    pub(crate) broker_data: PathBuf,
    /// State, logs and reports of runs.
    pub(crate) directory: PathBuf,
    /// The Kafka Streams program and its jars.
    pub(crate) peer: PathBuf,
    /// This program, which also is Tidemill and the ladder.
    pub(crate) program: PathBuf,
    /// The tidemill binary, whose size is measured.
    pub(crate) tidemill: PathBuf,
    /// Whether systems under test have a processor of their own.
    pub(crate) pinned: bool,
}

/// One application: a system at work on a workload.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) system: System,
    pub(crate) operation: Operation,
    pub(crate) input: Input,
    pub(crate) epoch_ms: u64,
    /// Group, transactional ids, internal topics.
    pub(crate) application: String,
    /// Further settings: `TIDEMILL_*` variables for Tidemill, properties for Kafka Streams.
    pub(crate) settings: Vec<(String, String)>,
    /// What each instance may take of memory in bytes, where that is bounded.
    pub(crate) memory: Option<u64>,
    /// Where it runs.
    pub(crate) launch: Launch,
}

const MIB: u64 = 1 << 20;

impl Job {
    /// The output topic.
    pub(crate) fn output(&self) -> String {
        format!("{}-output", self.application)
    }

    /// The changelog topic, where there is state.
    pub(crate) fn changelog(&self) -> Option<String> {
        let stateful = self.operation == Operation::Count;
        let name = match self.system {
            // Named by the subtopology's first named step; Kafka Streams names it by the store.
            System::Tidemill | System::Streams { .. } => {
                format!("{}-counts-changelog", self.application)
            }
            _ => format!("{}-changelog", self.application),
        };
        stateful.then_some(name)
    }

    /// Whether every single update is written, so that each can be checked.
    pub(crate) fn writes_every_update(&self) -> bool {
        !matches!(self.system, System::Streams { cache_mib: 1.. })
    }

    /// Where the stalls are found after the end; L1 and maps of ours have them too.
    pub(crate) fn report(&self, place: &Place) -> PathBuf {
        self.directory(place).join("stalls")
    }

    /// State and logs.
    pub(crate) fn directory(&self, place: &Place) -> PathBuf {
        place.directory.join(&self.application)
    }

    /// Starts instance number `number`.
    pub(crate) fn start(&self, place: &Place, number: usize) -> Result<Process> {
        let directory = self.directory(place);
        std::fs::create_dir_all(&directory)?;
        let command = match self.system {
            System::Tidemill => self.tidemill(place, number),
            System::Streams { cache_mib } => self.streams(place, cache_mib, number),
            _ => self.rung(place),
        };
        Process::start(command, &directory.join(format!("{number}.log")))
    }

    fn tidemill(&self, place: &Place, number: usize) -> Command {
        let mut command = self.launch.command(&place.program);
        let state = self.state(place, number);
        command
            .arg("run")
            .current_dir(self.directory(place))
            .env(topologies::WORKLOAD, self.operation.name())
            .env(topologies::INPUT, self.input.topic())
            .env(topologies::OUTPUT, self.output())
            .env(topologies::REPORT, self.report(place))
            .env("TIDEMILL_APPLICATION_ID", &self.application)
            .env("TIDEMILL_INSTANCE_ID", format!("i{number}"))
            .env("TIDEMILL_KAFKA__BOOTSTRAP_SERVERS", &place.bootstrap)
            .env("TIDEMILL_STATE__DIR", state)
            .env("TIDEMILL_HTTP__BIND", "127.0.0.1:0")
            .env("TIDEMILL_EPOCH__INTERVAL", format!("{}ms", self.epoch_ms))
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(cap) = self.memory {
            let limit = format!("{}MiB", launch::tidemill_limit(cap) / MIB);
            command.env("TIDEMILL_MEMORY__LIMIT", limit);
        }
        command
    }

    /// Where an instance keeps its state.
    pub(crate) fn state(&self, place: &Place, number: usize) -> PathBuf {
        self.directory(place).join(format!("state-{number}"))
    }

    fn streams(&self, place: &Place, cache_mib: u64, number: usize) -> Command {
        let mut command = self.launch.command(Path::new("java"));
        let class_path = format!("{0}/peer.jar:{0}/lib/*", place.peer.display());
        let set = |name: &str, value: &dyn fmt::Display| format!("{name}={value}");
        match self.memory {
            // The collector that the JVM takes by itself where memory is this short; one arena,
            // as Kafka Streams' manual advises for RocksDB under a limit.
            Some(cap) => command.env("MALLOC_ARENA_MAX", "2").args([
                "-XX:+UseSerialGC",
                &format!("-Xmx{}m", launch::streams_split(cap).0 / MIB),
            ]),
            None => command.args(["-Xms512m", "-Xmx1g"]),
        };
        command
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .args(["-cp", &class_path, "Peer", self.operation.name()])
            .args([self.input.topic(), self.output()])
            .arg(set("application.id", &self.application))
            .arg(set("bootstrap.servers", &place.bootstrap))
            .arg(set("commit.interval.ms", &self.epoch_ms))
            .arg(set("num.stream.threads", &1))
            // Without it a restart waits for the session of the instance before: 45 s.
            .arg(set("group.instance.id", &format_args!("i{number}")))
            .arg(set("replication.factor", &1))
            .arg(set("statestore.cache.max.bytes", &(cache_mib << 20)))
            .arg(set("state.dir", &self.state(place, number).display()))
            .arg(set("producer.linger.ms", &20))
            .arg(set("producer.batch.size", &(256 << 10)))
            .arg(set("consumer.fetch.min.bytes", &(64 << 10)))
            .arg(set("report", &self.report(place).display()))
            .args(self.settings.iter().map(|(name, value)| set(name, value)));
        if let Some(cap) = self.memory {
            command.arg(set("rocksdb.bytes", &launch::streams_split(cap).1));
        }
        command
    }

    fn rung(&self, place: &Place) -> Command {
        let mut command = self.launch.command(&place.program);
        let rung = match self.system {
            System::L1 => "l1",
            System::L2 => "l2",
            System::L3 => "l3",
            _ => "l4",
        };
        let path = |path: &Path| path.to_string_lossy().into_owned();
        command
            .args(["limit", rung, "--bootstrap", &place.bootstrap])
            .args(["--application", &self.application, "--input", &self.input.topic()])
            .args(["--output", &self.output(), "--partitions", &self.input.partitions.to_string()])
            .args(["--epoch-ms", &self.epoch_ms.to_string()])
            .args(["--directory", &path(&self.directory(place))])
            .args(["--report", &path(&self.report(place))]);
        command
    }
}
