//! What the runtime says of itself, in the run's trace: a `tracing` subscriber that knows the
//! virtual time and whose step it is.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
};

use tidemill::testing::SimCluster;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

thread_local! {
    static STEPPING: RefCell<Option<(SimCluster, String)>> = const { RefCell::new(None) };
}

/// Whatever is said until the next call is said by that instance.
pub(crate) fn stepping(cluster: &SimCluster, instance: &str) {
    STEPPING.set(Some((cluster.clone(), instance.to_owned())));
}

/// Runs `run` with all events of the runtime going into the trace.
pub(crate) fn traced<T>(run: impl FnOnce() -> T) -> T {
    let result = tracing::subscriber::with_default(Tracer, run);
    STEPPING.set(None);
    result
}

struct Tracer;

impl Subscriber for Tracer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidemill::runtime")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        STEPPING.with_borrow(|stepping| {
            if let Some((cluster, instance)) = stepping {
                cluster.note(instance, line.0.trim_start());
            }
        });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The message first, then its fields.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("* {value:?}"));
        } else {
            write!(self.0, " {}={value:?}", field.name()).unwrap();
        }
    }
}
