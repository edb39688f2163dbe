//! What people see: result lines on stdout, progress on stdout or, in a terminal, as a live line.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;

/// Without a terminal, progress is a line this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Prints one line to stdout. Nobody reads it when stdout is closed, so errors are dropped.
pub(crate) fn line(text: impl Display) {
    let text = text.to_string();
    let mut out = io::stdout().lock();
    let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
    said().extend(text.lines().map(str::to_owned));
}

/// All lines of this run so far.
pub(crate) fn transcript() -> Vec<String> {
    said().clone()
}

/// What was said, for the report of a run.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn said() -> MutexGuard<'static, Vec<String>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Progress of a run: a live line in a terminal, now and then a plain line elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    live: bool,
    started: Instant,
    printed: Option<Instant>,
}

impl Progress {
    /// Progress that begins now.
    pub(crate) fn start() -> Self {
        let live = io::stdout().is_terminal();
        let target = if live { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Self { bar, live, started: clock::now(), printed: None }
    }

    /// Something happened that is to stay readable.
    pub(crate) fn event(&self, text: impl Display) {
        if self.live {
            self.bar.suspend(|| line(text));
        } else {
            let elapsed = self.started.elapsed().as_secs_f64();
            line(format_args!("[{elapsed:6.1}s] {text}"));
        }
    }

    /// Where the run stands now; `text` is only asked for when it is shown.
    pub(crate) fn stand(&mut self, text: impl FnOnce() -> String) {
        if self.live {
            self.bar.set_message(text());
            self.bar.tick();
        } else if self.printed.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.event(text());
            self.printed = Some(clock::now());
        }
    }

    /// Removes the live line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
