//! How a lane's requests go out: in time, late, twice, held back; and what its client does when no
//! answer comes.

use std::{rc::Rc, time::Duration};

use crate::{
    runtime::{Lane, TransactionFailure},
    testing::{
        client::ClientId,
        cluster::{Cluster, Reply, Timer},
        faults::{Fate, FaultKind, MovedOn},
        links::{Awaits, Channel},
        requests::BrokerRequest,
    },
};

impl Cluster {
    /// Sends the running request of a lane, or lets the fault happen that it meets.
    pub(super) fn send_lane_request(&mut self, id: ClientId, lane: Lane, request: BrokerRequest) {
        let Some(client) = self.clients.get(&id) else { return };
        let Some(running) = &client.lane(lane).running else { return };
        let (op, fate) = (running.id, running.fate);
        let instance = Rc::clone(&client.instance);
        let reply = Reply::Lane { lane, op };
        if fate.is_none()
            && let Some(kind) = request.to_coordinator()
            && let Some((awaits, moved_on)) = self.faults.take_hold(&instance, kind)
        {
            return self.hold_lane_request(id, lane, reply, request, (awaits, moved_on));
        }
        let extra = if fate == Some(Fate::Late) { self.late_by() } else { Duration::ZERO };
        if matches!(request, BrokerRequest::End { .. })
            && self.faults.take_duplicate(&instance, lane, &mut self.rng)
        {
            self.faults.count(FaultKind::DuplicatedEnd);
            let again = Duration::from_millis(self.rng.u64(20..=500));
            self.send_after(id, extra + again, Reply::Nobody, request.clone());
            if let Some(client) = self.clients.get_mut(&id) {
                client.lane_mut(lane).disturbed = true;
            }
        }
        self.send_after(id, extra, reply, request);
    }

    /// A lane's request is held back: its connection is broken. The client sends it again over a
    /// new one, or waits in vain.
    fn hold_lane_request(
        &mut self,
        id: ClientId,
        lane: Lane,
        reply: Reply,
        request: BrokerRequest,
        (awaits, moved_on): (Awaits, MovedOn),
    ) {
        self.hold_back(id, &reply, request.clone(), awaits, moved_on);
        self.break_link(id, Channel::Lane(lane));
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.lane_mut(lane).disturbed = true;
        if moved_on == MovedOn::SentAgain {
            let after = self.reconnect_delay();
            self.set_timer(id, after, Timer::Resend { reply, request });
        } else if let Reply::Lane { op, .. } = reply {
            self.set_timer(id, self.settings.request_timeout, Timer::GiveUp { lane, op });
        }
    }

    /// How much later than the client's patience a late request arrives.
    pub(super) fn late_by(&mut self) -> Duration {
        let patience = self.settings.request_timeout;
        let micros = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        patience + Duration::from_micros(self.rng.u64(0..=micros / 4))
    }

    /// The client's patience with a request is over: its outcome is unknown.
    pub(super) fn give_up(&mut self, id: ClientId, lane: Lane, op: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let state = client.lane_mut(lane);
        let Some(running) = state.running.take_if(|running| running.id == op) else { return };
        let reason = "_TIMED_OUT: no answer in time".to_owned();
        let failure = TransactionFailure::Unknown(reason);
        state.failure = Some(failure.clone());
        state.link = state.link.renewed();
        state.purge();
        if let (Some(fate), Some(request)) = (running.fate, running.op.request()) {
            self.faults.count(FaultKind::LostAnswer(request, fate));
        }
        if let Some(event) = running.op.outcome(lane, Err(failure)) {
            self.deliver(id, event);
        }
        self.advance_lane(id, lane);
    }

    /// Sends a request again that met `CONCURRENT_TRANSACTIONS`, unless its time is over.
    pub(super) fn resend(&mut self, id: ClientId, reply: Reply, request: BrokerRequest) {
        let now = self.now();
        let patience = self.settings.request_timeout * 3;
        if let Reply::Lane { lane, op } = &reply {
            let Some(client) = self.clients.get(&id) else { return };
            let Some(running) = &client.lane(*lane).running else { return };
            if running.id != *op {
                return;
            }
            if running.started + patience <= now {
                return self.give_up(id, *lane, *op);
            }
        }
        if let Reply::Produce { lane, incarnation, .. } = &reply {
            let Some(client) = self.clients.get(&id) else { return };
            if client.lane(*lane).incarnation != *incarnation {
                return;
            }
        }
        self.send(id, reply, request);
    }
}
