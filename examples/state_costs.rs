//! What state costs per key: hot updates, loads, seals, commits, spills. Run it in release.

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // it measures and prints

use std::{
    error::Error,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use tidemill::{
    formats::{Codec, CodecError},
    record::{Offset, Timestamp},
    state::{
        ByteStores, EpochId, EpochMarker, MemoryByteStores, StateError, TaskState, ValueState,
    },
};

/// Numbers as eight bytes.
struct Number;

impl Codec<u64> for Number {
    fn encode(&self, value: &u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
        let bytes =
            bytes.try_into().map_err(|_| CodecError { reason: "not 8 bytes".to_owned() })?;
        Ok(u64::from_be_bytes(bytes))
    }
}

fn print(what: &str, keys: u64, took: Duration) {
    println!("  {what:<34} {:>8.0} ns per key", took.as_nanos() as f64 / keys as f64);
}

/// Updates as many times as there are keys, in a random order of its own: not in that of the
/// entries in memory.
fn update_all(
    values: &mut ValueState<u64, u64>,
    state: &mut TaskState,
    keys: u64,
) -> Result<Duration, StateError> {
    let start = Instant::now();
    for _ in 0..keys {
        let key = fastrand::u64(..keys);
        values.update(state, &key, |value| *value.get_or_insert(0) += 1)?;
    }
    Ok(start.elapsed())
}

fn measure(name: &str, stores: &mut dyn ByteStores, keys: u64) -> Result<(), Box<dyn Error>> {
    println!("{name}, {keys} keys");
    fastrand::seed(7);
    let mut state = TaskState::open(stores.open("0_0")?)?;
    let mut values = ValueState::new("bench", "count", Arc::new(Number), Arc::new(Number));
    values.open(&mut state)?;
    print("update, many of absent keys", keys, update_all(&mut values, &mut state, keys)?);
    for epoch in 1..=3u64 {
        if epoch > 1 {
            let took = update_all(&mut values, &mut state, keys)?;
            print("update, many the first of the epoch", keys, took);
        }
        print("hot update", keys, update_all(&mut values, &mut state, keys)?);

        let start = Instant::now();
        values.seal(&mut state)?;
        print("seal: encode into the overlay", keys, start.elapsed());

        state.seal();
        let start = Instant::now();
        black_box(
            state.sealed_changes().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len)).sum::<usize>(),
        );
        print("walk the changes", keys, start.elapsed());

        let start = Instant::now();
        let id = EpochId { epoch, incarnation: 0 };
        state.commit(EpochMarker { id, sources: vec![], watermark: None }, Offset(epoch as i64));
        values.committed();
        print("commit into the committed layer", keys, start.elapsed());

        if epoch > 1 {
            let start = Instant::now();
            state.spill("topic", Timestamp(0))?;
            print("spill into the byte store", keys, start.elapsed());
        }
    }
    values.evict(&mut state, 0)?;
    let start = Instant::now();
    for key in 0..keys {
        values.read(&mut state, &key, |value| black_box(value.copied()))?;
    }
    print("load from the byte store", keys, start.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    for keys in [10_000, 1_000_000] {
        measure("memory", &mut MemoryByteStores::default(), keys)?;
        #[cfg(feature = "rocksdb")]
        {
            use tidemill::state::{RocksDbByteStores, RocksDbSettings};
            let directory =
                std::env::temp_dir().join(format!("tidemill-costs-{}", std::process::id()));
            let mut stores = RocksDbByteStores::new(&directory, RocksDbSettings::default());
            let measured = measure("rocksdb", &mut stores, keys);
            std::fs::remove_dir_all(&directory)?;
            measured?;
        }
    }
    Ok(())
}
