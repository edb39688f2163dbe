//! The C library's allocator, told to keep less (MEM-1): librdkafka, RocksDB and Rust share it.
//!
//! By default glibc gives every few threads a heap of their own, and puts ever larger blocks into
//! them instead of mapping them: memory that one thread takes and another frees stays where it
//! was. What was lost that way was as much as all that is accounted for.

/// Bounds the heaps, and maps large blocks by themselves, so that they go back when they are freed.
/// For the whole process, which may take `limit` bytes, from now on; nothing happens where the
/// allocator is another.
pub(in crate::kafka) fn keep_less(limit: u64) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Heaps: a thread whose heap is taken waits for it a moment.
        const HEAPS: i32 = 2;
        // Blocks from this size on are mapped, which costs a fault per page: the more memory there
        // is, the fewer are. Setting it also keeps it from growing.
        let mapped = i32::try_from(limit / 512).unwrap_or(i32::MAX).clamp(128 << 10, 4 << 20);
        let settings = [
            (libc::M_ARENA_MAX, HEAPS),
            (libc::M_MMAP_THRESHOLD, mapped),
            // What a heap keeps at its end.
            (libc::M_TRIM_THRESHOLD, 4 * mapped),
        ];
        for (parameter, value) in settings {
            // SAFETY: takes two numbers and its own lock.
            if unsafe { libc::mallopt(parameter, value) } != 1 {
                tracing::debug!(parameter, value, "the allocator does not take this setting");
            }
        }
    }
}
