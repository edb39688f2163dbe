//! One event file descriptor per log: whatever a stream thread may wait for writes to it.

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// Wakes the one thread that waits for it. Notifications before a wait are not lost.
pub(in crate::kafka) struct Wake {
    descriptor: OwnedFd,
}

/// What is written to the descriptor: an eventfd takes eight bytes, a number to add.
pub(super) const PAYLOAD: [u8; 8] = 1u64.to_ne_bytes();

impl Wake {
    /// A new descriptor; fails where the process has none left.
    pub(in crate::kafka) fn new() -> std::io::Result<Self> {
        // SAFETY: takes plain numbers.
        let raw = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if raw < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, owned by nobody else.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(raw) } })
    }

    /// Wakes the waiter, now or at its next wait.
    pub(in crate::kafka) fn notify(&self) {
        // SAFETY: the descriptor is open as long as `self`, the buffer has eight bytes. A full
        // counter (EAGAIN) means that the waiter is notified already.
        let _written = unsafe {
            libc::write(self.descriptor.as_raw_fd(), PAYLOAD.as_ptr().cast(), PAYLOAD.len())
        };
    }

    /// Waits for a notification, at most this long, and takes it.
    pub(in crate::kafka) fn wait(&self, timeout: Duration) {
        // Rounded up: a remainder below a millisecond must not become a busy loop.
        let millis = timeout.as_micros().div_ceil(1_000);
        let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
        let mut entry =
            libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry, and its number is 1.
        if unsafe { libc::poll(&raw mut entry, 1, millis) } > 0 {
            let mut count = [0u8; 8];
            // SAFETY: the descriptor is open, the buffer has eight bytes; non-blocking.
            let _read = unsafe {
                libc::read(self.descriptor.as_raw_fd(), count.as_mut_ptr().cast(), count.len())
            };
        }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}
