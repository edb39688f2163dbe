//! The brokers' processes, which `./dev kafka` starts and keeps: killed, stopped, started again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::clock;

/// How long a broker may take to end in good order.
const STOP: Duration = Duration::from_secs(45);

/// The processes of a cluster of several brokers.
pub(crate) struct BrokerProcesses {
    dev: PathBuf,
    directory: PathBuf,
    numbers: Vec<i32>,
}

impl BrokerProcesses {
    /// Those of the cluster in `directory`; `None` where it has one broker, without which nothing
    /// goes on.
    pub(crate) fn of(dev: &Path, directory: &Path) -> Result<Option<Self>> {
        let directory = directory.canonicalize().context("the brokers' directory")?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            numbers.extend(name.strip_prefix("broker-").and_then(|n| n.parse::<i32>().ok()));
        }
        numbers.sort_unstable();
        let dev = dev.canonicalize().context("the script that keeps the brokers")?;
        Ok((numbers.len() > 1).then_some(Self { dev, directory, numbers }))
    }

    /// Their numbers, which are their node ids.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        self.numbers.clone()
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, number: i32) -> Result<()> {
        self.dev(&["kill", "--broker", &number.to_string()])
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(&self, number: i32) -> Result<()> {
        let file = self.directory.join(format!("broker-{number}")).join("pid");
        let pid = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pid = pid.trim().to_owned();
        if !Command::new("kill").args(["-TERM", &pid]).status()?.success() {
            bail!("broker {number} does not run");
        }
        clock::wait_for(&format!("broker {number} to end"), STOP, || {
            let runs = Command::new("kill").args(["-0", &pid]).stderr(Stdio::null()).status()?;
            Ok((!runs.success()).then_some(()))
        })
    }

    /// Starts those that do not run; returns when every broker lists all of them.
    pub(crate) fn start_all(&self) -> Result<()> {
        self.dev(&["up"])
    }

    fn dev(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.dev)
            .arg("kafka")
            .args(arguments)
            .arg("--dir")
            .arg(&self.directory)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("kafka {}: {}", arguments.join(" "), words.trim());
        }
        Ok(())
    }
}
