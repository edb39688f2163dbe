//! Writes beside the thread: whole after a crash in whatever order kinds and sizes follow each
//! other, and what each kind costs.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // costs are measured, and shown

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    RocksDbSettings, SharedResources,
    spiller::{SpillJob, TABLE_FILE},
};
use crate::{
    record::{Offset, Timestamp},
    state::{ByteStore, ByteStores, ChangeLog, FrozenChanges, Positions, RocksDbByteStores, keys},
};

/// Set in the child process that is to crash: the directory of its stores, and when.
const CRASH_IN: &str = "TIDEMILL_TEST_SPILL_CRASH_IN";
const CRASH_AT: &str = "TIDEMILL_TEST_SPILL_CRASH_AT";
/// Entries of the layer whose cost is measured.
const MEASURED: &str = "TIDEMILL_TEST_SPILL_KEYS";
const KEYS: u32 = 500;

fn positions(next: i64) -> Positions {
    Positions {
        changelog_next: Offset(next),
        changelog_topic_id: "topic".to_owned(),
        marker: None,
        whole: true,
        written_at: Timestamp(0),
    }
}

fn store(directory: &Path) -> Box<dyn ByteStore> {
    RocksDbByteStores::new(directory, RocksDbSettings::default()).open("0_0").unwrap()
}

/// Every key gets the epoch's number, in a value of that many bytes; the catalogue comes too.
fn epoch(number: i64, bytes: usize) -> ChangeLog {
    let mut log = ChangeLog::default();
    for key in (0..KEYS).rev() {
        let mut value = number.to_be_bytes().to_vec();
        value.resize(bytes.max(8), 0);
        log.push(&(key | 1 << 16).to_be_bytes(), Some(&value));
    }
    log.push(keys::CATALOGUE_KEY, Some(&number.to_be_bytes()));
    log
}

/// Not a test of its own: the process that crashes in the test below.
#[test]
fn child_that_crashes_while_it_spills() {
    let Some(directory) = std::env::var_os(CRASH_IN).map(PathBuf::from) else { return };
    let after = std::env::var(CRASH_AT).unwrap().parse().unwrap();
    let mut store = store(&directory);
    let first = store.positions().unwrap().map_or(0, |found| found.changelog_next.0);
    let crash_at = Instant::now() + Duration::from_millis(after);
    std::thread::spawn(move || {
        std::thread::sleep(crash_at.saturating_duration_since(Instant::now()));
        // No destructor runs, nothing is closed: as SIGKILL, wherever the writer stands.
        std::process::abort();
    });
    for number in first + 1.. {
        let bytes = if number % 3 == 0 { 3_000 } else { 8 };
        let log = epoch(number, bytes);
        if number % 4 == 0 {
            let mut all = vec![];
            log.for_each(&mut |key, value| {
                all.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
            let mut changes = all.iter().map(|(key, value)| (&key[..], value.as_deref()));
            store.write(&mut changes, &positions(number)).unwrap();
            store.flush().unwrap();
        } else {
            store.begin_write(Arc::new(log), positions(number)).unwrap();
        }
    }
}

#[test]
fn a_crash_while_spilling_leaves_one_whole_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut last, mut tables) = (0, 0);
    for round in 0..6 {
        let name = "state::rocksdb::spiller_tests::child_that_crashes_while_it_spills";
        let child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(CRASH_IN, directory.path())
            .env(CRASH_AT, (200 + 70 * round).to_string())
            .output()
            .unwrap();
        assert!(!child.status.success(), "the child did not crash");
        tables += usize::from(directory.path().join("0_0").join(TABLE_FILE).exists());
        let store = store(directory.path());
        let Some(found) = store.positions().unwrap() else { continue };
        let epoch = found.changelog_next.0;
        let entries: Vec<_> = store.scan(&[], None).collect::<Result<_, _>>().unwrap();
        assert_eq!(entries.len(), KEYS as usize + 1);
        assert!(entries.iter().all(|(_, v)| v[..8] == epoch.to_be_bytes()), "epoch {epoch}");
        assert!(epoch >= last, "epoch {last} was there, {epoch} is");
        last = epoch;
    }
    println!("epoch {last} survived; {tables} crashes left half a table");
    assert!(last > 0);
}

