//! Consumed records of repartition topics are deleted, and a restart goes on without them.

use crate::application::{Application, bounds};

#[test]
fn consumed_repartition_records_are_deleted_up_to_the_committed_offset() {
    let app = Application::new("purge", &[]);
    app.write_lines(&["a b", "b c", "c a"]);
    let mut process = app.start("fail", &[]);
    app.wait_for_counts(&mut process, 6);
    let start = process.wait_for("a purge", |_| {
        let start = bounds(&app.words()).start;
        (start.0 >= 6).then_some(start)
    });
    assert!(start <= app.committed(&app.words()).unwrap(), "beyond the committed offset");
    process.signal("KILL");
    assert_eq!(process.ended().code, None);
    app.write_lines(&["a b c"]);
    let mut process = app.start("fail", &[]);
    let counts = app.wait_for_counts(&mut process, 9);
    assert_eq!(counts, ["a", "b", "c"].map(|word| (word.to_owned(), 3)));
    process.signal("TERM");
    process.ended().assert(0, &["drained"]);
}
