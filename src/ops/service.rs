//! The one thread with an async runtime: it answers HTTP and hears signals.
//!
//! The data path never touches it, and it never blocks the data path: it reads status boards.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use metrics_exporter_prometheus::BuildError;
use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    ops::{
        Board,
        http::{Shared, routes},
        metrics::Exporter,
        signals::Signals,
    },
    runtime::supervisor::StopSignal,
};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; set http.bind to another address")]
    Bind {
        /// The address as set.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// The thread, its runtime or its signal handlers cannot be made.
    #[error("cannot start the service thread: {0}")]
    Start(#[from] io::Error),
    /// The metrics cannot be set up.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// The running service; dropped, it ends.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Listens on `bind` and, where `stop` is given, hears SIGTERM and SIGINT for it.
    ///
    /// # Errors
    /// [`ServiceError`]; when it returns `Ok`, the port answers and signals are heard.
    pub fn start(
        bind: SocketAddr,
        boards: Vec<Board>,
        stop: Option<StopSignal>,
    ) -> Result<Self, ServiceError> {
        let listener = TcpListener::bind(bind)
            .map_err(|source| ServiceError::Bind { address: bind, source })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let app = routes(Arc::new(Shared { boards, exporter: Exporter::new()? }));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (listener, signals) = {
            let _within = runtime.enter();
            let signals = stop.map(|stop| Signals::register().map(|s| (s, stop))).transpose()?;
            (tokio::net::TcpListener::from_std(listener)?, signals)
        };
        let (end, ended) = oneshot::channel::<()>();
        let serve = async move {
            if let Some((signals, stop)) = signals {
                tokio::spawn(signals.watch(stop));
            }
            tokio::select! {
                result = async { axum::serve(listener, app).await } => {
                    if let Err(error) = result {
                        tracing::error!(%error, "the HTTP port has failed");
                    }
                }
                // Also when the sender is dropped.
                _ = ended => {}
            }
        };
        let thread = thread::Builder::new()
            .name("tidemill-service".to_owned())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self { address, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens: with port 0, the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the service thread has panicked");
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
