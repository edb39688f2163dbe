//! State directories that are corrupted, and disks that are full.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::run::Torture;
use crate::clock;

/// Small, and large enough for RocksDB's files of all tasks.
const DISK: &str = "size=256m";

/// How long the disk stays full: several spills.
const FULL: Duration = Duration::from_secs(8);

impl Torture {
    /// Changes bytes in the stored state of an instance that does not run, and starts it. It must
    /// notice: what it then does is its own affair, as long as it works or ends.
    pub(super) fn corrupt(&mut self, number: usize) -> Result<()> {
        let state = self.fleet.get(number)?.state_directory();
        let mut files = Vec::new();
        stored(&state, &mut files)?;
        if files.is_empty() {
            bail!("nothing is stored in {} yet", state.display());
        }
        for file in &files {
            damage(file, &mut self.random)?;
        }
        self.progress.event(format_args!("  {} files corrupted", files.len()));
        self.tally.corruptions += 1;
        self.damaged.insert(number);
        self.fleet.get(number)?.start()
    }

    /// An instance that ended because of its damaged state gets a new one, as an operator would
    /// do it.
    pub(super) fn replace_damaged(&mut self) -> Result<()> {
        for number in self.damaged.clone() {
            let victim = self.fleet.get(number)?;
            let Some(status) = victim.ended()? else { continue };
            let tail = victim.log_tail();
            let last = tail.lines().last().unwrap_or_default().trim().to_owned();
            victim.wipe()?;
            victim.start()?;
            let name = victim.name().to_owned();
            self.damaged.remove(&number);
            self.tally.refused_state += 1;
            self.progress.event(format_args!("  {name} refused its state, {status}: {last}"));
        }
        Ok(())
    }

    /// Fills the disk of an instance for a while; `false` where there is no small disk to be had.
    pub(super) fn fill_disk(&mut self, number: usize) -> Result<bool> {
        self.fleet.wait_ready(2)?;
        let victim = self.fleet.get(number)?;
        victim.drain()?;
        victim.wipe()?;
        let state = victim.state_directory();
        self.damaged.remove(&number);
        let disk = match Disk::mount(&state) {
            Ok(disk) => disk,
            Err(reason) => {
                self.progress.event(format_args!("  skipped, no small disk: {reason}"));
                self.tally.skipped.insert("disk-full", reason);
                self.fleet.get(number)?.start()?;
                self.settle(number)?;
                return Ok(false);
            }
        };
        self.fleet.get(number)?.start()?;
        self.settle(number)?;
        self.check_all_owned().context("on a small disk")?;
        let filled = disk.fill()?;
        self.progress.event(format_args!("  full, with {} MiB of nothing", filled >> 20));
        clock::pause(FULL);
        disk.empty()?;
        self.settle(number)?;
        self.check_all_owned().context("after the disk was full")?;
        let victim = self.fleet.get(number)?;
        victim.drain()?;
        drop(disk);
        victim.wipe()?;
        victim.start()?;
        self.settle(number)?;
        Ok(true)
    }
}

/// The files of state: tables, and where there are none yet, manifests.
fn stored(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut tables = Vec::new();
    let mut manifests = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".sst") {
                tables.push(path);
            } else if name.starts_with("MANIFEST-") {
                manifests.push(path);
            }
        }
    }
    files.extend(if tables.is_empty() { manifests } else { tables });
    files.sort();
    Ok(())
}

/// Turns some bytes of a file over, one of them in its first block of data.
fn damage(file: &Path, random: &mut fastrand::Rng) -> Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(());
    }
    let early = random.u64(..length.min(512));
    let anywhere = random.u64(..length);
    for at in [early, anywhere] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[!byte[0]], at)?;
    }
    Ok(())
}

/// A small disk in memory, mounted over a directory until it is dropped.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts it; in words why that cannot be done here.
    fn mount(at: &Path) -> std::result::Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
            .arg(at)
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).push(at.to_owned());
            Ok(Self { at: at.to_owned() })
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned())
        }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Writes until no byte more goes in; how many bytes went in.
    fn fill(&self) -> Result<u64> {
        let mut file = File::create(self.filler())?;
        let block = vec![0u8; 64 << 10];
        let mut filled = 0;
        loop {
            match file.write(&block) {
                Ok(0) => return Ok(filled),
                Ok(written) => filled += written as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(filled),
                Err(error) => return Err(error).context("the filler cannot be written"),
            }
        }
    }

    fn empty(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the filler cannot be removed")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_all();
    }
}

/// The small disks that there are now, for the end of the harness itself.
static MOUNTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes all small disks away.
pub(crate) fn unmount_all() {
    for at in MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // Lazily: an instance that runs on it still has files open.
        let _unmounted = Command::new("umount").arg("-l").arg(&at).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_tables_and_where_there_are_none_manifests() {
        let directory = tempfile::tempdir().unwrap();
        let task = directory.path().join("task");
        fs::create_dir(&task).unwrap();
        fs::write(task.join("MANIFEST-000004"), b"manifest").unwrap();
        fs::write(task.join("CURRENT"), b"current").unwrap();
        let mut files = Vec::new();
        stored(directory.path(), &mut files).unwrap();
        assert_eq!(files, [task.join("MANIFEST-000004")]);
        fs::write(task.join("000001.sst"), vec![7; 4096]).unwrap();
        files.clear();
        stored(directory.path(), &mut files).unwrap();
        assert_eq!(files, [task.join("000001.sst")]);
        damage(&files[0], &mut fastrand::Rng::with_seed(1)).unwrap();
        let changed = fs::read(&files[0]).unwrap();
        assert_eq!(changed.len(), 4096);
        assert!(changed.iter().take(512).any(|byte| *byte != 7));
    }
}
