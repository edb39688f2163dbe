//! A lane seen from its stream thread: requests in order, one transaction call at a time.
//!
//! The stream thread produces, drains delivery reports and begins transactions (all local); the
//! lane's transaction thread does what blocks. A call that exceeds its time is given up: thread
//! and producer are abandoned, and the answer is that the outcome is unknown (EOS-4).
//!
//! A producer whose connection was disturbed inside a transaction must not begin another one: the
//! broker may still receive a delayed EndTxn (facts 3.1, trap 9). It is replaced before the next
//! `Begin`; `produce` says [`QueueFull`] until the new one is ready.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use super::{
    deliveries::Deliveries,
    failure,
    lane_step::{InFlight, Kind, Step},
    native::{GroupIdentity, PartitionList, Producer, Wake, code_name},
    settings::ConnectionSettings,
    transaction_thread::{Answer, Command, Outcome, TransactionThread, dispose},
    writer::Writer,
};
use crate::{
    record::{OutputRecord, TopicPartition},
    runtime::{
        Delivery, Event, GroupMetadata, Lane, OffsetCommit, TransactionFailure, log::QueueFull,
    },
};

/// The producer of a lane and its transaction.
pub(super) struct LaneProducer {
    lane: Lane,
    connection: ConnectionSettings,
    wake: Arc<Wake>,
    answers: Sender<Answer>,
    /// The lane's current thread and its number; older ones are abandoned.
    thread: Option<Sender<Command>>,
    incarnation: u64,
    producer: Option<Arc<Producer>>,
    writer: Writer,
    deliveries: Deliveries,
    steps: VecDeque<Step>,
    in_flight: Option<InFlight>,
    /// A transaction is open, as far as this side knows.
    begun: bool,
    /// The lane is useless until it is opened (again): every outcome says why.
    failed: Option<TransactionFailure>,
    /// Ended its last transaction well, but must not begin another one.
    disturbed: bool,
}

/// A grace for answers that are on their way when a deadline passes.
const GRACE: Duration = Duration::from_secs(1);

impl LaneProducer {
    /// A lane that is not open.
    pub(super) fn new(
        lane: Lane,
        connection: ConnectionSettings,
        wake: Arc<Wake>,
        answers: Sender<Answer>,
    ) -> Self {
        Self {
            lane,
            connection,
            wake,
            answers,
            thread: None,
            incarnation: 0,
            producer: None,
            writer: Writer::default(),
            deliveries: Deliveries::default(),
            steps: VecDeque::new(),
            in_flight: None,
            begun: false,
            failed: Some(TransactionFailure::Unknown("the producer is not open".to_owned())),
            disturbed: false,
        }
    }

    pub(super) fn open(&mut self) {
        self.steps.push_back(Step::Open);
    }

    pub(super) fn begin(&mut self) {
        self.steps.push_back(Step::Begin);
    }

    pub(super) fn flush(&mut self) {
        self.steps.push_back(Step::Flush);
    }

    pub(super) fn send_offsets(&mut self, offsets: Vec<OffsetCommit>, group: GroupMetadata) {
        self.steps.push_back(Step::SendOffsets { offsets, group });
    }

    pub(super) fn commit(&mut self) {
        self.steps.push_back(Step::Commit);
    }

    pub(super) fn abort(&mut self) {
        self.steps.push_back(Step::Abort);
    }

    /// Queues a record on the open transaction. Without a usable producer the record is dropped,
    /// and the next outcome says why.
    pub(super) fn produce(&mut self, record: &OutputRecord<'_>, tag: u64) -> Result<(), QueueFull> {
        if self.steps.iter().any(|step| matches!(step, Step::Begin)) {
            return Err(QueueFull);
        }
        match &self.producer {
            Some(producer) if self.begun && self.failed.is_none() => {
                self.writer.produce(producer, record, tag, &mut self.deliveries)
            }
            _ => {
                if self.failed.is_none() {
                    let reason = "a record outside of a transaction".to_owned();
                    self.failed = Some(TransactionFailure::Unknown(reason));
                }
                Ok(())
            }
        }
    }

    /// Records with the client that are not reported.
    pub(super) fn queued(&self) -> u64 {
        self.producer.as_ref().map_or(0, |producer| producer.queued())
    }

    /// Takes delivery reports, hands gathered records over, and starts what may start.
    pub(super) fn work<B>(&mut self, now: Duration, events: &mut VecDeque<Event<B>>) {
        if let Some(producer) = &self.producer {
            let (deliveries, writer) = (&mut self.deliveries, &self.writer);
            producer.drain(|report| deliveries.add(report, |topic| writer.topic_name(topic)));
            for (error, reason) in producer.errors() {
                let error = code_name(error);
                tracing::debug!(lane = %self.lane, %error, %reason, "producer error");
            }
            if self.begun {
                self.writer.hand_over_all(&mut self.deliveries);
            }
        }
        self.advance(now, events);
    }

