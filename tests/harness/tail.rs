//! Counts what is committed to a topic while a run goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{
    clock,
    cluster::{Cluster, is_passing},
};

/// A thread that reads a topic read_committed from where it ended, and counts.
pub(crate) struct Tail {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Begins to count.
    pub(crate) fn start(cluster: &Cluster, topic: &str) -> Result<Self> {
        let reader = cluster.tail(topic)?;
        let count = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, stopped) = (Arc::clone(&count), Arc::clone(&stop));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                match reader.poll(Duration::from_millis(50)) {
                    Some(Ok(_)) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    // The checker reads again and reports; this is only a count.
                    Some(Err(error)) if !is_passing(&error) => {
                        clock::pause(Duration::from_millis(1));
                    }
                    _ => {}
                }
            }
        };
        let thread = thread::Builder::new().name("tail".to_owned()).spawn(work)?;
        Ok(Self { count, stop, thread: Some(thread) })
    }

    /// Records committed since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until `expected` records are committed and no more come for `quiet`, or until none
    /// came for `patience`; the count then. `look` is called now and then with the count.
    pub(crate) fn wait(
        &self,
        expected: u64,
        quiet: Duration,
        patience: Duration,
        mut look: impl FnMut(u64) -> Result<()>,
    ) -> Result<u64> {
        let mut last = (self.count(), clock::now());
        loop {
            let count = self.count();
            if count != last.0 {
                last = (count, clock::now());
            }
            let limit = if count >= expected { quiet } else { patience };
            if last.1.elapsed() >= limit {
                return Ok(count);
            }
            look(count)?;
            clock::pause(Duration::from_millis(50));
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the count is then short, which the checks see.
            let _panicked = thread.join();
        }
    }
}
