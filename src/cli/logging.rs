//! Sets up logs: to stderr, as text or JSON lines, by level.

use std::io::{self, IsTerminal};

use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{LogFormat, LogSettings};

/// Begins to log. Called once per process; a subscriber that is there already stays (a user's own
/// binary may have set one).
pub(super) fn start(settings: &LogSettings) {
    // Settings were checked when they were loaded; without a valid filter nothing is filtered.
    let filter: Targets = settings.level.parse().unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    if tracing_subscriber::registry().with(lines).try_init().is_err() {
        tracing::debug!("logs go to the subscriber that was there already");
    }
}
