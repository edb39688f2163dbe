//! SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::supervisor::StopSignal;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The two signals, registered: from here on they no longer kill the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers them; must run within the runtime.
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Passes the first on to `stop`, and ends the process by the second: with 128 + its number,
    /// as a shell reports a death by it.
    pub(super) async fn watch(mut self, stop: StopSignal) {
        let first = self.next().await;
        tracing::info!(signal = first, "draining; a second signal ends the process at once");
        stop.stop();
        let second = self.next().await;
        tracing::warn!(signal = second, "ended without a drain");
        std::process::exit(128 + second);
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SIGTERM,
            _ = self.interrupt.recv() => SIGINT,
        }
    }
}
