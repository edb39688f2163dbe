//! Failpoints of an instance: files in a directory that the engine looks for (its feature
//! `mutants`), and the phase that it last was in.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

/// A point on the path of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Run,
    BeforeSeal,
    AfterSeal,
    BeforeFlush,
    BeforeSendOffsets,
    BeforeCommit,
    AfterCommitSent,
    BeforeApply,
    AfterApply,
}

/// A phase of an epoch, as the proof counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Run,
    Seal,
    Flush,
    Offsets,
    Commit,
    Apply,
}

impl Phase {
    pub(crate) const ALL: [Self; 6] =
        [Self::Run, Self::Seal, Self::Flush, Self::Offsets, Self::Commit, Self::Apply];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Seal => "seal",
            Self::Flush => "flush",
            Self::Offsets => "offsets",
            Self::Commit => "commit",
            Self::Apply => "apply",
        })
    }
}

impl Point {
    /// All, in the order of an epoch.
    pub(crate) const ALL: [Self; 9] = [
        Self::Run,
        Self::BeforeSeal,
        Self::AfterSeal,
        Self::BeforeFlush,
        Self::BeforeSendOffsets,
        Self::BeforeCommit,
        Self::AfterCommitSent,
        Self::BeforeApply,
        Self::AfterApply,
    ];

    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::BeforeSeal => "before-seal",
            Self::AfterSeal => "after-seal",
            Self::BeforeFlush => "before-flush",
            Self::BeforeSendOffsets => "before-send-offsets",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommitSent => "after-commit-sent",
            Self::BeforeApply => "before-apply",
            Self::AfterApply => "after-apply",
        }
    }

    /// The phase that a thread is in after it reached the point and before it reaches the next.
    /// `None` behind the end of an epoch: the next one has not begun.
    pub(crate) fn phase(self) -> Option<Phase> {
        match self {
            Self::Run => Some(Phase::Run),
            Self::BeforeSeal | Self::AfterSeal => Some(Phase::Seal),
            Self::BeforeFlush => Some(Phase::Flush),
            Self::BeforeSendOffsets => Some(Phase::Offsets),
            Self::BeforeCommit | Self::AfterCommitSent => Some(Phase::Commit),
            Self::BeforeApply => Some(Phase::Apply),
            Self::AfterApply => None,
        }
    }
}

/// What a process does to itself at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL.
    Kill,
    /// SIGKILL half a second later: what other threads were told until then has been done.
    KillLater,
    /// SIGSTOP.
    Stop,
    /// The thread that reached the point stands still for so long; the others go on.
    Freeze(Duration),
}

impl Action {
    fn text(self) -> String {
        match self {
            Self::Kill => "kill".to_owned(),
            Self::KillLater => "kill 500".to_owned(),
            Self::Stop => "stop".to_owned(),
            Self::Freeze(time) => format!("freeze {}", time.as_millis()),
        }
    }
}

/// The failpoint directory of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Failpoints {
    directory: PathBuf,
}

impl Failpoints {
    /// An empty directory.
    pub(crate) fn make(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The next time that a thread reaches `point`, it does `action`.
    pub(crate) fn arm(&self, point: Point, action: Action) -> Result<()> {
        self.disarm();
        let temporary = self.directory.join("armed.tmp");
        fs::write(&temporary, action.text())?;
        fs::rename(&temporary, self.directory.join(point.name()))?;
        Ok(())
    }

    /// Whether the point has been reached since it was armed.
    pub(crate) fn hit(&self, point: Point) -> bool {
        self.directory.join(format!("{}.hit", point.name())).exists()
    }

    /// Removes what is armed and what was hit.
    pub(crate) fn disarm(&self) {
        for point in Point::ALL {
            // What is not there need not be removed.
            let _missing = fs::remove_file(self.directory.join(point.name()));
            let _missing = fs::remove_file(self.directory.join(format!("{}.hit", point.name())));
        }
    }

    /// The point that was reached last, also by a process that is dead.
    pub(crate) fn last_point(&self) -> Option<Point> {
        let text = fs::read_to_string(self.directory.join("phase")).ok()?;
        Point::ALL.into_iter().find(|point| point.name() == text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_point_is_a_file_and_a_hit_one_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let failpoints = Failpoints::make(directory.path().join("f")).unwrap();
        failpoints.arm(Point::BeforeCommit, Action::KillLater).unwrap();
        let armed = failpoints.directory().join("before-commit");
        assert_eq!(fs::read_to_string(&armed).unwrap(), "kill 500");
        assert!(!failpoints.hit(Point::BeforeCommit));
        fs::rename(&armed, failpoints.directory().join("before-commit.hit")).unwrap();
        assert!(failpoints.hit(Point::BeforeCommit));
        failpoints.disarm();
        assert!(!failpoints.hit(Point::BeforeCommit));
        failpoints.arm(Point::Run, Action::Freeze(Duration::from_secs(2))).unwrap();
        let armed = failpoints.directory().join("run");
        assert_eq!(fs::read_to_string(armed).unwrap(), "freeze 2000");
    }

    #[test]
    fn the_last_point_is_read_from_a_padded_file() {
        let directory = tempfile::tempdir().unwrap();
        let failpoints = Failpoints::make(directory.path().to_owned()).unwrap();
        assert_eq!(failpoints.last_point(), None);
        fs::write(directory.path().join("phase"), "before-send-offsets ").unwrap();
        assert_eq!(failpoints.last_point(), Some(Point::BeforeSendOffsets));
        assert_eq!(Point::BeforeSendOffsets.phase(), Some(Phase::Offsets));
    }
}