    /// An answer of one of the lane's threads, perhaps an abandoned one.
    pub(super) fn answered<B>(
        &mut self,
        answer: Answer,
        now: Duration,
        events: &mut VecDeque<Event<B>>,
    ) {
        if answer.incarnation != self.incarnation {
            if let Outcome::Opened(Ok(producer)) = answer.outcome {
                dispose(producer);
            }
            return;
        }
        let kind = self.in_flight.take().map(|call| call.kind);
        let lane = self.lane;
        match answer.outcome {
            Outcome::Opened(result) => self.opened(kind, result, events),
            Outcome::Flushed(result) => {
                let result = result.map(|()| self.delivery());
                events.push_back(Event::Flushed { lane, result });
            }
            Outcome::OffsetsSent(result) => events.push_back(Event::OffsetsSent { lane, result }),
            Outcome::Committed(result) => {
                self.ended(result.is_ok());
                events.push_back(Event::Committed { lane, result });
            }
            Outcome::Aborted(result) => {
                self.ended(result.is_ok());
                events.push_back(Event::Aborted { lane, result });
            }
        }
        self.advance(now, events);
    }

    /// Gives up a call that has exceeded its time. Call it after the answers were taken.
    pub(super) fn watch<B>(&mut self, now: Duration, events: &mut VecDeque<Event<B>>) {
        let Some(call) = &mut self.in_flight else { return };
        if now < call.deadline {
            return;
        }
        if !call.overdue {
            // A stream thread that was away itself has drained nothing: give the call a moment.
            call.overdue = true;
            call.deadline = now + GRACE;
            return;
        }
        let kind = call.kind;
        let reason = format!(
            "watchdog: no answer to {} of lane {} within {:?}",
            kind.name(),
            self.lane,
            kind.time(&self.connection)
        );
        tracing::error!("{reason}; producer and thread are abandoned");
        self.abandon();
        let failure = TransactionFailure::Abandoned(reason);
        self.failed = Some(failure.clone());
        self.report(kind, failure, events);
        self.advance(now, events);
    }

