//! How the limit is shared out.

use crate::runtime::memory::{ClientMemory, QueueLimit};

/// Of the limit, in hundredths; together 100.
const RESERVE: u64 = 15;
const CACHE: u64 = 23;
const LAYERS: u64 = 12;
const EPOCHS: u64 = 15;
const BYTE_STORE: u64 = 13;
pub(super) const FETCH: u64 = 6;
const PRODUCE: u64 = 6;
const RESTORE: u64 = 10;

const MIB: u64 = 1 << 20;

/// The least limit that a process can work with.
pub const LIMIT_MIN: u64 = 64 * MIB;

/// The limit where none is set is at most this.
pub(super) const LIMIT_DEFAULT_MAX: u64 = 2048 * MIB;

/// Where nothing is known of the machine.
const MACHINE_UNKNOWN: u64 = 2048 * MIB;

/// What more would not make faster, per thread.
pub(super) const FETCH_MAX: u64 = 128 * MIB;
const PRODUCE_MAX: u64 = 256 * MIB;
const RESTORE_MAX: u64 = 512 * MIB;
const RESTORE_QUEUE_MAX: u64 = 32 * MIB;
const LAYERS_MAX: u64 = 512 * MIB;
const EPOCHS_MAX: u64 = 512 * MIB;

/// An epoch's weight is counted once; what it makes of memory is held up to six times: overlay and
/// outputs of two epochs, room to grow in both, and what grows in the cache before it is encoded.
const EPOCH_COPIES: u64 = 6;

/// The limit where none is set: half of what the process may have (the smaller of the machine's
/// memory and the limit of its container), at most 2 GiB.
pub fn default_limit(available: Option<u64>) -> u64 {
    (available.unwrap_or(MACHINE_UNKNOWN) / 2).clamp(LIMIT_MIN, LIMIT_DEFAULT_MAX)
}

/// Settings that fix a part, per thread where not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryOverrides {
    /// `state.cache-bytes`.
    pub cache: Option<u64>,
    /// `state.spill-bytes`; the part is twice that.
    pub spill: Option<u64>,
    /// `state.rocksdb.cache-bytes`, of the process.
    pub byte_store: Option<u64>,
    /// `queued.max.messages.kbytes` in bytes; the part is four times that.
    pub fetch_queue: Option<u64>,
    /// `queue.buffering.max.kbytes` in bytes, of one of two producers; the part is four times that.
    pub produce_queue: Option<u64>,
}

/// A limit that cannot hold what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Too little to work with.
    #[error("{limit} is too little: it takes at least {least}", limit = Size(*limit),
        least = Size(*least))]
    TooSmall {
        /// The limit.
        limit: u64,
        /// What it takes.
        least: u64,
    },
    /// What is fixed leaves too little for the rest.
    #[error(
        "{limit} cannot hold what is set: {fixed}; with {reserve} in reserve {left} remain for \
         the other parts, which need at least {least}. Raise memory.limit, or leave these settings \
         out: they then follow it",
        limit = Size(*limit), reserve = Size(*reserve), left = Size(*left), least = Size(*least)
    )]
    Over {
        /// The limit.
        limit: u64,
        /// The settings and what they take, in words.
        fixed: String,
        /// What is kept for code, stacks, the allocator.
        reserve: u64,
        /// What is left.
        left: u64,
        /// What the parts that are not fixed need.
        least: u64,
    },
}

/// Bytes for people.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes if bytes >= MIB => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{} KiB", bytes.div_ceil(1024)),
        }
    }
}

/// What every part may take. Bytes; per thread where not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All of it, of the process.
    pub limit: u64,
    /// Stream threads of the process.
    pub threads: u64,
    /// Typed resident entries.
    pub cache: u64,
    /// Committed layers, those being written included: twice what starts a spill.
    pub layers: u64,
    /// Overlays and outputs of epochs in progress.
    pub epochs: u64,
    /// Caches and write buffers of all byte stores, of the process.
    pub byte_store: u64,
    /// Fetched records that are not processed.
    pub fetch: u64,
    /// Produced records that are not acknowledged.
    pub produce: u64,
    /// Restores: records in the client, and changes that are not written.
    pub restore: u64,
    /// Kept for code, stacks, metadata and the allocator's losses, of the process.
    pub reserve: u64,
}

