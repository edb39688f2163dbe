//! Who may use a state directory, and what is refused.

use super::*;

fn message(result: Result<StateDirectory, StateError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_instance_id_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = StateDirectory::open(directory.path(), "orders", "one").unwrap();
    assert_eq!(first.instance_id(), "one");
    drop(first);
    let second = StateDirectory::open(directory.path(), "orders", "two").unwrap();
    assert_eq!(second.instance_id(), "one");
    assert!(second.tasks_path().is_dir());
}

#[test]
fn a_second_user_is_refused_and_told_who_the_first_is() {
    let directory = tempfile::tempdir().unwrap();
    let _first = StateDirectory::open(directory.path(), "orders", "one").unwrap();
    let second = StateDirectory::open(directory.path(), "orders", "two");
    let Err(StateError::Locked { holder, .. }) = &second else { panic!("not locked") };
    assert_eq!(*holder, Some(format!("pid {}", std::process::id())));
    assert!(message(second).contains("in use by another process (pid "));
    // Another application is another directory.
    StateDirectory::open(directory.path(), "payments", "two").unwrap();
}

#[test]
fn a_newer_format_and_another_application_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(StateDirectory::open(directory.path(), "orders", "one").unwrap());
    let file = directory.path().join("orders").join(FORMAT_FILE);

    fs::write(&file, r#"{"format":2,"application":"orders"}"#).unwrap();
    let newer = message(StateDirectory::open(directory.path(), "orders", "x"));
    assert!(
        newer.contains("has format 2, this Tidemill reads up to 1; use a newer one"),
        "{newer}"
    );

    fs::write(&file, r#"{"format":1,"application":"other"}"#).unwrap();
    let other = message(StateDirectory::open(directory.path(), "orders", "x"));
    assert!(other.contains("belongs to application \"other\", not \"orders\""), "{other}");

    fs::write(&file, "\0\0\0").unwrap();
    let damaged = message(StateDirectory::open(directory.path(), "orders", "x"));
    assert!(damaged.contains("cannot be read"), "{damaged}");
}

#[test]
fn a_directory_of_somebody_else_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("photo.jpg"), "x").unwrap();
    let refused = message(StateDirectory::open(directory.path(), "orders", "x"));
    assert!(refused.contains("\"photo.jpg\" but no FORMAT file"), "{refused}");
    assert!(!path.join(FORMAT_FILE).exists());
}

#[test]
fn a_start_that_was_cut_off_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders");
    fs::create_dir(&path).unwrap();
    fs::write(path.join(LOCK_FILE), "pid 1\n").unwrap();
    fs::write(path.join("FORMAT.tmp"), "{\"for").unwrap();
    let opened = StateDirectory::open(directory.path(), "orders", "x").unwrap();
    assert_eq!(opened.instance_id(), "x");
}

#[test]
fn names_that_are_no_plain_path_component_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["", "..", "a/b", "a.b", "/etc"] {
        let refused = message(StateDirectory::open(directory.path(), name, "x"));
        assert!(refused.contains("is no application name"), "{refused}");
    }
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let refused = message(StateDirectory::open(&file, "orders", "x"));
    assert!(refused.contains("file"), "{refused}");
}
