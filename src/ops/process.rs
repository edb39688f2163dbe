//! What `/proc` says of this process. Elsewhere than on Linux it says nothing.

use std::fs;

/// Clock ticks per second in `/proc/self/stat`: `USER_HZ`, part of Linux's ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessUsage {
    /// User and system CPU time.
    pub(super) cpu_seconds: f64,
    /// Resident memory.
    pub(super) resident_bytes: u64,
    /// Open file descriptors.
    pub(super) open_files: u64,
    /// Operating system threads.
    pub(super) threads: u64,
}

impl ProcessUsage {
    /// Reads it; `None` where there is no `/proc`.
    pub(super) fn read() -> Option<Self> {
        let (cpu_seconds, threads) = parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self {
            cpu_seconds,
            resident_bytes: parse_resident(&fs::read_to_string("/proc/self/status").ok()?)?,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            threads,
        })
    }
}

/// CPU seconds and threads. The fields follow the command's name, which may hold anything, also
/// spaces and brackets: so they are counted from its last bracket.
fn parse_stat(stat: &str) -> Option<(f64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let cpu = (f64::from(number(11)?) + f64::from(number(12)?)) / TICKS_PER_SECOND;
    Some((cpu, number(17)?.into()))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 150 0 0 20 0 9 0 100 1 2";
        assert_eq!(parse_stat(stat), Some((4.0, 9)));
        assert_eq!(parse_stat("damaged"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12_288));
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory_and_files() {
        let usage = ProcessUsage::read().unwrap();
        assert!(usage.resident_bytes > 1 << 20 && usage.open_files > 2 && usage.threads > 0);
    }
}
