//! Whether an application is alive and ready, decided from its threads' status alone.

use std::collections::BTreeMap;

use crate::runtime::{TaskPhase, ThreadStatus};

/// An answer to a probe, with the reasons where it is no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Yes,
    /// No, and why: one sentence each.
    No(Vec<String>),
}

impl Verdict {
    fn of(reasons: Vec<String>) -> Self {
        if reasons.is_empty() { Self::Yes } else { Self::No(reasons) }
    }

    /// Both must be yes.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, other) | (other, Self::Yes) => other,
            (Self::No(mut reasons), Self::No(more)) => {
                reasons.extend(more);
                Self::No(reasons)
            }
        }
    }
}

/// Alive: no thread has ended. A restart is the cure for "no".
pub(super) fn alive(application: &str, threads: &BTreeMap<usize, ThreadStatus>) -> Verdict {
    let ended = threads.iter().filter_map(|(number, thread)| {
        let reason = thread.ended.as_ref()?;
        Some(format!("{application}: thread {number} has ended: {reason}"))
    });
    Verdict::of(ended.collect())
}

/// Ready: alive, all `expected` threads have joined, and every task is running.
pub(super) fn ready(
    application: &str,
    expected: usize,
    threads: &BTreeMap<usize, ThreadStatus>,
) -> Verdict {
    let mut reasons = Vec::new();
    let joined = threads.values().filter(|thread| thread.joined).count();
    if joined < expected {
        reasons.push(format!("{application}: {joined} of {expected} threads have joined"));
    }
    for (number, thread) in threads {
        for task in thread.tasks.iter().filter(|task| task.phase != TaskPhase::Running) {
            let blocked =
                task.blocked.as_ref().map(|why| format!(", blocked: {why}")).unwrap_or_default();
            reasons.push(format!(
                "{application}: thread {number}: task {} is {} ({} records to restore{blocked})",
                task.name,
                task.phase.name(),
                task.restore_remaining,
            ));
        }
    }
    alive(application, threads).and(Verdict::of(reasons))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::TaskStatus;

    fn thread(joined: bool, phases: &[TaskPhase]) -> ThreadStatus {
        let task = |(i, &phase): (usize, &TaskPhase)| TaskStatus {
            name: format!("count_{i}"),
            phase,
            restore_remaining: 7,
            ..TaskStatus::default()
        };
        ThreadStatus {
            joined,
            tasks: phases.iter().enumerate().map(task).collect(),
            ..ThreadStatus::default()
        }
    }

    #[test]
    fn an_application_is_ready_when_all_threads_joined_and_all_tasks_run() {
        let threads = BTreeMap::from([
            (0, thread(true, &[TaskPhase::Running, TaskPhase::Running])),
            (1, thread(true, &[])),
        ]);
        assert_eq!(ready("app", 2, &threads), Verdict::Yes);
        let Verdict::No(reasons) = ready("app", 3, &threads) else { panic!("ready") };
        assert_eq!(reasons, ["app: 2 of 3 threads have joined"]);
    }

    #[test]
    fn before_a_thread_has_shown_itself_the_application_is_alive_and_not_ready() {
        assert_eq!(alive("app", &BTreeMap::new()), Verdict::Yes);
        assert_ne!(ready("app", 1, &BTreeMap::new()), Verdict::Yes);
    }

    #[test]
    fn a_restoring_task_is_not_ready_and_says_how_much_remains() {
        let threads = BTreeMap::from([(0, thread(true, &[TaskPhase::Restoring]))]);
        let Verdict::No(reasons) = ready("app", 1, &threads) else { panic!("ready") };
        assert_eq!(reasons, ["app: thread 0: task count_0 is restoring (7 records to restore)"]);
    }

    #[test]
    fn a_thread_that_ended_is_neither_alive_nor_ready() {
        let mut threads = BTreeMap::from([(0, thread(true, &[TaskPhase::Running]))]);
        threads.entry(0).and_modify(|t| t.ended = Some("poison record".to_owned()));
        let expected = Verdict::No(vec!["app: thread 0 has ended: poison record".to_owned()]);
        assert_eq!(alive("app", &threads), expected);
        assert_eq!(ready("app", 1, &threads), expected);
    }
}
