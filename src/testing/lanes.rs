//! The transactional producers of a client, as librdkafka runs them (facts 2.2).
//!
//! Requests of a lane run one after the other; records leave when a flush asks for them or when
//! they have lingered. Nothing here changes the broker's state.

use std::{rc::Rc, time::Duration};

use crate::{
    record::{Offset, TopicPartition},
    runtime::{Delivery, Lane, TransactionFailure},
    testing::{
        client::ClientId,
        client_lane::{LaneOp, Queued, RunningOp},
        cluster::{Cluster, Reply, Timer},
        codes::ErrorCode,
        faults::{Fate, FaultKind, LaneRequest, happens},
        requests::{Answer, BrokerRequest, MemberProof, ProduceRefusal},
    },
};

/// What the running request of a lane does next.
enum Next {
    Wait,
    Send(BrokerRequest),
    Finish(Result<Delivery, TransactionFailure>),
}

impl Cluster {
    /// Takes a request for a lane.
    pub(super) fn submit_lane(&mut self, id: ClientId, lane: Lane, op: LaneOp) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let keeps = !client.settings.replaces_disturbed;
        let state = client.lane_mut(lane);
        if matches!(op, LaneOp::Open) && !(keeps && state.take_up_again()) {
            state.replace_instance();
        }
        state.waiting.push_back(op);
        self.advance_lane(id, lane);
    }

    /// Takes a record; `false` where the queue is full.
    pub(super) fn enqueue(
        &mut self,
        id: ClientId,
        lane: Lane,
        partition: TopicPartition,
        record: Queued,
    ) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return true };
        let full = client.settings.queue_bytes_max;
        let state = client.lane_mut(lane);
        // A failed producer drops records; the next outcome says so.
        if state.failure.is_some() {
            return true;
        }
        if !state.takes_records() {
            let text = format!("{}: a record outside a transaction", state.transactional_id);
            state.failure.get_or_insert(TransactionFailure::Unknown("_STATE".to_owned()));
            self.violation(text);
            return true;
        }
        if state.queued_bytes + record.data.size() > full && state.queued_bytes > 0 {
            return false;
        }
        if happens(self.faults.chances().queue_full, &mut self.rng) {
            self.faults.count(FaultKind::QueueFull);
            return false;
        }
        state.enqueue(partition, record);
        if !state.linger_set {
            state.linger_set = true;
            let incarnation = state.incarnation;
            let after = self.settings.linger.sample(&mut self.rng);
            self.set_timer(id, after, Timer::Linger { lane, incarnation });
        }
        true
    }

    pub(super) fn handle_linger(&mut self, id: ClientId, lane: Lane, incarnation: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let state = client.lane_mut(lane);
        if state.incarnation == incarnation {
            state.linger_set = false;
            self.send_records(id, lane);
        }
    }

    /// Sends what is queued, one request per partition at a time.
    fn send_records(&mut self, id: ClientId, lane: Lane) {
        let Some(client) = self.clients.get(&id) else { return };
        let state = client.lane(lane);
        if state.failure.is_some() || !state.in_transaction {
            return;
        }
        let ready: Vec<TopicPartition> =
            state.queue.keys().filter(|p| !state.in_flight.contains_key(p)).cloned().collect();
        for partition in ready {
            self.send_batch(id, lane, partition);
        }
    }

    fn send_batch(&mut self, id: ClientId, lane: Lane, partition: TopicPartition) {
        let max = self.settings.produce_records_max.max(1);
        let max = if self.settings.shuffle { self.rng.usize(1..=max) } else { max };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let state = client.lane_mut(lane);
        let Some(producer) = state.producer else { return };
        let batch = state.take_batch(&partition, max);
        let request = BrokerRequest::Produce {
            id: state.transactional_id.clone(),
            producer,
            partition: partition.clone(),
            records: batch.iter().map(|record| record.data.clone()).collect(),
            registered: state.partitions.contains(&partition),
        };
        let late = state.running.as_ref().is_some_and(|r| r.fate == Some(Fate::Late));
        let flushing = state.running.as_ref().is_some_and(|r| matches!(r.op, LaneOp::Flush));
        let reply = Reply::Produce { lane, incarnation: state.incarnation, partition };
        let extra = if late && flushing { self.late_by() } else { Duration::ZERO };
        self.send_after(id, extra, reply, request);
    }

    pub(super) fn handle_produced(
        &mut self,
        id: ClientId,
        lane: Lane,
        incarnation: u64,
        partition: TopicPartition,
        result: Result<Offset, ProduceRefusal>,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let state = client.lane_mut(lane);
        if state.incarnation != incarnation {
            return;
        }
        let batch = state.settle(&partition);
        match result {
            Ok(last) => {
                state.registered = true;
                state.partitions.insert(partition.clone());
                state.acknowledge(partition, last);
            }
            Err(refusal) => state.records_refused(&partition, &batch, &refusal),
        }
        self.send_records(id, lane);
        self.advance_lane(id, lane);
    }

    /// Lets a lane do what it can.
    pub(super) fn advance_lane(&mut self, id: ClientId, lane: Lane) {
        loop {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let state = client.lane_mut(lane);
            if state.running.is_none() {
                let Some(op) = state.waiting.pop_front() else { return };
                let replace = state.disturbed && matches!(op, LaneOp::Begin);
                if replace && state.failure.is_none() && client.settings.replaces_disturbed {
                    let state = client.lane_mut(lane);
                    state.waiting.push_front(op);
                    self.start(id, lane, LaneOp::Replace);
                } else {
                    self.start(id, lane, op);
                }
                continue;
            }
            match self.next_of(id, lane) {
                Next::Wait => return,
                Next::Send(request) => {
                    self.send_lane_request(id, lane, request);
                    return;
                }
                Next::Finish(result) => {
                    if !self.finish(id, lane, result) {
                        return;
                    }
                }
            }
        }
    }

    fn start(&mut self, id: ClientId, lane: Lane, op: LaneOp) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let op_id = client.new_op();
        let instance = Rc::clone(&client.instance);
        let state = client.lane_mut(lane);
        let Some(request) = op.request() else {
            let text = state.begin();
            if let Some(text) = text {
                self.violation(text);
            }
            return;
        };
        let misuse = state.misuse(&op);
        if matches!(op, LaneOp::Abort) {
            state.purge();
        }
        // A request that is not sent has no answer to lose.
        let local = match request {
            // Nobody asked for a replacement, so nobody can miss its answer.
            LaneRequest::Open => matches!(op, LaneOp::Replace),
            LaneRequest::SendOffsets => false,
            LaneRequest::Flush => state.is_drained(),
            LaneRequest::Commit | LaneRequest::Abort => !state.registered && state.is_drained(),
        };
        let fate = if local || state.failure.is_some() || misuse.is_some() {
            None
        } else {
            self.faults.fate(&instance, lane, request, &mut self.rng)
        };
        if fate == Some(Fate::NotApplied) && request == LaneRequest::Flush {
            state.purge();
        }
        let running = RunningOp { id: op_id, op, fate, started: now, sent: false, withheld: false };
        state.running = Some(running);
        if matches!(fate, Some(Fate::NotApplied | Fate::Late)) {
            let patience = self.settings.request_timeout;
            self.set_timer(id, patience, Timer::GiveUp { lane, op: op_id });
        }
        if let Some(text) = misuse {
            self.violation(text);
        }
        if matches!(request, LaneRequest::Flush | LaneRequest::Commit) {
            self.send_records(id, lane);
        }
    }

    /// What the running request of a lane does next.
    fn next_of(&mut self, id: ClientId, lane: Lane) -> Next {
        let Some(client) = self.clients.get_mut(&id) else { return Next::Wait };
        let settings = client.settings.clone();
        let timeout = settings.transaction_timeout;
        let state = client.lane_mut(lane);
        if let Some(result) = state.early_result() {
            return Next::Finish(result);
        }
        let drained = state.is_drained();
        let (transactional_id, producer) = (state.transactional_id.clone(), state.producer);
        let registered = state.registered;
        let taken_up = state.taken_up_again;
        // Only what is drained is told of.
        let delivery = if drained { state.delivery() } else { Delivery::default() };
        let Some(running) = &mut state.running else { return Next::Wait };
        let lost = running.fate == Some(Fate::NotApplied);
        if running.sent || running.withheld {
            return Next::Wait;
        }
        let request = match &running.op {
            LaneOp::Begin => return Next::Finish(Ok(Delivery::default())),
            LaneOp::Open | LaneOp::Replace => match producer.filter(|_| taken_up) {
                Some(producer) => {
                    BrokerRequest::End { id: transactional_id, producer, commit: false }
                }
                None => BrokerRequest::Init { id: transactional_id, timeout },
            },
            LaneOp::Flush if drained && running.fate.is_none_or(|f| f == Fate::Applied) => {
                return Next::Finish(Ok(delivery));
            }
            LaneOp::Flush => return Next::Wait,
            LaneOp::Commit | LaneOp::Abort if !drained => return Next::Wait,
            LaneOp::Commit | LaneOp::Abort if !registered => return Next::Finish(Ok(delivery)),
            op => {
                let Some(producer) = producer else {
                    let reason = "_STATE: the producer was never opened".to_owned();
                    return Next::Finish(Err(TransactionFailure::Unknown(reason)));
                };
                match op {
                    LaneOp::SendOffsets { offsets, group } => BrokerRequest::CommitOffsets {
                        id: transactional_id,
                        producer,
                        proof: MemberProof::new(group, &settings),
                        offsets: offsets.clone(),
                    },
                    op => {
                        let commit = matches!(op, LaneOp::Commit);
                        BrokerRequest::End { id: transactional_id, producer, commit }
                    }
                }
            }
        };
        running.sent = true;
        if lost { Next::Wait } else { Next::Send(request) }
    }

    /// Ends the running request; `false` where its answer is withheld for now.
    fn finish(
        &mut self,
        id: ClientId,
        lane: Lane,
        result: Result<Delivery, TransactionFailure>,
    ) -> bool {
        let now = self.now();
        let patience = self.settings.request_timeout;
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let state = client.lane_mut(lane);
        let Some(running) = &mut state.running else { return false };
        if running.fate == Some(Fate::Applied) && result.is_ok() {
            running.withheld = true;
            let op = running.id;
            let after = (running.started + patience).saturating_sub(now);
            self.set_timer(id, after, Timer::GiveUp { lane, op });
            return false;
        }
        let Some(running) = state.running.take() else { return false };
        state.conclude(&running.op, &result);
        if let Some(event) = running.op.outcome(lane, result) {
            self.deliver(id, event);
        }
        true
    }

    pub(super) fn handle_lane_answer(&mut self, id: ClientId, lane: Lane, op: u64, answer: Answer) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let state = client.lane_mut(lane);
        if state.running.as_ref().is_none_or(|running| running.id != op) {
            return;
        }
        let result = match answer {
            Answer::Producer(Ok(producer)) => {
                state.producer = Some(producer);
                Ok(())
            }
            Answer::Producer(Err(code)) => Err(code),
            Answer::OffsetsAdded(result) => {
                state.registered |= result.is_ok() || result.is_err_and(ErrorCode::is_membership);
                result
            }
            // Of a producer that is taken up again nothing may be left to abort.
            Answer::Ended(Err(ErrorCode::InvalidTxnState)) if state.taken_up_again => Ok(()),
            Answer::Ended(result) => result,
            _ => return,
        };
        let result = result.map(|()| Delivery::default()).map_err(ErrorCode::transaction_failure);
        if self.finish(id, lane, result) {
            self.advance_lane(id, lane);
        }
    }
}