#[test]
fn a_layer_is_readable_after_its_write_and_freed_by_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path());
    for (number, bytes) in [(1, 8), (2, 4_000), (3, 8)] {
        let changes = Arc::new(epoch(number, bytes));
        let frozen: Arc<dyn FrozenChanges> = Arc::<ChangeLog>::clone(&changes);
        store.begin_write(frozen, positions(number)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !store.poll_write().unwrap() {
            assert!(Instant::now() < deadline, "write {number} does not end");
            std::thread::yield_now();
        }
        store.discard(changes);
        assert_eq!(store.positions().unwrap(), Some(positions(number)));
        let value = store.get(&(1_u32 << 16).to_be_bytes()).unwrap().unwrap();
        assert_eq!(value.len(), bytes);
    }
}

#[test]
fn a_full_layer_is_handed_over_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path());
    let mut log = ChangeLog::default();
    for key in 0..100_000_u32 {
        log.push(&[&[0, 1][..], &key.to_be_bytes()[..]].concat(), Some(&[7; 100]));
    }
    store.begin_write(Arc::new(epoch(1, 8)), positions(1)).unwrap();
    store.finish_write().unwrap();
    let (began, log) = (Instant::now(), Arc::new(log));
    store.begin_write(log, positions(2)).unwrap();
    let stall = began.elapsed();
    store.finish_write().unwrap();
    let whole = began.elapsed();
    println!("the writer took {whole:?}, its caller {stall:?}");
    assert!(stall < whole / 2, "{stall:?} of {whole:?}");
}

/// User and system time of the process, with what RocksDB does in the background.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = text.rsplit(") ").next().unwrap().split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

/// By batch and by table: the same content, and what each costs. `TIDEMILL_TEST_SPILL_KEYS` makes
/// the layer as large as a real one.
#[test]
fn a_batch_and_a_table_leave_the_same() {
    let keys: u32 = std::env::var(MEASURED).ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let mut images = vec![];
    for kind in ["batch", "table"] {
        let directory = tempfile::tempdir().unwrap();
        let shared = Arc::new(SharedResources::new(RocksDbSettings::default()));
        let mut stores = RocksDbByteStores::sharing(directory.path(), Arc::clone(&shared));
        drop(stores.open("0_0").unwrap());
        let path = directory.path().join("0_0");
        let db = Arc::new(rocksdb::DB::open(&shared.options(), &path).unwrap());
        // Two layers of the same keys: the second meets the first.
        for round in 0..2u8 {
            let mut log = ChangeLog::default();
            let mut key = 88_172_645_463_325_252_u64;
            for _ in 0..keys {
                key ^= key << 13;
                key ^= key >> 7;
                key ^= key << 17;
                let stored = [&[0, 1][..], &key.to_be_bytes()[..], &[7; 6][..]].concat();
                log.push(&stored, Some(&[round; 40]));
            }
            let bytes = log.bytes();
            let job = SpillJob {
                store: "0_0".to_owned(),
                path: path.clone(),
                db: Arc::clone(&db),
                options: shared.options(),
                changes: Arc::new(log),
                positions: vec![round],
            };
            let (began, cpu) = (Instant::now(), cpu_seconds());
            if kind == "batch" { job.batch() } else { job.table() }.unwrap();
            let (wall, cpu) = (began.elapsed(), cpu_seconds() - cpu);
            println!("{kind} {round}: {keys} keys, {bytes} bytes held, {wall:?}, {cpu:.2} CPU-s");
        }
        let image: Vec<_> = db.iterator(rocksdb::IteratorMode::Start).map(Result::unwrap).collect();
        images.push(image);
    }
    assert_eq!(images[0].len(), keys as usize + 1);
    assert!(images[0] == images[1], "a batch and a table differ");
}
