//! The targets: what was to be reached, what was found.

use serde::Serialize;

/// How a target was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Met {
    /// At least as good as asked for.
    Pass,
    /// Not as good.
    Miss,
    /// The session says nothing: a peer was slowed, or there is no figure.
    Invalid,
    /// Measured smaller than the target asks for: the figure is shown, and not judged.
    NotJudged,
}

impl Met {
    /// In words.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Miss => "MISS",
            Self::Invalid => "invalid",
            Self::NotJudged => "not judged",
        }
    }
}

/// One row of the table of targets.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    pub(crate) workload: &'static str,
    /// What is asked for.
    pub(crate) what: String,
    /// What was found.
    pub(crate) found: f64,
    /// The bound.
    pub(crate) bound: f64,
    /// Whether more is better.
    pub(crate) at_least: bool,
    pub(crate) unit: &'static str,
    pub(crate) met: Met,
}

impl Target {
    /// `found` must be at least `bound`.
    pub(crate) fn at_least(
        workload: &'static str,
        what: impl Into<String>,
        found: f64,
        bound: f64,
        unit: &'static str,
    ) -> Self {
        Self::new(workload, what.into(), found, bound, true, unit)
    }

    /// `found` must be at most `bound`.
    pub(crate) fn at_most(
        workload: &'static str,
        what: impl Into<String>,
        found: f64,
        bound: f64,
        unit: &'static str,
    ) -> Self {
        Self::new(workload, what.into(), found, bound, false, unit)
    }

    fn new(
        workload: &'static str,
        what: String,
        found: f64,
        bound: f64,
        at_least: bool,
        unit: &'static str,
    ) -> Self {
        let met = match (found.is_finite(), at_least) {
            (false, _) => Met::Invalid,
            (true, true) if found >= bound => Met::Pass,
            (true, false) if found <= bound => Met::Pass,
            _ => Met::Miss,
        };
        Self { workload, what, found, bound, at_least, unit, met }
    }

    /// The same without a verdict: the run was smaller than what the target asks for.
    pub(crate) fn not_judged(mut self) -> Self {
        if self.met != Met::Invalid {
            self.met = Met::NotJudged;
        }
        self
    }

    /// What a session that is INVALID makes of it: the figure stays, the verdict goes.
    pub(crate) fn void(&mut self) {
        self.met = Met::Invalid;
    }

    /// The row in words.
    pub(crate) fn line(&self) -> String {
        let sign = if self.at_least { ">=" } else { "<=" };
        let met = self.met.word();
        let Self { workload, what, found, bound, unit, .. } = self;
        format!("{workload:<4} {what:<62} {found:>9.2} {unit:<5} {sign} {bound:<6.2} {met}")
    }
}
