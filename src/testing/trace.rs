//! The trace of a run, one line per event: virtual time, who, what. For people: what only carries
//! other things about (answers, timers) is left out.

use std::{fmt::Write as _, time::Duration};

use crate::{
    record::{RecordBatch, TopicPartition},
    runtime::{Event, Request, RestoreEvent},
    testing::{
        batch::SimBatch, cluster::Wakeup, faults::CoordinatorRequest, transactions::MarkerTarget,
    },
};

/// What the broker does by itself.
pub(super) fn wakeup(wakeup: &Wakeup, now: Duration) -> Option<String> {
    match wakeup {
        Wakeup::Arrive(arrival) => {
            let (delay, late) = arrival.sender.delay(now);
            let request = arrival.request.to_coordinator()?;
            // Heartbeats come every second; of them only late ones matter to a reader.
            if request == CoordinatorRequest::Heartbeat && !late {
                return None;
            }
            let (took, from) = (milliseconds(delay), &arrival.sender.instance);
            let late = if late { " LATE" } else { "" };
            Some(format!("{} of {from} arrives{late} after {took}", arrival.request.shown()))
        }
        Wakeup::Marker { stamp, commit, target } => {
            let word = if *commit { "commit" } else { "abort" };
            let target = match target {
                MarkerTarget::Partition(partition) => partition.to_string(),
                MarkerTarget::GroupOffsets(group) => format!("offsets of group {group}"),
            };
            let (id, epoch) = (&stamp.transactional_id, stamp.epoch);
            Some(format!("{word} marker of {id} (producer epoch {epoch}) into {target}"))
        }
        Wakeup::Release { .. }
        | Wakeup::Answer { .. }
        | Wakeup::Timer { .. }
        | Wakeup::TransactionTimeout { .. }
        | Wakeup::GroupCheck { .. }
        | Wakeup::Look => None,
    }
}

fn milliseconds(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

/// What a stream thread asks.
pub(super) fn request(request: &Request) -> String {
    match request {
        Request::Join { topics } => format!("-> join {}", list(topics)),
        Request::Accept { partitions } => format!("-> accept {}", list(partitions)),
        Request::Release { partitions } => format!("-> release {}", list(partitions)),
        Request::Read { partition, offset } => format!("-> read {partition} from {offset}"),
        Request::CommittedOffsets { id, partitions } => {
            format!("-> stable offsets of {}? (question {id})", list(partitions))
        }
        Request::Bounds { id, partitions } => {
            format!("-> bounds of {}? (question {id})", list(partitions))
        }
        Request::SendOffsets { lane, offsets, group } => {
            let offsets: Vec<_> =
                offsets.iter().map(|o| format!("{}={}", o.partition, o.offset)).collect();
            let generation = group.generation();
            format!("-> {lane}: send offsets {} (generation {generation})", list(&offsets))
        }
        Request::Open { lane } => format!("-> {lane}: open"),
        Request::Begin { lane } => format!("-> {lane}: begin"),
        Request::Flush { lane } => format!("-> {lane}: flush"),
        Request::Commit { lane } => format!("-> {lane}: commit"),
        Request::Abort { lane } => format!("-> {lane}: abort"),
        other => format!("-> {}", short(&format!("{other:?}"))),
    }
}

/// What a stream thread is told.
pub(super) fn event(event: &Event<SimBatch>) -> String {
    match event {
        Event::Records(batch) => format!("<- records {}", records(batch)),
        Event::Assigned { partitions } => format!("<- assigned {}", list(partitions)),
        Event::Revoking { partitions } => format!("<- revoking {}", list(partitions)),
        Event::Lost { partitions } => format!("<- lost {}", list(partitions)),
        Event::Opened { lane, result } => format!("<- {lane}: open {}", outcome(result)),
        Event::Flushed { lane, result: Ok(delivery) } => {
            let refused = delivery.refused.len();
            format!("<- {lane}: flush ok, {refused} records refused")
        }
        Event::Flushed { lane, result: Err(failure) } => format!("<- {lane}: flush {failure}"),
        Event::OffsetsSent { lane, result } => format!("<- {lane}: offsets {}", outcome(result)),
        Event::Committed { lane, result } => format!("<- {lane}: commit {}", outcome(result)),
        Event::Aborted { lane, result } => format!("<- {lane}: abort {}", outcome(result)),
        Event::CommittedOffsets { id, result: Ok(offsets) } => {
            let offsets: Vec<_> = offsets
                .iter()
                .map(|o| match o.offset {
                    Some(offset) => format!("{}={offset} [{}]", o.partition, o.metadata),
                    None => format!("{}=none", o.partition),
                })
                .collect();
            format!("<- stable offsets (question {id}): {}", list(&offsets))
        }
        other => format!("<- {}", short(&format!("{other:?}"))),
    }
}

/// What a restore is told.
pub(super) fn restore_event(event: &RestoreEvent<SimBatch>) -> String {
    match event {
        RestoreEvent::Records(batch) => format!("restore <- records {}", records(batch)),
        RestoreEvent::CaughtUp { partition, position } => {
            format!("restore <- {partition} caught up at {position}")
        }
        other => format!("restore <- {}", short(&format!("{other:?}"))),
    }
}

fn outcome<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned())
}

/// Runs of records of one partition, with their offsets.
fn records(batch: &SimBatch) -> String {
    let mut text = String::new();
    let mut last: Option<TopicPartition> = None;
    for index in 0..batch.len() {
        let record = batch.record(index);
        let at = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        // Writing into a string does not fail.
        let _written = if last.as_ref() == Some(&at) {
            write!(text, ",{}", record.offset)
        } else {
            let gap = if text.is_empty() { "" } else { " " };
            write!(text, "{gap}{at}@{}", record.offset)
        };
        last = Some(at);
    }
    text
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { "nothing".to_owned() } else { items.join(" ") }
}

/// One line, however long the thing is.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}
