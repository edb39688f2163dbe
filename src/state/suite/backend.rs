//! The backends under test.

use crate::{
    record::{Offset, Timestamp},
    state::{ByteStores, EpochId, EpochMarker, MemoryByteStores, Positions},
};

/// Makes byte stores of one kind, in a place of their own.
pub(super) trait Backend {
    /// Cases of a property test: RocksDB's are dearer.
    const CASES: u32;

    fn make() -> Self;

    /// A process's access to the stores: of all calls to the same ones.
    fn stores(&self) -> Box<dyn ByteStores>;
}

pub(super) struct Memory(MemoryByteStores);

impl Backend for Memory {
    const CASES: u32 = 300;

    fn make() -> Self {
        Self(MemoryByteStores::default())
    }

    fn stores(&self) -> Box<dyn ByteStores> {
        Box::new(self.0.clone())
    }
}

#[cfg(feature = "rocksdb")]
pub(super) struct RocksDb(pub(super) tempfile::TempDir);

#[cfg(feature = "rocksdb")]
impl Backend for RocksDb {
    const CASES: u32 = 20;

    fn make() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn stores(&self) -> Box<dyn ByteStores> {
        use crate::state::{RocksDbByteStores, RocksDbSettings};
        Box::new(RocksDbByteStores::new(self.0.path(), RocksDbSettings::default()))
    }
}

/// Makes each generic test function a test per backend.
macro_rules! on_all_backends {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name::<super::super::backend::Memory>(); })*
        }
        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $(#[test] fn $name() { super::$name::<super::super::backend::RocksDb>(); })*
        }
    };
}
pub(super) use on_all_backends;

pub(super) fn marker(epoch: u64) -> EpochMarker {
    EpochMarker { id: EpochId { epoch, incarnation: 1 }, sources: vec![], watermark: None }
}

pub(super) fn positions(next: i64) -> Positions {
    Positions {
        changelog_next: Offset(next),
        changelog_topic_id: "topic".to_owned(),
        marker: Some(marker(next as u64)),
        whole: true,
        written_at: Timestamp(next),
    }
}
