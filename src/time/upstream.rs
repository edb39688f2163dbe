//! What a task has heard of the tasks that write to one of its repartition topics.

use std::collections::BTreeMap;

use crate::{record::Timestamp, time::Control};

/// How far a task is in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It sends no record with this timestamp or an earlier one any more.
    At(Timestamp),
    /// It has nothing to say, and holds nobody back until it speaks again.
    Idle,
}

impl Progress {
    /// The slower of the two; an idle one is left out.
    pub fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (at @ Self::At(_), Self::Idle) | (_, at) => at,
        }
    }
}

/// The last word of each upstream task of one repartition topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    tasks: u32,
    heard: BTreeMap<u32, Progress>,
}

impl Upstream {
    /// How many upstream tasks there are, as far as is known; 0 before the first word.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// The last word of a task; `None` for one that has not been heard of.
    pub fn heard(&self, task: u32) -> Option<Progress> {
        self.heard.get(&task).copied()
    }

    /// Sets the number of tasks; whether it grew. Partitions are never taken away, so a smaller
    /// number is an old one.
    pub fn know(&mut self, tasks: u32) -> bool {
        let grew = tasks > self.tasks;
        self.tasks = self.tasks.max(tasks);
        grew
    }

    /// Takes the word of a task; whether it is news. A watermark never goes back (TIME-1).
    pub fn hear(&mut self, task: u32, progress: Progress) -> bool {
        let next = match (self.heard.get(&task), progress) {
            (Some(Progress::At(before)), Progress::At(now)) => Progress::At(now.max(*before)),
            _ => progress,
        };
        self.heard.insert(task, next) != Some(next)
    }

    /// Takes a control record; the tasks whose word is news.
    pub fn take(&mut self, control: &Control) -> Vec<u32> {
        let news =
            |(task, progress): (&u32, &Progress)| self.hear(*task, *progress).then_some(*task);
        control.progress.iter().filter_map(news).collect()
    }

    /// The minimum over all tasks; `None` while one of them is unknown.
    pub fn progress(&self) -> Option<Progress> {
        let known = self.heard.range(..self.tasks);
        let (count, least) = known.fold((0, Progress::Idle), |(count, least), (_, progress)| {
            (count + 1, least.min(*progress))
        });
        (self.tasks > 0 && count == self.tasks).then_some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64) -> Progress {
        Progress::At(Timestamp(time))
    }

    #[test]
    fn an_unknown_task_holds_back_and_an_idle_one_does_not() {
        let mut upstream = Upstream::default();
        assert_eq!(upstream.progress(), None);
        let first = Control { tasks: 3, progress: [(0, at(9)), (2, at(5))].into() };
        assert!(upstream.know(first.tasks));
        assert_eq!(upstream.take(&first), [0, 2]);
        assert_eq!(upstream.progress(), None, "nothing was heard of task 1");
        assert!(upstream.hear(1, Progress::Idle));
        assert_eq!(upstream.progress(), Some(at(5)));
        assert!(upstream.hear(2, Progress::Idle) && upstream.hear(0, Progress::Idle));
        assert_eq!(upstream.progress(), Some(Progress::Idle));
        assert!(upstream.hear(1, at(7)));
        assert_eq!(upstream.progress(), Some(at(7)));
    }

    #[test]
    fn a_watermark_that_went_back_is_not_heard() {
        let mut upstream = Upstream::default();
        upstream.know(1);
        assert!(upstream.hear(0, at(5)));
        assert!(!upstream.hear(0, at(4)));
        assert_eq!(upstream.progress(), Some(at(5)));
    }

    #[test]
    fn more_tasks_are_waited_for_and_never_fewer() {
        let mut upstream = Upstream::default();
        upstream.know(1);
        upstream.hear(0, at(5));
        assert!(upstream.know(2));
        assert!(!upstream.know(1));
        assert_eq!((upstream.tasks(), upstream.progress()), (2, None));
    }
}
