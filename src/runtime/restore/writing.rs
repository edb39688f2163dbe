//! What restores write down, when, and within which bound (MEM-1).

use crate::runtime::{
    Now, RestoreLog,
    restore::{Restorer, active::Active},
};

impl<R: RestoreLog> Restorer<R> {
    /// Writes that are done; those that were the last of their restore end it.
    pub(super) fn end_writes(&mut self) {
        let (mut done, mut failed) = (vec![], vec![]);
        for (partition, active) in &mut self.active {
            match active.poll_write() {
                Ok(true) if active.finishing => done.push(partition.clone()),
                Ok(_) => {}
                Err(error) => failed.push((partition.clone(), error)),
            }
        }
        for (partition, error) in failed {
            self.give_up(&partition, error.into());
        }
        for partition in done {
            self.done(&partition);
        }
    }

    /// Keeps what is held within its bound: the largest chunk goes first, so that tables are as
    /// large as they can be. Half of the bound is for chunks that fill, half for those on their
    /// way; where the way is taken, the reader waits.
    pub(super) fn write_down(&mut self, now: Now) {
        loop {
            let chunks: usize = self.active.values().map(Active::chunk_bytes).sum();
            if chunks <= self.held_max() / 2 {
                return;
            }
            let largest = self.active.iter_mut().max_by_key(|(_, active)| active.chunk_bytes());
            let Some((partition, active)) = largest.filter(|(_, a)| a.chunk_bytes() > 0) else {
                return;
            };
            if let Err(error) = active.write(false, now) {
                let partition = partition.clone();
                self.give_up(&partition, error.into());
            }
            self.wait_for_writes();
        }
    }

    /// Until what is on its way is within its half.
    fn wait_for_writes(&mut self) {
        let on_the_way = |active: &Active| active.held_bytes() - active.chunk_bytes();
        let mut sum: usize = self.active.values().map(on_the_way).sum();
        let (mut failed, most) = (vec![], self.held_max() / 2);
        for (partition, active) in &mut self.active {
            let bytes = on_the_way(active);
            if sum <= most || bytes == 0 {
                continue;
            }
            if let Err(error) = active.end_write() {
                failed.push((partition.clone(), error));
            }
            sum -= bytes;
        }
        for (partition, error) in failed {
            self.give_up(&partition, error.into());
        }
    }
}
