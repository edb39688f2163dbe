//! The state directory of an instance: who may use it, what it is, where its task stores lie.
//!
//! `<dir>/<application>/` holds `LOCK` (locked while a process uses the directory; names it),
//! `FORMAT` (version and application), `INSTANCE` (the id of this instance, made at first start)
//! and `tasks/<subtopology>_<partition>/`. Must never touch a directory that it does not know.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::state::{ByteStores, MemoryByteStores, StateError};

/// The version of the layout that is written here.
const FORMAT: u32 = 1;

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const INSTANCE_FILE: &str = "INSTANCE";
const TASKS: &str = "tasks";

/// How state is kept below the committed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBackend {
    /// In memory: nothing survives the process, all is restored from Kafka.
    Memory,
    /// In RocksDB, one per task. The settings of the first call count for the process.
    #[cfg(feature = "rocksdb")]
    RocksDb(crate::state::RocksDbSettings),
}

/// An open state directory; its lock is held until this is dropped.
pub struct StateDirectory {
    path: PathBuf,
    instance_id: String,
    memory: MemoryByteStores,
    #[cfg(feature = "rocksdb")]
    rocksdb: std::sync::Arc<std::sync::OnceLock<std::sync::Arc<super::rocksdb::SharedResources>>>,
    _lock: File,
}

/// The content of the `FORMAT` file.
#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
    application: String,
}

/// The part of the `FORMAT` file that every version has.
#[derive(Deserialize)]
struct FormatVersion {
    format: u32,
}

impl StateDirectory {
    /// Opens, or makes, the directory of an application under `path`, and locks it.
    /// `fresh_instance_id` becomes the instance's id where there is none yet.
    /// Errors: in use by another process, of another application, of a newer or unknown format,
    /// not readable or writable.
    pub fn open(
        path: &Path,
        application: &str,
        fresh_instance_id: &str,
    ) -> Result<Self, StateError> {
        let path = path.join(checked_name(path, application)?);
        fs::create_dir_all(&path).map_err(|error| failed(&path, &error))?;
        let lock = lock(&path)?;
        check_format(&path, application)?;
        let instance_id = instance_id(&path, fresh_instance_id)?;
        let tasks = path.join(TASKS);
        fs::create_dir_all(&tasks).map_err(|error| failed(&tasks, &error))?;
        Ok(Self {
            path,
            instance_id,
            memory: MemoryByteStores::default(),
            #[cfg(feature = "rocksdb")]
            rocksdb: std::sync::Arc::default(),
            _lock: lock,
        })
    }

    /// Makes the directories of one process share caches, write buffers and threads (MEM-1). Call
    /// it before the first store is opened.
    #[cfg_attr(not(feature = "rocksdb"), allow(unused_variables))]
    pub fn share_memory(directories: &mut [Self]) {
        #[cfg(feature = "rocksdb")]
        if let Some((first, others)) = directories.split_first_mut() {
            for other in others {
                other.rocksdb = std::sync::Arc::clone(&first.rocksdb);
            }
        }
    }

    /// The id of this instance: the same at every start in this directory.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The application's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directories of the task stores.
    pub fn tasks_path(&self) -> PathBuf {
        self.path.join(TASKS)
    }

    /// The byte stores of the tasks; those of all calls share memory and threads. They must not
    /// outlive this directory's lock.
    pub fn byte_stores(&self, backend: &StateBackend) -> Box<dyn ByteStores> {
        match backend {
            StateBackend::Memory => Box::new(self.memory.clone()),
            #[cfg(feature = "rocksdb")]
            StateBackend::RocksDb(settings) => {
                use super::rocksdb::{RocksDbByteStores, SharedResources};
                let shared = self
                    .rocksdb
                    .get_or_init(|| std::sync::Arc::new(SharedResources::new(settings.clone())));
                Box::new(RocksDbByteStores::sharing(&self.tasks_path(), shared.clone()))
            }
        }
    }
}

