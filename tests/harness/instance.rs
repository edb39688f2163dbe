//! One instance of a topology: a process of the real binary, started, signaled, asked.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    clock,
    failpoint::Failpoints,
    status::{self, Status},
};

/// How long a process may take to become ready, restores and takeovers included.
pub(crate) const READY: Duration = Duration::from_secs(90);

/// How long a gentle stop may take.
const DRAIN: Duration = Duration::from_secs(45);

/// The processes that run now, for the end of the harness itself.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills what still runs: the harness is about to be ended by a signal.
pub(crate) fn kill_all() {
    for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Nobody is left to be told of a process that cannot be killed.
        let _failed = signal(*pid, "KILL");
    }
}

/// What all instances of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The `tidemill` binary.
    pub(crate) binary: PathBuf,
    /// The topology that it runs.
    pub(crate) topology: String,
    /// The application id.
    pub(crate) application: String,
    /// The brokers.
    pub(crate) bootstrap: String,
    /// Logs, state and failpoints lie here.
    pub(crate) directory: PathBuf,
    /// Further `TIDEMILL_*` variables.
    pub(crate) environment: Vec<(String, String)>,
}

impl Launch {
    /// Sets a variable, in place of an earlier value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }
}

/// One instance, running or not.
pub(crate) struct Instance {
    name: String,
    http: SocketAddr,
    launch: Launch,
    child: Option<Child>,
    incarnation: u32,
    failpoints: Failpoints,
    /// What counters said last, of earlier incarnations and of this one.
    past: Vec<Status>,
    last: Option<Status>,
}

impl Instance {
    /// Instance number `number`, not started.
    pub(crate) fn new(launch: &Launch, number: usize) -> Result<Self> {
        let name = format!("i{number}");
        let failpoints = Failpoints::make(launch.directory.join(format!("{name}-failpoints")))?;
        Ok(Self {
            http: address(number)?,
            launch: launch.clone(),
            child: None,
            incarnation: 0,
            failpoints,
            past: Vec::new(),
            last: None,
            name,
        })
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        self.incarnation += 1;
        self.past.extend(self.last.take());
        let log = File::create(self.log_path())
            .with_context(|| format!("cannot write {}", self.log_path().display()))?;
        let mut command = Command::new(&self.launch.binary);
        command
            .args(["run", &self.launch.topology])
            .current_dir(&self.launch.directory)
            .env("TIDEMILL_APPLICATION_ID", &self.launch.application)
            .env("TIDEMILL_INSTANCE_ID", &self.name)
            .env("TIDEMILL_KAFKA__BOOTSTRAP_SERVERS", &self.launch.bootstrap)
            .env("TIDEMILL_STATE__DIR", self.state_directory())
            .env("TIDEMILL_HTTP__BIND", self.http.to_string())
            .env("TIDEMILL_FAILPOINTS", self.failpoints.directory())
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.launch.binary.display()))?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// How it is started.
    pub(crate) fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Changes a variable; counts from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.launch.set(name, value);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn failpoints(&self) -> &Failpoints {
        &self.failpoints
    }

    /// The process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Where the current incarnation logs.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.launch.directory.join(format!("{}.{}.log", self.name, self.incarnation))
    }

    /// What the current incarnation has logged.
    pub(crate) fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the log, for messages.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(8);
        lines.get(from..).unwrap_or_default().join("\n    ")
    }

    pub(crate) fn state_directory(&self) -> PathBuf {
        self.launch.directory.join(format!("{}-state", self.name))
    }

    /// Removes all local state; the process must not run.
    pub(crate) fn wipe(&self) -> Result<()> {
        match fs::remove_dir_all(self.state_directory()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("state not wiped")
            }
            _ => Ok(()),
        }
    }

    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { bail!("{} does not run", self.name) };
        child.kill()?;
        self.reap("SIGKILL", DRAIN).map(|_| ())
    }

    /// Waits until the process ends by itself.
    pub(crate) fn reap(&mut self, why: &str, limit: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let status = clock::wait_for(&format!("{name} to end ({why})"), limit, || {
            Ok(match &mut self.child {
                Some(child) => child.try_wait()?,
                None => bail!("{name} does not run"),
            })
        })?;
        if let Some(child) = self.child.take() {
            forget(child.id());
        }
        Ok(status)
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        forget(child.id());
        self.child = None;
        Ok(Some(status))
    }

    /// SIGCONT and the like.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let Some(child) = &self.child else { bail!("{} does not run", self.name) };
        signal(child.id(), name)
    }

    /// SIGTERM; fails unless it drains and exits with 0.
    pub(crate) fn drain(&mut self) -> Result<()> {
        // Its last words count.
        let _gone = self.status();
        self.signal("TERM")?;
        let status = self.reap("SIGTERM", DRAIN)?;
        if !status.success() {
            bail!("{} drained with {status}:\n    {}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Asks for its status, and remembers it.
    pub(crate) fn status(&mut self) -> Result<Status> {
        let (_, body) = status::get(self.http, "/status")?;
        let status = Status::parse(&body)?;
        self.last = Some(status.clone());
        Ok(status)
    }

    /// Waits until it is ready and has committed at least `epochs` epochs.
    pub(crate) fn wait_ready(&mut self, epochs: u64) -> Result<Status> {
        self.wait_ready_within(epochs, READY)
    }

    /// As [`Instance::wait_ready`], with more patience: a large state is restored.
    pub(crate) fn wait_ready_within(&mut self, epochs: u64, limit: Duration) -> Result<Status> {
        let what = format!("{} to be ready", self.name);
        let found = clock::wait_for(&what, limit, || {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}:\n    {}", self.name, self.log_tail());
            }
            if !self.is_ready() {
                return Ok(None);
            }
            let status = self.status().ok();
            Ok(status.filter(|status| status.counter("epochs_committed") >= epochs))
        });
        found.with_context(|| self.whereabouts())
    }

    /// Whether it is ready now.
    pub(crate) fn is_ready(&self) -> bool {
        status::get(self.http, "/readyz").is_ok_and(|(code, _)| code == 200)
    }

    fn whereabouts(&self) -> String {
        let probe = status::get(self.http, "/readyz").map_or_else(
            |error| error.to_string(),
            |(code, body)| format!("{code}: {}", body.trim()),
        );
        format!("{} says {probe}; its log ends with\n    {}", self.name, self.log_tail())
    }

    /// The sum of a counter over all incarnations, as last seen.
    pub(crate) fn total(&self, counter: &str) -> u64 {
        self.past.iter().chain(&self.last).map(|status| status.counter(counter)).sum()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A process that cannot be killed is left behind; there is nobody to tell.
            let _failed = self.kill();
        }
    }
}

