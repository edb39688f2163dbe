//! One instance id, two memberships: an older one that comes back is pushed aside, a younger live
//! process is a twin.

use std::time::Duration;

use tidemill::runtime::{Event, FatalCause, Log, Request};

use crate::{application::Application, support::Client};

/// A member in the place of instance `pod`, when it joins.
fn namesake(app: &Application) -> Client {
    Client::new(&app.name, "pod")
}

/// Takes the place of whoever has it.
fn take_place(client: &mut Client, app: &Application) {
    client.log.submit(Request::Join { topics: vec![app.input.clone(), app.words()] });
    let partitions = client.until("assigned", |event| match event {
        Event::Assigned { partitions } => Some(partitions),
        _ => None,
    });
    client.log.submit(Request::Accept { partitions });
}

#[test]
fn a_process_that_an_older_membership_fences_joins_anew_and_counts_on() {
    let app = Application::new("fallback", &[]);
    // Made before the process: as a coordinator has it that lost the process's join.
    let mut older = namesake(&app);
    app.write_lines(&["one two"]);
    let mut process = app.start("fail", &["--instance-id", "pod"]);
    app.wait_for_counts(&mut process, 2);
    take_place(&mut older, &app);
    process.wait_for_words("membership fenced");
    process.wait_for_words("joining anew");
    let cause = older.until("fenced in its turn", |event| match event {
        Event::Fatal(cause) => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, FatalCause::FencedInstanceId(_)), "{cause:?}");
    app.write_lines(&["one three"]);
    let counts = app.wait_for_counts(&mut process, 4);
    let expected = [("one", 2), ("three", 1), ("two", 1)].map(|(w, n)| (w.to_owned(), n));
    assert_eq!(counts, expected);
    process.signal("TERM");
    process.ended().assert(0, &["drained"]);
}

#[test]
fn a_process_whose_instance_id_a_younger_live_process_has_ends_with_7() {
    let app = Application::new("twins", &[]);
    app.write_lines(&["one two"]);
    let mut process = app.start("fail", &["--instance-id", "pod"]);
    app.wait_for_counts(&mut process, 2);
    let mut younger = namesake(&app);
    take_place(&mut younger, &app);
    process.ended().assert(7, &["another process has joined with the instance id pod.0"]);
    // It was not disturbed by the one that ended.
    let nothing = younger.next(Duration::from_millis(500), false);
    assert!(nothing.is_none(), "{nothing:?}");
    assert!(younger.log.group().is_some());
}