/// An application's name must be one plain path component.
fn checked_name<'a>(path: &Path, application: &'a str) -> Result<&'a str, StateError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !application.is_empty() && application.chars().all(plain) {
        return Ok(application);
    }
    Err(foreign(
        path,
        format!("{application:?} is no application name: use letters, digits, '-' and '_'"),
    ))
}

/// Locks the directory, and leaves this process's id for whoever finds it locked.
fn lock(path: &Path) -> Result<File, StateError> {
    let file = path.join(LOCK_FILE);
    let io = |error: io::Error| failed(&file, &error);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(io(error)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The holder's name is a courtesy; the lock is what counts.
            let holder = match lock.read_to_string(&mut holder) {
                Ok(_) if !holder.trim().is_empty() => Some(holder.trim().to_owned()),
                _ => None,
            };
            return Err(StateError::Locked { path: path.display().to_string(), holder });
        }
    }
    lock.set_len(0).map_err(io)?;
    lock.rewind().map_err(io)?;
    writeln!(lock, "pid {}", std::process::id()).map_err(io)?;
    Ok(lock)
}

/// Checks that the directory is of this application and format, or is new.
fn check_format(path: &Path, application: &str) -> Result<(), StateError> {
    let file = path.join(FORMAT_FILE);
    let content = match fs::read(&file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_empty(path)?;
            let format = Format { format: FORMAT, application: application.to_owned() };
            let json = serde_json::to_vec(&format)
                .map_err(|error| failed(&file, &io::Error::other(error)))?;
            return write_whole(path, FORMAT_FILE, &json);
        }
        Err(error) => return Err(failed(&file, &error)),
    };
    let unreadable = |error: serde_json::Error| {
        foreign(
            path,
            format!(
                "its {FORMAT_FILE} file cannot be read ({error}): no Tidemill wrote it, or it is \
                 damaged; move the directory away, its state is then restored from Kafka"
            ),
        )
    };
    let version: FormatVersion = serde_json::from_slice(&content).map_err(unreadable)?;
    if version.format > FORMAT {
        return Err(foreign(
            path,
            format!(
                "it has format {}, this Tidemill reads up to {FORMAT}; use a newer one, or move \
                 the directory away (its state is then restored from Kafka)",
                version.format
            ),
        ));
    }
    let format: Format = serde_json::from_slice(&content).map_err(unreadable)?;
    if format.application != application {
        return Err(foreign(
            path,
            format!("it belongs to application {:?}, not {application:?}", format.application),
        ));
    }
    Ok(())
}

/// A directory without `FORMAT` must hold nothing but what a start that was cut off leaves.
fn check_empty(path: &Path) -> Result<(), StateError> {
    for entry in fs::read_dir(path).map_err(|error| failed(path, &error))? {
        let name = entry.map_err(|error| failed(path, &error))?.file_name();
        if name != LOCK_FILE && !name.to_string_lossy().ends_with(".tmp") {
            return Err(foreign(
                path,
                format!(
                    "it holds {:?} but no {FORMAT_FILE} file, so no Tidemill made it; give \
                     another directory",
                    name.to_string_lossy()
                ),
            ));
        }
    }
    Ok(())
}

/// The instance's id, made durable at the first start.
fn instance_id(path: &Path, fresh: &str) -> Result<String, StateError> {
    let file = path.join(INSTANCE_FILE);
    match fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Ok(_) => Err(foreign(path, format!("its {INSTANCE_FILE} file is empty; remove it"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_whole(path, INSTANCE_FILE, fresh.as_bytes())?;
            Ok(fresh.to_owned())
        }
        Err(error) => Err(failed(&file, &error)),
    }
}

/// Writes a file so that a crash leaves all of it or none.
fn write_whole(directory: &Path, name: &str, content: &[u8]) -> Result<(), StateError> {
    let path = directory.join(name);
    let temporary = directory.join(format!("{name}.tmp"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| failed(&path, &error))
}

fn failed(path: &Path, error: &io::Error) -> StateError {
    StateError::Store { store: path.display().to_string(), reason: error.to_string() }
}

fn foreign(path: &Path, reason: String) -> StateError {
    StateError::Foreign { path: path.display().to_string(), reason }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
