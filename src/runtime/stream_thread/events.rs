//! What the log tells the thread, and where each of it goes.

use crate::{
    record::TopicPartition,
    runtime::{
        Event, FatalCause, Lane, Log, Now, ReadFailure, TransactionFailure,
        epoch::recovery::{Failed, Recovery, recover},
        restore::RestoreService,
        stream_thread::{
            slot::{Life, Pending},
            thread::{Failure, StreamThread},
        },
    },
};

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    pub(super) fn handle(&mut self, event: Event<L::Batch>, now: Now) {
        match event {
            Event::Records(batch) => {
                self.note_delivered(&batch);
                self.pending.push_back(Pending { batch, next: 0 });
            }
            Event::Assigned { partitions } => self.assigned(partitions, now),
            Event::Revoking { partitions } => self.revoking(partitions),
            Event::Lost { partitions } => self.lost(partitions),
            Event::Left => self.life = Life::Ended,
            Event::CommittedOffsets { id, result } => self.offsets_answered(id, result, now),
            Event::Bounds { id, result } => self.bounds_answered(id, result, now),
            Event::Opened { lane, result } => {
                if let Err(failure) = &result {
                    tracing::warn!(%lane, %failure, "producer not opened");
                }
                self.machine.handle_opened(lane, result, now.mono);
            }
            Event::Flushed { lane, result } => self.flushed(lane, result, now),
            Event::OffsetsSent { lane, result } => {
                self.note_refusal(lane, &result);
                self.clock(lane, now, |sample, seconds| sample.offsets = seconds);
                self.machine.handle_offsets_sent(lane, result, now.mono);
            }
            Event::Committed { lane, result } => {
                self.note_refusal(lane, &result);
                self.clock(lane, now, |sample, seconds| sample.commit = seconds);
                self.machine.handle_committed(lane, result);
            }
            Event::Aborted { lane, result } => {
                self.note_refusal(lane, &result);
                self.machine.handle_aborted(lane, result);
            }
            Event::OffsetsCommitted { id, result } => self.offsets_committed(id, result),
            Event::Blockers { id, result } => self.blockers_answered(id, result, now),
            Event::Fenced { id, result } => self.fenced(id, result, now),
            Event::Described { id, result } => self.described(id, result),
            Event::GroupDescribed { id, result } => self.group_described(id, result),
            Event::Namesake { id, result } => self.namesake_answered(id, result, now),
            Event::ReadFailed { partition, cause } => self.read_failed(partition, &cause),
            Event::Fatal(cause) => self.fatal(&cause),
        }
    }

    fn read_failed(&mut self, partition: TopicPartition, cause: &ReadFailure) {
        if recover(&Failed::Read(cause)) == Recovery::RetryCall {
            return tracing::warn!(%partition, ?cause, "read failed, the log tries on");
        }
        match cause {
            ReadFailure::OutOfRange => self.out_of_range(partition),
            ReadFailure::UnknownPartition => self.fail(Failure::Topics(format!(
                "{partition} does not exist any more: the topic was deleted"
            ))),
            ReadFailure::Other(reason) => {
                self.fail(Failure::Kafka(format!("{partition} cannot be read: {reason}")));
            }
        }
    }

    fn fatal(&mut self, cause: &FatalCause) {
        let failure = match cause {
            FatalCause::FencedInstanceId(detail) => return self.instance_fenced(cause, detail),
            FatalCause::Unauthorized(detail) => {
                Failure::Kafka(format!("the broker refuses this client: {detail}"))
            }
            FatalCause::Other(detail) => Failure::Kafka(format!("client failure: {detail}")),
        };
        // The membership is gone: whatever is in flight must not be committed (EOS-7).
        self.machine.handle_lost();
        self.fail(failure);
    }

    /// Counts the refusals of a zombie.
    fn note_refusal(&mut self, lane: Lane, result: &Result<(), TransactionFailure>) {
        let Err(failure) = result else { return };
        self.counters.fenced += u64::from(failure.is_fencing());
        tracing::warn!(%lane, %failure, epoch = self.epochs.front().map(|e| e.number),
            "transaction step refused");
    }
}
