//! Failpoints for the torture suite: a process that kills or stops itself at a point of an epoch.
//!
//! Only in builds with the feature `mutants`. `TIDEMILL_FAILPOINTS=<dir>`: when a file
//! `<dir>/<point>` exists as the engine reaches the point, its content (`kill`, `stop`, `abort` or
//! `freeze`) is done, after the file was renamed to `<point>.hit`. `kill` and `stop` are signals to
//! the process, `abort` ends it from within. `kill 500` waits 500 ms at the point first, so that
//! what other threads were told has been done; `freeze 500` does nothing but wait, and the thread
//! goes on. `<dir>/phase` always holds the last point reached, so that it can be read after a
//! SIGKILL from outside.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    process::Command,
};

use crate::runtime::hooks::{Hooks, Point};

/// Width of the name in the phase file, padded with blanks.
const WIDTH: usize = 20;

/// Watches a directory.
#[derive(Debug)]
pub struct FileFailpoints {
    directory: PathBuf,
    phase: File,
    last: Option<Point>,
}

impl FileFailpoints {
    /// Watches `directory`, which must exist.
    pub fn open(directory: PathBuf) -> std::io::Result<Self> {
        let phase = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(directory.join("phase"))?;
        Ok(Self { directory, phase, last: None })
    }

    fn act(&self, point: Point) -> std::io::Result<()> {
        let file = self.directory.join(point.name());
        let action = match fs::read_to_string(&file) {
            Ok(action) => action,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        fs::rename(&file, self.directory.join(format!("{}.hit", point.name())))?;
        let (word, delay_ms) = action.trim().split_once(' ').unwrap_or((action.trim(), "0"));
        let delay_ms = delay_ms.parse().map_err(std::io::Error::other)?;
        let action = Action::parse(word)?;
        tracing::warn!(point = point.name(), action = word, delay_ms, "failpoint");
        #[expect(clippy::disallowed_methods, reason = "the thread is to stand still here")]
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        let signal = match action {
            Action::Freeze => return Ok(()),
            Action::Abort => std::process::abort(),
            Action::Signal(signal) => signal,
        };
        let process = std::process::id().to_string();
        Command::new("kill").args([signal, &process]).status().map(|_| ())
    }
}

/// What is done at a point, after the wait.
enum Action {
    Signal(&'static str),
    Abort,
    Freeze,
}

impl Action {
    fn parse(word: &str) -> std::io::Result<Self> {
        match word {
            "kill" => Ok(Self::Signal("-KILL")),
            "stop" => Ok(Self::Signal("-STOP")),
            "abort" => Ok(Self::Abort),
            "freeze" => Ok(Self::Freeze),
            other => Err(std::io::Error::other(format!("no action {other:?}"))),
        }
    }
}

impl Hooks for FileFailpoints {
    fn reach(&mut self, point: Point) {
        if self.last != Some(point) {
            self.last = Some(point);
            let name = format!("{:<WIDTH$}", point.name());
            if let Err(error) = self.phase.write_at(name.as_bytes(), 0) {
                tracing::error!(%error, "phase file");
            }
        }
        if let Err(error) = self.act(point) {
            tracing::error!(%error, point = point.name(), "failpoint");
        }
    }
}
