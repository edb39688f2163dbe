//! The command line's grammar. Names are fixed (DESIGN section 11).

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kafka-native, exactly-once stream processing.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, propagate_version = true, max_term_width = 100)]
pub(super) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run topologies until SIGTERM or SIGINT, then commit the last epoch and exit 0.
    Run(RunArguments),
    /// Run a topology on the embedded in-memory log: records in from JSON lines, results out.
    Dev(DevArguments),
    /// Check topologies and settings, without a broker.
    Validate(ValidateArguments),
    /// Show subtopologies, topics, stores and steps.
    Describe(DescribeArguments),
    /// Work with a topology's topics.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Delete an application's offsets, internal topics and local state.
    Reset(ResetArguments),
}

/// Commands on topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicsCommand {
    /// Create what is missing, check what is there.
    Create(TopicsCreateArguments),
}

/// Where settings come from, and the few that have a flag of their own.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingsArguments {
    /// Settings file [without it: ./tidemill.toml, if there is one].
    #[arg(long, value_name = "FILE", env = "TIDEMILL_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,
    /// Brokers, separated by commas.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(super) bootstrap_servers: Option<String>,
    /// Consumer group and prefix of internal topics [without it: the topology's name].
    #[arg(long, value_name = "NAME")]
    pub(super) application_id: Option<String>,
    /// Stable name of this instance.
    #[arg(long, value_name = "NAME")]
    pub(super) instance_id: Option<String>,
    /// State directory.
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// Where probes, metrics and status answer.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<SocketAddr>,
    /// Any setting, for example epoch.interval=50ms; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// `run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The topologies, each an application of its own.
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topologies: Vec<String>,
    /// Exit with code 3 when no broker answers, instead of trying on.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

/// `dev`.
#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// The topology.
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topology: Option<String>,
    /// Records as JSON lines: {"topic", "key", "value", "partition"?, "timestamp"?}; - is stdin.
    #[arg(long, value_name = "FILE")]
    pub(super) input: PathBuf,
    /// Partitions of every topic.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub(super) partitions: i32,
    /// At the end of the input, let virtual time go on by at most this much while processing-time
    /// timers wait to fire; 0s fires none.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(super) timers_within: Duration,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

/// A duration as settings have it: a number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    use serde::de::{IntoDeserializer, value};
    let as_setting: value::StrDeserializer<'_, value::Error> = text.into_deserializer();
    humantime_serde::deserialize(as_setting).map_err(|error| error.to_string())
}

/// `validate`.
#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// The topologies [without one: all that this binary has].
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topologies: Vec<String>,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

/// How `describe` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DescribeFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
}

/// `describe`.
#[derive(Debug, Args)]
pub(super) struct DescribeArguments {
    /// The topology.
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topology: Option<String>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = DescribeFormat::Text)]
    pub(super) format: DescribeFormat,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

/// `topics create`.
#[derive(Debug, Args)]
pub(super) struct TopicsCreateArguments {
    /// The topology.
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topology: Option<String>,
    /// Partitions of the user topics that are missing [without it: the brokers' default].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) partitions: Option<i32>,
    /// Only say what would be created.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

/// `reset`.
#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// The topology.
    #[arg(value_name = "TOPOLOGY")]
    pub(super) topology: Option<String>,
    /// Only say what would be deleted.
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
    /// Delete it.
    #[arg(long)]
    pub(super) yes: bool,
    /// Settings.
    #[command(flatten)]
    pub(super) settings: SettingsArguments,
}

impl SettingsArguments {
    /// The flags as (flag as written, dotted key, value).
    ///
    /// # Errors
    /// The first `--set` that is not `key=value`: what stands before the equals sign, or all.
    pub(super) fn flags(&self) -> Result<Vec<(String, String, String)>, String> {
        let path = |path: &PathBuf| path.display().to_string();
        let own = [
            ("--bootstrap-servers", "kafka.bootstrap-servers", self.bootstrap_servers.clone()),
            ("--application-id", "application-id", self.application_id.clone()),
            ("--instance-id", "instance-id", self.instance_id.clone()),
            ("--state-dir", "state.dir", self.state_dir.as_ref().map(path)),
            ("--http", "http.bind", self.http.map(|address| address.to_string())),
        ];
        let mut flags = Vec::new();
        for assignment in &self.set {
            match assignment.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    let key = key.trim();
                    flags.push((format!("--set {key}"), key.to_owned(), value.trim().to_owned()));
                }
                _ => return Err(assignment.split('=').next().unwrap_or_default().to_owned()),
            }
        }
        // After `--set`: of two flags for one key, the more particular one counts.
        for (flag, key, value) in own {
            flags.extend(value.map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        Ok(flags)
    }
}
