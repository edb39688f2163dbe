//! The schedule of a paced load: when its records are due, and how far behind it is.

/// Records that are due `at_s` seconds after the start, of `records` in all.
pub(crate) fn due(at_s: f64, per_second: f64, records: u64) -> u64 {
    ((at_s * per_second) as u64).min(records)
}

/// Seconds after the start at which record `number` is due.
pub(crate) fn due_s(number: u64, per_second: f64) -> f64 {
    number as f64 / per_second
}

/// Seconds by which a load is behind, `at_s` seconds after its start, with so many records
/// acknowledged.
pub(crate) fn late_s(at_s: f64, per_second: f64, acknowledged: u64) -> f64 {
    (at_s - due_s(acknowledged, per_second)).max(0.0)
}
