//! ERR-1 in a real process: a record that cannot be processed stops it or is counted, as declared.

use std::time::{SystemTime, UNIX_EPOCH};

use tidemill::record::Offset;

use crate::{application::Application, running::get};

/// What the output topic refuses besides what it takes.
const LIMITS: [(&str, &str); 2] =
    [("max.message.bytes", "300"), ("message.timestamp.before.max.ms", "3600000")];

const NOT_UTF8: &[u8] = &[b'a', 0xff, 0xfe];

fn a_day_ago() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap() - 86_400_000
}

#[test]
fn under_fail_the_process_ends_with_6_and_names_the_record() {
    let app = Application::new("poison-fail", &[]);
    app.write(&[(b"one two", None), (NOT_UTF8, None), (b"three", None)]);
    let ended = app.start("fail", &[]).ended();
    let (record, operator) = (format!("{}-0@1", app.input), format!("operator {}", app.input));
    ended.assert(6, &[&record, &operator, "value", "UTF-8", "policy fail"]);
    // Its offset is not passed, and what stood before it may be committed.
    assert!(app.committed(&app.input).is_none_or(|offset| offset <= Offset(1)));
    // It is still there at the next start.
    app.start("fail", &[]).ended().assert(6, &[&record]);
    // Declared otherwise, the run goes on behind it.
    let mut process = app.start("skip", &[]);
    let counts = app.wait_for_counts(&mut process, 3);
    assert_eq!(counts, [("one", 1), ("three", 1), ("two", 1)].map(|(w, n)| (w.to_owned(), n)));
    process.signal("TERM");
    process.ended().assert(0, &["drained"]);
}

#[test]
fn under_fail_an_output_that_its_topic_would_refuse_ends_with_6() {
    let large = "x".repeat(400);
    let cases: [(&str, &[u8], Option<i64>, &str); 2] = [
        ("large", large.as_bytes(), None, "larger than topic"),
        ("old", b"late", Some(a_day_ago()), "message.timestamp.before.max.ms"),
    ];
    for (what, line, time, reason) in cases {
        let app = Application::new(&format!("refused-{what}"), &LIMITS);
        app.write(&[(line, time)]);
        let ended = app.start("fail", &[]).ended();
        let record = format!("{}-0@0", app.words());
        ended.assert(6, &[&record, "operator ", reason, &app.output, "policy fail"]);
        assert!(app.committed(&app.words()).is_none_or(|offset| offset == Offset(0)), "{what}");
    }
}

#[test]
fn under_skip_they_are_counted_and_the_run_goes_on() {
    let app = Application::new("poison-skip", &LIMITS);
    let large = "x".repeat(400);
    app.write(&[(b"good", None), (NOT_UTF8, None), (large.as_bytes(), None)]);
    app.write(&[(b"late", Some(a_day_ago())), (b"good end", None)]);
    let mut process = app.start("skip", &[]);
    let http = process.http();
    let counts = app.wait_for_counts(&mut process, 3);
    assert_eq!(counts, [("end".to_owned(), 1), ("good".to_owned(), 2)]);
    let skipped = process.wait_for("three skipped records in the metrics", |_| {
        let metrics = get(&http, "/metrics")?;
        let lines = metrics.lines().filter(|l| l.starts_with("tidemill_skipped_records_total{"));
        let skipped: Vec<(bool, u64)> = lines
            .map(|l| {
                let value = l.rsplit(' ').next().unwrap().parse().unwrap();
                (l.contains(&format!("operator=\"{}\"", app.input)), value)
            })
            .collect();
        (skipped.iter().map(|(_, n)| n).sum::<u64>() == 3).then_some(skipped)
    });
    // One by the source, which cannot decode it; two by the sink.
    assert_eq!(skipped.iter().find(|(source, _)| *source), Some(&(true, 1)), "{skipped:?}");
    process.signal("TERM");
    process.ended().assert(0, &["element skipped", "drained"]);
}
