//! The metrics page, and what a scrape shows.

use std::fmt::Write;

use super::*;
use crate::runtime::{
    StatusBoard, TaskStatus,
    memory::{MemoryPlan, MemoryUse},
};

/// `docs/METRICS.md`.
fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Made from the table in `src/ops/metrics.rs`; a test compares them.\n\n\
         `GET /metrics` on the operators' port (`http.bind`) answers in Prometheus' text format.\n\
         Counters start at zero when a thread starts; `thread` is its number within the process.\n\n\
         | name | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let unit = if metric.unit == Unit::Count { "" } else { metric.unit.as_str() };
        writeln!(
            page,
            "| `{}` | {kind} | {unit} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    page
}

fn board() -> Board {
    let status = StatusBoard::default();
    status.update(0, |thread| {
        thread.joined = true;
        thread.epoch = 12;
        thread.tasks.push(TaskStatus {
            name: "count_3".to_owned(),
            phase: TaskPhase::Running,
            lag: 40,
            state_bytes: 1_000,
            ..TaskStatus::default()
        });
        thread.memory = MemoryUse {
            running: 7,
            byte_store: SharedMemory { blocks: 10, write_buffers: 5 },
            ..MemoryUse::default()
        };
        thread.counters.records_in = 99;
        thread.counters.epochs_aborted = 2;
        thread.counters.skipped.insert("parse".to_owned(), 5);
        thread.epochs.push(EpochSample { run: 0.09, commit: 0.02, ..EpochSample::default() });
    });
    let memory = MemoryPlan::split(256 << 20, 2, <_>::default()).unwrap();
    Board { application: "app".to_owned(), topology: "app".to_owned(), threads: 2, memory, status }
}

#[test]
fn the_page_in_docs_is_what_the_table_says() {
    crate::ops::documents::assert_page("docs/METRICS.md", &page());
}

#[test]
fn names_follow_the_convention_and_are_unique() {
    let mut seen = std::collections::BTreeSet::new();
    for metric in ALL {
        assert!(seen.insert(metric.name), "{} twice", metric.name);
        assert!(metric.name.starts_with("tidemill_") || metric.name.starts_with("process_"));
        assert_eq!(
            metric.kind == Kind::Counter,
            metric.name.ends_with("_total"),
            "{}: counters, and only counters, end in _total",
            metric.name
        );
    }
}

#[test]
fn a_scrape_shows_every_metric_with_its_help_and_its_values() {
    let text = Exporter::new().unwrap().render(&[board()]);
    for metric in ALL {
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "no help: {}", metric.name);
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
    }
    let lines = [
        "tidemill_records_in_total{application=\"app\",thread=\"0\"} 99",
        "tidemill_epochs_total{application=\"app\",thread=\"0\",outcome=\"aborted\"} 2",
        "tidemill_skipped_records_total{application=\"app\",thread=\"0\",operator=\"parse\"} 5",
        "tidemill_memory_bytes{application=\"app\",thread=\"0\",part=\"epochs\",held=\"running\"} 7",
        "tidemill_memory_bytes{application=\"\",thread=\"\",part=\"byte-store\",held=\"blocks\"} 10",
        "tidemill_task_lag_records{application=\"app\",task=\"count_3\"} 40",
        "tidemill_tasks{application=\"app\",phase=\"running\"} 1",
        "tidemill_tasks{application=\"app\",phase=\"restoring\"} 0",
        "tidemill_threads{application=\"app\",state=\"starting\"} 1",
        "tidemill_epoch_phase_seconds_count{application=\"app\",phase=\"commit\"} 1",
        "tidemill_epoch_phase_seconds_bucket{application=\"app\",phase=\"run\",le=\"0.05\"} 0",
        "tidemill_epoch_phase_seconds_bucket{application=\"app\",phase=\"run\",le=\"0.1\"} 1",
    ];
    for line in lines {
        assert!(text.lines().any(|l| l == line), "no line {line}\n{text}");
    }
}

#[test]
fn a_task_that_moved_away_leaves_no_series_and_histograms_gather() {
    let (exporter, board) = (Exporter::new().unwrap(), board());
    assert!(exporter.render(std::slice::from_ref(&board)).contains("task=\"count_3\""));
    board.status.update(0, |thread| {
        thread.tasks.clear();
        thread.epochs.push(EpochSample::default());
    });
    let text = exporter.render(&[board]);
    assert!(!text.contains("task=\"count_3\""), "{text}");
    let count = "tidemill_epoch_phase_seconds_count{application=\"app\",phase=\"run\"} 2";
    assert!(text.contains(count), "{text}");
}

#[test]
fn all_bounds_together_are_the_limit_and_every_held_part_has_one() {
    let text = Exporter::new().unwrap().render(&[board()]);
    let bounds = text.lines().filter(|line| line.starts_with("tidemill_memory_limit_bytes{"));
    let bounds: Vec<(&str, f64)> = bounds
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, bytes)| (series, bytes.parse().unwrap()))
        .collect();
    let sum: f64 = bounds.iter().map(|(_, bytes)| bytes).sum();
    let limit = f64::from(256 << 20);
    // Each part of each thread may have lost a byte by division.
    assert!(sum <= limit && sum > limit - 100.0, "{bounds:?}");
    let used = MemoryUse::default();
    for held in used.held().into_iter().chain(used.shared()) {
        let part = format!("part=\"{}\"", held.part);
        assert!(bounds.iter().any(|(series, _)| series.contains(&part)), "{part}: {bounds:?}");
    }
}
