//! Partitions that cannot be read. Nothing is ever skipped: a position that does not exist any more
//! stops the thread, unless another owner has moved on and deleted what it consumed. Then this one
//! is a zombie, and the group will say so.

use std::time::Duration;

use crate::{
    record::{Offset, TopicPartition},
    runtime::{
        CommittedOffset, Log, Now, OffsetsUnavailable, Request,
        restore::RestoreService,
        stream_thread::{
            slot::Question,
            thread::{Failure, StreamThread},
        },
    },
};

/// How long to wait before the group is asked again where it stands.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// A position does not exist: the group is asked whose fault it is.
    pub(super) fn out_of_range(&mut self, partition: TopicPartition) {
        self.out_of_range.entry(partition).or_insert(self.now_mono);
    }

    /// Asks where the group stands on partitions whose position is out of range.
    pub(super) fn look_out_of_range(&mut self, now: Now) {
        let due: Vec<TopicPartition> = self
            .out_of_range
            .iter()
            .filter(|(_, at)| now.mono >= **at)
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in due {
            if self.committed_position(&partition).is_none() {
                self.out_of_range.remove(&partition);
                continue;
            }
            self.out_of_range.insert(partition.clone(), now.mono + ASK_AGAIN);
            let id = self.ask(Question::OutOfRange(partition.clone()));
            self.log.submit(Request::CommittedOffsets { id, partitions: vec![partition] });
        }
    }

    /// The group's word: nobody has passed the position, then its records are gone; else, or while
    /// there is none, it is asked again until the partition is taken away.
    pub(super) fn out_of_range_answered(
        &mut self,
        partition: &TopicPartition,
        result: Result<Vec<CommittedOffset>, OffsetsUnavailable>,
    ) {
        let (Some(ours), Ok(offsets)) = (self.committed_position(partition), result) else {
            return;
        };
        // It may have been given away, and back, since it was asked.
        if !self.out_of_range.contains_key(partition) {
            return;
        }
        let theirs = offsets.into_iter().find(|o| o.partition == *partition).and_then(|o| o.offset);
        match theirs {
            Some(theirs) if theirs > ours => {
                tracing::warn!(%partition, %ours, %theirs, "another owner has moved on");
            }
            _ => self.fail(Failure::Topics(format!(
                "position of {partition} is out of range: records that were not processed are \
                 gone, or the topic was created again; nothing is skipped, `tidemill reset` \
                 starts over"
            ))),
        }
    }

    /// The committed position of an input of an open task.
    fn committed_position(&self, partition: &TopicPartition) -> Option<Offset> {
        let mut inputs = self.open_tasks().flat_map(|task| &task.inputs);
        inputs.find(|input| input.partition == *partition).map(|input| input.committed)
    }
}
