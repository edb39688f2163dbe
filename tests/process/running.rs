//! A process of a real binary: started with a directory of its own, signaled, waited for, read.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Ended {
    /// Fails unless it ended with `code` and said all of `words`.
    pub(crate) fn assert(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.log);
        for word in words {
            assert!(self.log.contains(word), "{word:?} is not in\n{}", self.log);
        }
    }
}

impl Running {
    /// Starts `binary` in `directory`, with no `TIDEMILL_*` variables but the given ones.
    pub(crate) fn start(
        binary: &str,
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = directory.join(format!("process-{number}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEMILL_") {
                command.env_remove(name);
            }
        }
        let variables = variables.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let child = command
            .args(arguments)
            .current_dir(directory)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until `found` gives something; fails when the process ends before.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {what}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}:\n{}", self.log());
            pause();
        }
    }

    /// Waits until it has said `words`.
    pub(crate) fn wait_for_words(&mut self, words: &str) {
        self.wait_for(words, |process| process.log().contains(words).then_some(()));
    }

    /// Where its port is, as it says in its log.
    pub(crate) fn http(&mut self) -> String {
        self.wait_for("an address of its port", |process| {
            let log = process.log();
            let address = log.split("http=").nth(1)?.split_whitespace().next()?;
            Some(address.to_owned())
        })
    }

    /// Sends a signal, TERM or the like.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended { code: status.code(), log: self.log() };
            }
            assert!(Instant::now() < deadline, "no end within {PATIENCE:?}:\n{}", self.log());
            pause();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Between two looks at a condition.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// The body of an answer of a process's port; `None` while there is none.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
