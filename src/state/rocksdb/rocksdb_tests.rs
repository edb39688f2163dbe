//! What a crash and damage leave of a RocksDB store.

#![allow(clippy::disallowed_methods)] // a crash is awaited against the real clock

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    record::{Offset, Timestamp},
    state::{
        ByteStore, ByteStores, Positions, RocksDbByteStores, RocksDbSettings, StateBackend,
        StateDirectory, StateError, keys::POSITIONS_KEY,
    },
};

/// Set in the child process that is to crash: the directory of its stores.
const CRASH_IN: &str = "TIDEMILL_TEST_CRASH_IN";
const KEYS: u16 = 500;

fn positions(next: i64) -> Positions {
    Positions {
        changelog_next: Offset(next),
        changelog_topic_id: "topic".to_owned(),
        marker: None,
        whole: true,
        written_at: Timestamp(0),
    }
}

fn stores(directory: &Path) -> RocksDbByteStores {
    RocksDbByteStores::new(directory, RocksDbSettings::default())
}

/// One epoch: every key gets the epoch's number.
fn write_epoch(store: &mut dyn ByteStore, epoch: i64) {
    let entries: Vec<_> = (0..KEYS)
        .map(|key| ((u32::from(key) | 1 << 16).to_be_bytes(), epoch.to_be_bytes()))
        .collect();
    let mut changes = entries.iter().map(|(key, value)| (&key[..], Some(&value[..])));
    store.write(&mut changes, &positions(epoch)).unwrap();
    store.flush().unwrap();
}

fn tables(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("0_0")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|e| e == "sst")).collect()
}

/// Not a test of its own: the process that crashes in the test below.
#[test]
fn child_that_crashes() {
    let Some(directory) = std::env::var_os(CRASH_IN).map(PathBuf::from) else { return };
    let mut store = stores(&directory).open("0_0").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut epoch = 0;
    // Past the first table on disk, on to epochs that only memory holds.
    while epoch < 20 || tables(&directory).is_empty() {
        assert!(Instant::now() < deadline, "no table was written");
        epoch += 1;
        write_epoch(&mut *store, epoch);
    }
    // No destructor runs, nothing is closed: as SIGKILL.
    std::process::abort();
}

#[test]
fn a_crash_leaves_one_whole_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let mut survived = 0;
    for _ in 0..3 {
        let name = "state::rocksdb::rocksdb_tests::child_that_crashes";
        let child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(CRASH_IN, directory.path())
            .output()
            .unwrap();
        assert!(!child.status.success(), "the child did not crash");
        let store = stores(directory.path()).open("0_0").unwrap();
        let epoch = store.positions().unwrap().unwrap().changelog_next.0;
        let entries: Vec<_> = store.scan(&[], None).collect::<Result<_, _>>().unwrap();
        assert_eq!(entries.len(), usize::from(KEYS));
        assert!(entries.iter().all(|(_, value)| *value == epoch.to_be_bytes()), "epoch {epoch}");
        survived += epoch;
    }
    assert!(survived > 0);
}

/// A store with tables on disk, closed.
fn closed_store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = stores(directory.path()).open("0_0").unwrap();
    (1..5).for_each(|epoch| write_epoch(&mut *store, epoch));
    drop(store);
    assert!(!tables(directory.path()).is_empty());
    directory
}

/// Opens the store and reads all of it.
fn read_all(directory: &Path) -> Result<usize, StateError> {
    let store = stores(directory).open("0_0")?;
    let read = store.scan(&[], None).collect::<Result<Vec<_>, _>>()?;
    Ok(read.len())
}

fn is_damaged(result: Result<usize, StateError>) {
    match result {
        Err(StateError::Damaged { store, .. }) => assert_eq!(store, "0_0"),
        other => panic!("not damaged: {other:?}"),
    }
}

#[test]
fn a_missing_a_cut_and_an_overwritten_table_are_damage_until_wiped() {
    for damage in 0..3 {
        let directory = closed_store();
        assert_eq!(read_all(directory.path()).unwrap(), usize::from(KEYS));
        for table in tables(directory.path()) {
            let mut bytes = fs::read(&table).unwrap();
            match damage {
                0 => fs::remove_file(&table).unwrap(),
                1 => fs::write(&table, &bytes[..bytes.len() / 2]).unwrap(),
                _ => {
                    bytes[20] ^= 1;
                    fs::write(&table, &bytes).unwrap();
                }
            }
        }
        is_damaged(read_all(directory.path()));
        stores(directory.path()).wipe("0_0").unwrap();
        assert_eq!(read_all(directory.path()).unwrap(), 0);
    }
}

#[test]
fn a_missing_or_overwritten_manifest_is_damage() {
    for overwrite in [false, true] {
        let directory = closed_store();
        for file in fs::read_dir(directory.path().join("0_0")).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
                if overwrite {
                    fs::write(&path, [7; 300]).unwrap();
                } else {
                    fs::remove_file(&path).unwrap();
                }
            }
        }
        is_damaged(read_all(directory.path()));
    }
}

#[test]
fn damaged_and_newer_positions_are_found_when_a_store_is_opened() {
    let directory = closed_store();
    let put = |value: &[u8]| {
        let db = rocksdb::DB::open_default(directory.path().join("0_0")).unwrap();
        db.put(POSITIONS_KEY, value).unwrap();
    };
    put(b"\x01nonsense");
    is_damaged(read_all(directory.path()));
    put(b"\x02from the future");
    let newer = read_all(directory.path()).unwrap_err();
    assert!(matches!(newer, StateError::Foreign { .. }), "{newer}");
    assert!(newer.to_string().contains("use a newer one"), "{newer}");
}

#[test]
fn a_state_directory_keeps_its_stores_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let backend = StateBackend::RocksDb(RocksDbSettings::default());
    let opened = StateDirectory::open(directory.path(), "orders", "one").unwrap();
    let (mut some, mut others) = (opened.byte_stores(&backend), opened.byte_stores(&backend));
    write_epoch(&mut *some.open("0_0").unwrap(), 3);
    write_epoch(&mut *others.open("0_1").unwrap(), 4);
    assert!(opened.tasks_path().join("0_1").is_dir());
    drop((some, others, opened));
    let opened = StateDirectory::open(directory.path(), "orders", "two").unwrap();
    let mut stores = opened.byte_stores(&backend);
    assert_eq!(stores.open("0_0").unwrap().positions().unwrap(), Some(positions(3)));
    stores.wipe("0_0").unwrap();
    assert_eq!(stores.open("0_0").unwrap().positions().unwrap(), None);
    assert_eq!(stores.open("0_1").unwrap().positions().unwrap(), Some(positions(4)));
}
