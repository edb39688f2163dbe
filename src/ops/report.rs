//! `/status`: what the status boards show, as JSON for people and for tests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::runtime::{
    Counters, StatusBoard, TaskStatus, ThreadStatus,
    memory::{MemoryPlan, MemoryUse},
};

/// The status board of one application in this process.
#[derive(Debug, Clone)]
pub struct Board {
    /// The application id.
    pub application: String,
    /// The topology's name.
    pub topology: String,
    /// How many stream threads it is to have.
    pub threads: usize,
    /// The process's memory, shared out.
    pub memory: MemoryPlan,
    /// Where they publish.
    pub status: StatusBoard,
}

/// The report: `{version, applications: [{application, topology, threads: [...]}]}`.
pub fn report(boards: &[Board]) -> Value {
    let application = |board: &Board| {
        let threads: Vec<Value> =
            board.status.view().iter().map(|(number, status)| thread(*number, status)).collect();
        json!({
            "application": board.application,
            "topology": board.topology,
            "threads": threads,
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "applications": boards.iter().map(application).collect::<Vec<_>>(),
    })
}

fn thread(number: usize, status: &ThreadStatus) -> Value {
    let positions: BTreeMap<String, i64> =
        status.positions.iter().map(|(partition, next)| (partition.to_string(), *next)).collect();
    json!({
        "thread": number,
        "joined": status.joined,
        "epoch": status.epoch,
        "epoch_phase": status.epoch_phase,
        "ended": status.ended,
        "tasks": status.tasks.iter().map(task).collect::<Vec<_>>(),
        "counters": counters(&status.counters),
        "memory": memory(&status.memory),
        "positions": positions,
    })
}

/// `{part: {what: bytes}}`.
fn memory(used: &MemoryUse) -> Value {
    let mut parts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for held in used.held().into_iter().chain(used.shared()) {
        parts.entry(held.part).or_default().insert(held.what, held.bytes);
    }
    json!(parts)
}

fn task(task: &TaskStatus) -> Value {
    json!({
        "task": task.name,
        "phase": task.phase.name(),
        "lag": task.lag,
        "restore_remaining": task.restore_remaining,
        "state_bytes": task.state_bytes,
        "resident_bytes": task.resident_bytes,
        "blocked": task.blocked,
    })
}

fn counters(counters: &Counters) -> Value {
    // Taken apart in full, so that a new counter cannot be forgotten here.
    let Counters {
        records_in,
        records_out,
        changelog_records,
        skipped,
        epochs_committed,
        epochs_aborted,
        epochs_resolved,
        fenced,
        takeovers,
        rebalances,
        partitions_lost,
        memberships_lost,
        memberships_renewed,
        rebalances_forced,
        stalls,
        restored_records,
        spills,
        memory_waits,
        timers_fired,
    } = counters;
    let skipped: Map<String, Value> =
        skipped.iter().map(|(operator, n)| (operator.clone(), Value::from(*n))).collect();
    json!({
        "records_in": records_in,
        "records_out": records_out,
        "changelog_records": changelog_records,
        "skipped": skipped,
        "epochs_committed": epochs_committed,
        "epochs_aborted": epochs_aborted,
        "epochs_resolved": epochs_resolved,
        "fenced": fenced,
        "takeovers": takeovers,
        "rebalances": rebalances,
        "partitions_lost": partitions_lost,
        "memberships_lost": memberships_lost,
        "memberships_renewed": memberships_renewed,
        "rebalances_forced": rebalances_forced,
        "stalls": stalls,
        "restored_records": restored_records,
        "spills": spills,
        "memory_waits": memory_waits,
        "timers_fired": timers_fired,
    })
}