    /// When `watch` has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.in_flight.as_ref().map(|call| call.deadline)
    }

    fn advance<B>(&mut self, now: Duration, events: &mut VecDeque<Event<B>>) {
        while self.in_flight.is_none() {
            let Some(step) = self.steps.pop_front() else { return };
            if let Some(step) = self.start(step, now, events) {
                self.steps.push_front(step);
                return;
            }
        }
    }

    /// Starts a step; gives it back where it has to wait.
    fn start<B>(
        &mut self,
        step: Step,
        now: Duration,
        events: &mut VecDeque<Event<B>>,
    ) -> Option<Step> {
        match step {
            Step::Open => {
                self.replace(Kind::Open, now, events);
                return None;
            }
            Step::Begin if self.failed.is_none() && self.connection.renews(self.disturbed) => {
                tracing::info!(lane = %self.lane, "connection was disturbed: replacing producer");
                self.replace(Kind::Replace, now, events);
                return Some(Step::Begin);
            }
            Step::Begin => {
                self.begin_now();
                return None;
            }
            _ => {}
        }
        let (Some(producer), None) = (self.producer.clone(), &self.failed) else {
            let failure = self.failure();
            self.begun = false;
            self.report(step.kind(), failure, events);
            return None;
        };
        let kind = step.kind();
        let command = match step {
            Step::Flush if !self.writer.hand_over_all(&mut self.deliveries) => return Some(step),
            Step::Flush => Command::Flush(producer),
            Step::Commit => Command::Commit(producer),
            Step::Abort => {
                self.writer.discard();
                Command::Abort(producer)
            }
            Step::SendOffsets { offsets, group } => match self.offsets(&offsets, &group) {
                Ok((offsets, group)) => Command::SendOffsets { producer, offsets, group },
                Err(failure) => {
                    self.report(kind, failure, events);
                    return None;
                }
            },
            Step::Open | Step::Begin => return None,
        };
        self.send(kind, command, now, events);
        None
    }

    fn begin_now(&mut self) {
        self.deliveries.clear();
        self.writer.discard();
        self.begun = true;
        if let (Some(producer), None) = (&self.producer, &self.failed) {
            producer.clear_disturbed();
            if let Err(error) = producer.begin() {
                self.failed = Some(failure::of_transaction(&error));
            }
        }
    }

    fn replace<B>(&mut self, kind: Kind, now: Duration, events: &mut VecDeque<Event<B>>) {
        self.begun = false;
        self.disturbed = false;
        self.writer.reset();
        let old = self.producer.take();
        self.send(kind, Command::Open { old }, now, events);
    }

    fn send<B>(
        &mut self,
        kind: Kind,
        command: Command,
        now: Duration,
        events: &mut VecDeque<Event<B>>,
    ) {
        let sent = self.thread().and_then(|thread| {
            thread.send(command).map_err(|_| "the transaction thread has ended".to_owned())
        });
        match sent {
            Ok(()) => {
                let deadline = now + kind.time(&self.connection);
                self.in_flight = Some(InFlight { kind, deadline, overdue: false });
            }
            Err(reason) => {
                self.abandon();
                let failure = TransactionFailure::Unknown(reason);
                self.failed = Some(failure.clone());
                self.report(kind, failure, events);
            }
        }
    }

    fn thread(&mut self) -> Result<&Sender<Command>, String> {
        if self.thread.is_none() {
            self.incarnation += 1;
            let thread = TransactionThread {
                connection: self.connection.clone(),
                lane: self.lane,
                incarnation: self.incarnation,
                answers: self.answers.clone(),
                wake: self.wake.clone(),
            };
            let sender = thread.spawn().map_err(|e| format!("no transaction thread: {e}"))?;
            self.thread = Some(sender);
        }
        self.thread.as_ref().ok_or_else(|| "no transaction thread".to_owned())
    }

    fn opened<B>(
        &mut self,
        kind: Option<Kind>,
        result: Result<Arc<Producer>, TransactionFailure>,
        events: &mut VecDeque<Event<B>>,
    ) {
        let result = result.map(|producer| {
            self.producer = Some(producer);
        });
        self.failed = result.clone().err();
        if kind == Some(Kind::Open) {
            events.push_back(Event::Opened { lane: self.lane, result });
        }
    }

    fn ended(&mut self, well: bool) {
        self.begun = false;
        let disturbed = self.producer.as_ref().is_some_and(|p| p.is_disturbed());
        self.disturbed |= well && disturbed;
    }

    fn delivery(&mut self) -> Delivery {
        if let Some(producer) = &self.producer {
            let (deliveries, writer) = (&mut self.deliveries, &self.writer);
            producer.drain(|report| deliveries.add(report, |topic| writer.topic_name(topic)));
        }
        let writer = &self.writer;
        self.deliveries.delivery(|topic| writer.topic_name(topic))
    }

    fn offsets(
        &self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
    ) -> Result<(PartitionList, GroupIdentity), TransactionFailure> {
        if offsets.is_empty() {
            // librdkafka would send nothing, and nothing would be fenced (EOS-3, trap 8).
            return Err(TransactionFailure::Membership("no offsets to send (EOS-3)".to_owned()));
        }
        let mut list = PartitionList::new(offsets.len());
        for commit in offsets {
            let TopicPartition { topic, partition } = &commit.partition;
            list.add(topic, *partition, Some(commit.offset), Some(&commit.metadata))
                .map_err(|error| TransactionFailure::Abortable(error.to_string()))?;
        }
        let identity = GroupIdentity {
            group: self.connection.application.clone(),
            generation: group.generation(),
            member: group.member_id().to_owned(),
            // A mutant has no membership at all.
            instance: (group.generation() >= 0).then(|| self.connection.group_instance_id()),
        };
        Ok((list, identity))
    }

    fn failure(&self) -> TransactionFailure {
        self.failed
            .clone()
            .unwrap_or_else(|| TransactionFailure::Unknown("the producer is not open".to_owned()))
    }

    /// Leaves a hanging thread and its producer to themselves. Destroying the producer here would
    /// wait for the call that hangs; should that ever return, the thread does it and ends.
    fn abandon(&mut self) {
        let thread = self.thread.take();
        self.in_flight = None;
        self.begun = false;
        self.writer.reset();
        if let Some(producer) = self.producer.take() {
            let sent = thread.map(|thread| thread.send(Command::Dispose(producer)));
            if let Some(Err(refused)) = sent {
                // The thread has ended: nothing hangs there any more.
                let Command::Dispose(producer) = refused.0 else { return };
                dispose(producer);
            }
        }
        // Answers of the abandoned thread are told by its number.
        self.incarnation += 1;
    }

    fn report<B>(
        &mut self,
        kind: Kind,
        failure: TransactionFailure,
        events: &mut VecDeque<Event<B>>,
    ) {
        let lane = self.lane;
        let failed = Err(failure.clone());
        events.push_back(match kind {
            Kind::Replace => return,
            Kind::Open => Event::Opened { lane, result: failed },
            Kind::Flush => Event::Flushed { lane, result: Err(failure) },
            Kind::SendOffsets => Event::OffsetsSent { lane, result: failed },
            Kind::Commit => Event::Committed { lane, result: failed },
            Kind::Abort => Event::Aborted { lane, result: failed },
        });
    }
}

impl Drop for LaneProducer {
    fn drop(&mut self) {
        self.writer.reset();
        if let Some(producer) = self.producer.take() {
            // Destroying a producer joins its threads: not on the stream thread.
            match &self.thread {
                Some(thread) if thread.send(Command::Dispose(producer.clone())).is_ok() => {
                    drop(producer);
                }
                _ => dispose(producer),
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
