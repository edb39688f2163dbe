//! Where a system under test runs: on which processor, under which memory cap, and what each
//! system is told of that cap.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// With `--pin`: brokers and driver.
const DRIVER_CPU: &str = "0";
/// With `--pin`: the system under test.
const SYSTEM_CPU: &str = "1";

/// Goes into the control group whose entrance is `$0`, then becomes the program.
const ENTER: &str = "echo $$ >\"$0\" && exec \"$@\"";

/// How a system under test is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    /// On a processor of its own.
    pub(crate) pinned: bool,
    /// The file that takes a process into a memory cgroup.
    pub(crate) entrance: Option<PathBuf>,
}

impl Launch {
    /// A command that becomes `program`: it keeps its process id, so that usage, memory and signals
    /// are the program's own.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut words = self.words(program).into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// Program and arguments of [`Launch::command`].
    pub(crate) fn words(&self, program: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![];
        if let Some(entrance) = &self.entrance {
            words.extend(["sh", "-c", ENTER].map(OsString::from));
            words.push(entrance.into());
        }
        if self.pinned {
            words.extend(["taskset", "-c", SYSTEM_CPU].map(OsString::from));
        }
        words.push(program.into());
        words
    }
}

/// `memory.limit` under a cap: "a container should have a fifth more" (docs/SETTINGS.md).
pub(crate) fn tidemill_limit(cap: u64) -> u64 {
    cap * 5 / 6
}

/// What Kafka Streams makes of a cap: its heap, and RocksDB's share beside it. The rest is the
/// JVM's own: classes, compiled code, stacks, direct buffers (some 100 MB).
pub(crate) fn streams_split(cap: u64) -> (u64, u64) {
    (cap * 3 / 8, cap / 8)
}

/// Puts the broker and this program on the first processor, so that the second one is the system's.
/// Errors: fewer than two processors, or no `taskset`.
pub(crate) fn pin_driver(broker: u32) -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    if cpus < 2 {
        bail!("--pin takes two processors; here is one");
    }
    for pid in [broker, std::process::id()] {
        let mut taskset = Command::new("taskset");
        taskset.args(["--all-tasks", "--cpu-list", "--pid", DRIVER_CPU, &pid.to_string()]);
        let out = taskset.output().context("--pin takes `taskset` (util-linux)")?;
        if !out.status.success() {
            bail!("taskset: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
    }
    Ok(())
}
