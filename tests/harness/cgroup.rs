//! A memory cgroup (version 1 or 2) of the harness's own, in which the kernel kills what is too
//! large. Not to be had everywhere: then who asks is told why.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// A group, removed when it is dropped.
pub(crate) struct MemoryCgroup {
    path: PathBuf,
    version_1: bool,
}

impl MemoryCgroup {
    /// A group whose processes together get `bytes`. Errors: why there is none.
    pub(crate) fn make(bytes: u64) -> Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let name = format!("tidemill-harness-{}", std::process::id());
        let mut reasons = vec![];
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(own)) = (fields.next(), fields.next()) else { continue };
            let version_1 = controllers.split(',').any(|controller| controller == "memory");
            if !version_1 && !controllers.is_empty() {
                continue;
            }
            let root = if version_1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
            // Inside a container the own path may not be mounted: then the root is tried.
            for parent in [format!("{root}{own}"), root.to_owned()] {
                let group = Self { path: Path::new(&parent).join(&name), version_1 };
                match group.set_up(bytes) {
                    Ok(()) => return Ok(group),
                    Err(error) => reasons.push(format!("{}: {error:#}", group.path.display())),
                }
            }
        }
        bail!(
            "{}",
            if reasons.is_empty() { "none is mounted".to_owned() } else { reasons.join("; ") }
        )
    }

    fn set_up(&self, bytes: u64) -> Result<()> {
        fs::create_dir(&self.path).context("not made")?;
        let file = if self.version_1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(self.path.join(file), bytes.to_string()).context("no limit set")?;
        let set = fs::read_to_string(self.path.join(file))?;
        if set.trim().parse::<u64>().ok().is_none_or(|set| set > bytes) {
            bail!("the limit reads {}", set.trim());
        }
        Ok(())
    }

    /// The file that takes in a process by its id.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// How often the kernel killed in it.
    pub(crate) fn kills(&self) -> Result<u64> {
        let file = if self.version_1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.path.join(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.context("the kernel does not count its kills")?.trim().parse().context("no number")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // One that is not empty stays behind, empty of meaning.
        let _busy = fs::remove_dir(&self.path);
    }
}
