//! What an instance says of itself: `/readyz` and `/status`, asked over plain TCP.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// The parts of `/status` that a run looks at, all threads together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Whether all threads have joined the group.
    pub(crate) joined: bool,
    /// Why threads have ended.
    pub(crate) ended: Vec<String>,
    /// The highest epoch.
    pub(crate) epoch: u64,
    /// Its tasks.
    pub(crate) tasks: Vec<TaskLine>,
    /// The numbers, by name.
    pub(crate) counters: BTreeMap<String, u64>,
    /// Bytes held, by `part/what`.
    pub(crate) memory: BTreeMap<String, u64>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct TaskLine {
    /// `<subtopology>_<partition>`.
    pub(crate) task: String,
    /// `running`, or on its way there.
    pub(crate) phase: String,
    /// Records still to be read, as far as known.
    pub(crate) lag: i64,
}

impl TaskLine {
    /// The partition of its inputs.
    pub(crate) fn partition(&self) -> Option<i32> {
        self.task.rsplit_once('_')?.1.parse().ok()
    }

    /// The name of its subtopology.
    pub(crate) fn subtopology(&self) -> &str {
        self.task.rsplit_once('_').map_or("", |(name, _)| name)
    }
}

#[derive(Deserialize)]
struct Report {
    applications: Vec<Application>,
}

#[derive(Deserialize)]
struct Application {
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
struct Thread {
    joined: bool,
    epoch: u64,
    ended: Option<String>,
    tasks: Vec<TaskLine>,
    counters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    memory: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Status {
    /// Reads the JSON of `/status`.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let report: Report = serde_json::from_str(json).context("/status is not as expected")?;
        let threads: Vec<Thread> =
            report.applications.into_iter().flat_map(|application| application.threads).collect();
        let mut status = Self {
            joined: !threads.is_empty() && threads.iter().all(|thread| thread.joined),
            ..Self::default()
        };
        for thread in threads {
            status.epoch = status.epoch.max(thread.epoch);
            status.ended.extend(thread.ended);
            status.tasks.extend(thread.tasks);
            for (name, value) in thread.counters {
                if let Some(value) = value.as_u64() {
                    *status.counters.entry(name).or_default() += value;
                }
            }
            for (part, held) in thread.memory {
                for (what, bytes) in held {
                    let sum = status.memory.entry(format!("{part}/{what}")).or_default();
                    // What belongs to the process is told by each thread.
                    *sum = if part == "byte-store" { bytes.max(*sum) } else { *sum + bytes };
                }
            }
        }
        Ok(status)
    }

    /// A counter; 0 where there is none of that name.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Records that its tasks still have to read.
    pub(crate) fn lag(&self) -> i64 {
        self.tasks.iter().map(|task| task.lag.max(0)).sum()
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.tasks.iter().filter(|task| task.phase == "running").count()
    }
}

/// Asks for `path`: the status code and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    split(&answer).with_context(|| format!("{address}{path} gave no HTTP answer"))
}

fn split(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_counters_of_threads_are_added() {
        let thread = |n: u64| {
            format!(
                r#"{{"thread":{n},"joined":true,"epoch":{n},"epoch_phase":"run","ended":null,
                "tasks":[{{"task":"accounts_{n}","phase":"running","lag":5,"restore_remaining":0,
                "state_bytes":1,"resident_bytes":1,"blocked":null}}],
                "counters":{{"fenced":{n},"skipped":{{}}}},"positions":{{}},
                "memory":{{"cache":{{"timers":{n}}},"byte-store":{{"blocks":7}}}}}}"#
            )
        };
        let json = format!(
            r#"{{"version":"0","applications":[{{"application":"a","topology":"t","threads":[{},{}]}}]}}"#,
            thread(1),
            thread(3)
        );
        let status = Status::parse(&json).unwrap();
        assert!(status.joined && status.ended.is_empty());
        assert_eq!((status.epoch, status.counter("fenced"), status.lag()), (3, 4, 10));
        assert_eq!(status.running(), 2);
        assert_eq!((status.memory["cache/timers"], status.memory["byte-store/blocks"]), (4, 7));
        assert_eq!(status.tasks[1].partition(), Some(3));
        assert_eq!(status.tasks[1].subtopology(), "accounts");
        assert!(Status::parse("{}").is_err());
    }

    #[test]
    fn an_answer_is_code_and_body() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno\n";
        assert_eq!(split(answer), Some((503, "no\n".to_owned())));
        assert_eq!(split(""), None);
    }
}