/// A part while it is shared out: its weight, the most it can use, the least it needs, and the
/// setting that fixes it.
struct Part {
    weight: u64,
    most: u64,
    least: u64,
    fixed: Option<(&'static str, u64)>,
}

impl MemoryPlan {
    /// Shares `limit` bytes out among `threads` stream threads. What is fixed keeps its size, the
    /// rest is shared by weight; what a part cannot use goes to the caches. Errors: the limit is
    /// too small, or too small for what is fixed.
    pub fn split(limit: u64, threads: usize, fixed: MemoryOverrides) -> Result<Self, MemoryError> {
        if limit < LIMIT_MIN {
            return Err(MemoryError::TooSmall { limit, least: LIMIT_MIN });
        }
        let threads = (threads as u64).max(1);
        let part = |weight, most: u64, least: u64, name, fixed: Option<u64>, times: u64| Part {
            weight,
            most: most.saturating_mul(threads),
            least: least * threads,
            fixed: fixed.map(|bytes| (name, bytes.saturating_mul(times))),
        };
        let scaled = |bytes: Option<u64>| bytes.map(|bytes| bytes.saturating_mul(threads));
        let mut parts = [
            part(CACHE, u64::MAX, 2 * MIB, "state.cache-bytes", scaled(fixed.cache), 1),
            part(LAYERS, LAYERS_MAX, 2 * MIB, "state.spill-bytes", scaled(fixed.spill), 2),
            part(EPOCHS, EPOCHS_MAX, 6 * MIB, "", None, 1),
            part(BYTE_STORE, u64::MAX, MIB, "state.rocksdb.cache-bytes", fixed.byte_store, 1),
            part(
                FETCH,
                FETCH_MAX,
                4 * MIB,
                "queued.max.messages.kbytes",
                scaled(fixed.fetch_queue),
                4,
            ),
            part(
                PRODUCE,
                PRODUCE_MAX,
                4 * MIB,
                "queue.buffering.max.kbytes",
                scaled(fixed.produce_queue),
                4,
            ),
            part(RESTORE, RESTORE_MAX, 4 * MIB, "", None, 1),
        ];
        let reserve = limit * RESERVE / 100;
        let [cache, layers, epochs, byte_store, fetch, produce, restore] =
            share_out(limit, limit - reserve, &mut parts)?;
        let each = |bytes: u64| bytes / threads;
        Ok(Self {
            limit,
            threads,
            cache: each(cache),
            layers: each(layers),
            epochs: each(epochs),
            byte_store,
            fetch: each(fetch),
            produce: each(produce),
            restore: each(restore),
            reserve,
        })
    }

    /// What starts a spill.
    pub fn spill_bytes(&self) -> u64 {
        self.layers / 2
    }

    /// The weight at which an epoch is sealed early.
    pub fn epoch_bytes(&self) -> u64 {
        self.epochs / EPOCH_COPIES
    }

    /// The part of the byte stores' memory that write buffers may take. Spills write tables past
    /// them, so that they hold small writes only.
    pub fn write_buffer_bytes(&self) -> u64 {
        (self.byte_store / 4).clamp(256 * 1024, 32 * MIB)
    }

    /// The client's queues.
    pub fn client(&self) -> ClientMemory {
        ClientMemory {
            limit: self.limit,
            fetch: QueueLimit::of(self.fetch / 4),
            produce: QueueLimit::of(self.produce / 2),
            restore: QueueLimit::of(self.restore_queue()),
        }
    }

    /// What fills while a batch is taken in needs no more to keep the reader busy.
    fn restore_queue(&self) -> u64 {
        (self.restore / 8).min(RESTORE_QUEUE_MAX)
    }

    /// Changes that restores of a thread may hold.
    pub fn restore_bytes(&self) -> u64 {
        // The queue, as much again with the thread, and in requests on their way.
        self.restore - 3 * self.restore_queue()
    }

    /// The parts of one thread, by name.
    pub fn thread_parts(&self) -> [(&'static str, u64); 6] {
        [
            ("cache", self.cache),
            ("layers", self.layers),
            ("epochs", self.epochs),
            ("fetch", self.fetch),
            ("produce", self.produce),
            ("restore", self.restore),
        ]
    }

    /// The parts of the process beside those of its threads, by name.
    pub fn shared_parts(&self) -> [(&'static str, u64); 2] {
        [("byte-store", self.byte_store), ("reserve", self.reserve)]
    }

    /// Every part, by name, of the process.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        let [cache, layers, epochs, fetch, produce, restore] =
            self.thread_parts().map(|(part, bytes)| (part, bytes * self.threads));
        let [byte_store, reserve] = self.shared_parts();
        [cache, layers, epochs, byte_store, fetch, produce, restore, reserve]
    }
}

/// Gives every part its bytes: fixed ones first, the rest by weight, capped; what is left over
/// goes to the first part that is not fixed.
fn share_out<const N: usize>(
    limit: u64,
    usable: u64,
    parts: &mut [Part; N],
) -> Result<[u64; N], MemoryError> {
    let taken = parts.iter().filter_map(|part| part.fixed).map(|(_, bytes)| bytes);
    let taken = taken.fold(0, u64::saturating_add);
    let free = || parts.iter().filter(|part| part.fixed.is_none());
    let least: u64 = free().map(|part| part.least).sum();
    if taken.saturating_add(least) > usable {
        let names: Vec<String> = parts
            .iter()
            .filter_map(|part| part.fixed)
            .map(|(name, bytes)| format!("{name} makes {}", Size(bytes)))
            .collect();
        if names.is_empty() {
            let least = (least.saturating_mul(100)).div_ceil(100 - RESERVE);
            return Err(MemoryError::TooSmall { limit, least });
        }
        let left = usable.saturating_sub(taken);
        let (fixed, reserve) = (names.join(", "), limit - usable);
        return Err(MemoryError::Over { limit, fixed, reserve, left, least });
    }
    // Every free part has its least; the rest goes by weight.
    let weights: u64 = free().map(|part| part.weight).sum::<u64>().max(1);
    let rest = usable - taken - least;
    let mut shares = [0; N];
    for (share, part) in shares.iter_mut().zip(parts.iter()) {
        *share = match part.fixed {
            Some((_, bytes)) => bytes,
            None => (part.least + scale(rest, part.weight, weights)).min(part.most),
        };
    }
    let over = usable - shares.iter().sum::<u64>();
    let first = shares
        .iter_mut()
        .zip(parts.iter())
        .find(|(_, part)| part.fixed.is_none() && part.most == u64::MAX);
    if let Some((share, _)) = first {
        *share += over;
    }
    Ok(shares)
}

fn scale(bytes: u64, weight: u64, weights: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(weight) / u128::from(weights)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