fn forget(pid: u32) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    if !status.success() {
        bail!("SIG{name} did not reach process {pid}");
    }
    Ok(())
}

/// A loopback address of its own, so that no outgoing connection of another process can hold the
/// port while an instance is down.
fn address(number: usize) -> Result<SocketAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 77, high, low.max(1));
    Ok(SocketAddr::from((ip, 29_000 + u16::try_from(number)?)))
}

/// Several instances of one topology.
pub(crate) struct Fleet {
    /// By number.
    pub(crate) instances: Vec<Instance>,
}

impl Fleet {
    /// `count` instances, not started.
    pub(crate) fn new(launch: &Launch, count: usize) -> Result<Self> {
        let instances = (0..count).map(|number| Instance::new(launch, number));
        Ok(Self { instances: instances.collect::<Result<_>>()? })
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.instances.iter_mut().try_for_each(Instance::start)
    }

    pub(crate) fn get(&mut self, number: usize) -> Result<&mut Instance> {
        self.instances.get_mut(number).with_context(|| format!("there is no instance {number}"))
    }

    /// Waits until all that run are ready.
    pub(crate) fn wait_ready(&mut self, epochs: u64) -> Result<()> {
        for instance in self.instances.iter_mut().filter(|instance| instance.is_running()) {
            instance.wait_ready(epochs)?;
        }
        Ok(())
    }

    /// Fails if an instance that should run has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for instance in &mut self.instances {
            if let Some(status) = instance.ended()? {
                let (name, log) = (instance.name().to_owned(), instance.log_tail());
                bail!("{name} ended by itself with {status}:\n    {log}");
            }
        }
        Ok(())
    }

    /// The status of all that answer.
    pub(crate) fn statuses(&mut self) -> Vec<Status> {
        self.instances
            .iter_mut()
            .filter(|instance| instance.is_running())
            .filter_map(|instance| instance.status().ok())
            .collect()
    }

    /// Drains all that run.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.instances.iter_mut().filter(|i| i.is_running()).try_for_each(Instance::drain)
    }

    /// The sum of a counter over all incarnations of all instances.
    pub(crate) fn total(&self, counter: &str) -> u64 {
        self.instances.iter().map(|instance| instance.total(counter)).sum()
    }
}

/// A directory for a run: what was there before is removed.
pub(crate) fn fresh_directory(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.canonicalize()?)
}
