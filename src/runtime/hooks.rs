//! Named points on the path of an epoch, where tests stop, kill or watch a process.

/// A point that a stream thread reaches; named after what happens next or just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Records have been processed into the running epoch.
    Run,
    /// The running epoch is about to be sealed.
    BeforeSeal,
    /// It is sealed; its records are not flushed.
    AfterSeal,
    /// All records are queued, the flush is about to be submitted.
    BeforeFlush,
    /// All is acknowledged, the offsets are about to be sent.
    BeforeSendOffsets,
    /// The offsets are accepted, the commit is about to be submitted.
    BeforeCommit,
    /// The commit is submitted.
    AfterCommitSent,
    /// The commit succeeded, the overlays are about to move.
    BeforeApply,
    /// The epoch is applied.
    AfterApply,
}

impl Point {
    /// The name in files and logs.
    pub fn name(self) -> &'static str {
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
}

/// What watches the points.
pub trait Hooks {
    /// The thread has reached `point`.
    fn reach(&mut self, point: Point);
}

/// Nobody watches.
#[derive(Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn reach(&mut self, _point: Point) {}
}
