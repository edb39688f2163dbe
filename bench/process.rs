//! Processes under test: started, measured by /proc, ended by their own pid.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::clock;

/// How long an orderly end may take.
const END: Duration = Duration::from_secs(60);

/// What runs now, for the end of the benchmark itself.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills what still runs: the benchmark is about to be ended by a signal.
pub(crate) fn kill_all() {
    for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Nobody is left to be told.
        let _failed = signal(*pid, "KILL");
    }
}

/// What a process and its descendants have used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time in seconds.
    pub(crate) cpu_s: f64,
    /// The highest resident memory in bytes: the sum of each process's own peak.
    pub(crate) peak_rss_bytes: u64,
}

/// A process under test.
pub(crate) struct Process {
    child: Option<Child>,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let pid = child.id();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        Ok(Self { child: Some(child), pid, log: log.to_owned() })
    }

    /// What it has used so far; fails if it has ended.
    pub(crate) fn usage(&mut self) -> Result<Usage> {
        self.check_alive()?;
        usage(self.pid)
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { bail!("the process was ended") };
        if let Some(status) = child.try_wait()? {
            self.forget();
            bail!("ended by itself with {status}:\n{}", self.log_tail());
        }
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn end(&mut self) -> Result<()> {
        signal(self.pid, "TERM")?;
        self.wait("SIGTERM")
    }

    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        signal(self.pid, "KILL")?;
        self.wait("SIGKILL")
    }

    fn wait(&mut self, why: &str) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let gone = clock::wait_for(&format!("the end after {why}"), END, || Ok(child.try_wait()?));
        let status = gone.with_context(|| self.log_tail())?;
        self.forget();
        // The JVM ends with 143 after SIGTERM, also when its shutdown hook went well.
        if why == "SIGTERM" && !status.success() && status.code() != Some(143) {
            bail!("ended with {status}:\n{}", self.log_tail());
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.child = None;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid);
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n    ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            // One that cannot be killed is left behind; there is nobody to tell.
            let _failed = self.kill();
        }
    }
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    if !status.success() {
        bail!("SIG{name} did not reach process {pid}");
    }
    Ok(())
}

/// What process `pid` and its descendants have used.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let own = Stat::of(pid).with_context(|| format!("process {pid} is gone"))?;
    let mut total = Usage {
        cpu_s: (own.ticks + own.reaped_ticks) as f64 / TICKS_PER_SECOND,
        peak_rss_bytes: peak(pid),
    };
    for entry in fs::read_dir("/proc")?.flatten() {
        let child: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let stat = child.and_then(|child| Some((child, Stat::of(child)?)));
        if let Some((child, stat)) = stat
            && stat.parent == pid
        {
            let below = usage(child).unwrap_or_default();
            total.cpu_s += below.cpu_s;
            total.peak_rss_bytes += below.peak_rss_bytes;
        }
    }
    Ok(total)
}

/// Seconds that all processors together were busy since the machine's start.
pub(crate) fn machine_busy_s() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum::<u64>();
    busy as f64 / TICKS_PER_SECOND
}

/// USER_HZ, which Linux fixes at 100 on every machine that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

struct Stat {
    parent: u32,
    ticks: u64,
    reaped_ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain spaces.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            parent: number(1)? as u32,
            ticks: number(11)? + number(12)?,
            reaped_ticks: number(13)? + number(14)?,
        })
    }
}

fn peak(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
