//! How long a thread that lost its membership waits before it joins again (pure).
//!
//! Each join makes the whole group rebalance. A thread that loses its membership again and again
//! (a machine that stalls, a network that cuts it off) must not keep all others from their work,
//! so its pause grows; one that held its membership for a while starts over.

use std::time::Duration;

/// A membership that was held for so long was a good one.
const CALM: Duration = Duration::from_secs(30);

/// The pause after the second loss in a row; doubled by each further one,
const PAUSE: Duration = Duration::from_secs(1);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// The memberships of one thread, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rejoining {
    held_since: Option<Duration>,
    /// The loss of the present membership is counted: it may be told twice, by the group and by
    /// the client.
    counted: bool,
    losses: u32,
    total: u64,
    not_before: Duration,
}

impl Rejoining {
    /// The group has assigned something (or nothing): this is a membership.
    pub(crate) fn joined(&mut self, now: Duration) {
        self.held_since.get_or_insert(now);
        self.counted = false;
    }

    /// A fresh client is about to join.
    pub(crate) fn renewed(&mut self) {
        self.counted = false;
    }

    /// The membership was lost.
    pub(crate) fn lost(&mut self, now: Duration) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        if self.held_since.take().is_some_and(|since| now >= since + CALM) {
            self.losses = 0;
        }
        self.losses = self.losses.saturating_add(1);
        self.total += 1;
        self.not_before = self.not_before.max(now + self.pause());
    }

    /// Losses in a row, this one included.
    pub(crate) fn losses(&self) -> u32 {
        self.losses
    }

    /// All losses.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// When it may join again.
    pub(crate) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// The pause that belongs to the last loss.
    pub(crate) fn pause(&self) -> Duration {
        match self.losses.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => PAUSE.saturating_mul(1 << doublings.min(16)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_pause_grows_with_losses_in_a_row_and_a_held_membership_ends_the_row() {
        let mut rejoining = Rejoining::default();
        let mut now = 10 * S;
        let mut pauses = vec![];
        for _ in 0..8 {
            rejoining.joined(now);
            now += S;
            rejoining.lost(now);
            pauses.push(rejoining.not_before().saturating_sub(now).as_secs());
            now = now.max(rejoining.not_before());
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 32]);
        rejoining.joined(now);
        // A later assignment does not make a held membership young.
        rejoining.joined(now + 29 * S);
        rejoining.lost(now + 30 * S);
        assert_eq!((rejoining.losses(), rejoining.pause()), (1, Duration::ZERO));
    }

    #[test]
    fn a_loss_that_is_told_twice_counts_once_and_a_failed_join_counts_too() {
        let mut rejoining = Rejoining::default();
        rejoining.joined(S);
        rejoining.lost(2 * S);
        rejoining.lost(3 * S);
        assert_eq!(rejoining.losses(), 1);
        // Fenced again before anything was assigned; long ago is not calm.
        for losses in 2..=3 {
            rejoining.renewed();
            rejoining.lost(1_000 * S * losses);
            assert_eq!(rejoining.losses(), losses);
        }
    }
}
