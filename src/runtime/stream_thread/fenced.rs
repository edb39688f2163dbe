//! The instance id was given to another membership: what was owned is lost, and the thread joins
//! anew unless another live process has the id (the decision is `namesake`'s).

use std::time::Duration;

use crate::{
    record::TopicPartition,
    runtime::{
        FatalCause, Log, Namesake, Now, Request, RequestId,
        epoch::recovery::{Failed, Recovery, recover},
        namesake::{NamesakeDecision, decide},
        restore::RestoreService,
        stream_thread::{
            slot::{Life, Question},
            thread::{Failure, StreamThread},
        },
    },
};

/// How long to wait before the group is asked again who holds the id.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A session's end is noticed, and a heartbeat under way has come in.
const SESSION_MARGIN: Duration = Duration::from_secs(2);

/// Memberships lost in a row before a fenced thread ends, whoever holds the id.
const LOSSES_MAX: u32 = 12;

/// A fenced membership.
#[derive(Debug)]
pub(super) struct Fenced {
    reason: String,
    look_at: Option<Duration>,
    /// Who holds the id, and since when that is known.
    watched: Option<(String, Duration)>,
    /// It joins anew as soon as everything is given back and its pause is over.
    may_rejoin: bool,
}

impl<L: Log, R: RestoreService> StreamThread<L, R> {
    /// The group refuses this membership for good.
    pub(super) fn instance_fenced(&mut self, cause: &FatalCause, reason: &str) {
        debug_assert_eq!(recover(&Failed::Connection(cause)), Recovery::RenewMembership);
        self.counters.fenced += 1;
        tracing::warn!(thread = self.settings.thread, reason, "membership fenced");
        let owned: Vec<TopicPartition> = self.owned.iter().cloned().collect();
        self.lost(owned);
        if self.life == Life::Running && self.fenced.is_none() {
            self.fenced = Some(Fenced {
                reason: reason.to_owned(),
                look_at: Some(self.now_mono),
                watched: None,
                may_rejoin: false,
            });
        }
    }

    /// Asks who holds the id, where it is time to.
    pub(super) fn look_for_namesake(&mut self, now: Now) {
        let Some(fenced) = &mut self.fenced else { return };
        if fenced.look_at.is_some_and(|at| now.mono >= at) {
            fenced.look_at = None;
            let id = self.ask(Question::Namesake);
            self.log.submit(Request::FindNamesake { id });
        }
    }

    pub(super) fn namesake_answered(
        &mut self,
        id: RequestId,
        result: Result<Option<Namesake>, String>,
        now: Now,
    ) {
        if self.questions.remove(&id).is_none() {
            return;
        }
        let session = self.settings.session_timeout + SESSION_MARGIN;
        let losses = self.rejoining.losses();
        let Some(fenced) = &mut self.fenced else { return };
        let namesake = match result {
            Ok(namesake) => namesake,
            Err(reason) => {
                tracing::debug!(reason, "who holds the instance id is not known yet");
                fenced.look_at = Some(now.mono + LOOK_AGAIN);
                return;
            }
        };
        let held = |(member, since): &(String, Duration)| {
            (member.clone(), now.mono.saturating_sub(*since))
        };
        let watched = fenced.watched.as_ref().map(held);
        let watched = watched.as_ref().map(|(member, held)| (member.as_str(), *held));
        let decision = decide(namesake.as_ref(), watched, session);
        tracing::info!(?namesake, ?decision, losses, "fenced: who holds the instance id");
        match decision {
            NamesakeDecision::Rejoin if losses <= LOSSES_MAX => fenced.may_rejoin = true,
            NamesakeDecision::Watch => {
                fenced.look_at = Some(now.mono + LOOK_AGAIN);
                let holder = namesake.map(|n| n.member_id).unwrap_or_default();
                if fenced.watched.as_ref().is_none_or(|(member, _)| *member != holder) {
                    fenced.watched = Some((holder, now.mono));
                }
            }
            NamesakeDecision::Rejoin | NamesakeDecision::Twin => {
                let reason = fenced.reason.clone();
                self.fenced = None;
                self.is_twin(&reason);
            }
        }
    }

    /// Joins anew, once nothing is owned or in flight any more.
    pub(super) fn renew(&mut self, now: Now) {
        let ready = self.fenced.as_ref().is_some_and(|fenced| fenced.may_rejoin)
            && !self.is_giving_back()
            && self.owned.is_empty()
            && self.machine.is_idle()
            && now.mono >= self.rejoining.not_before();
        if ready && self.life == Life::Running && self.failure.is_none() {
            self.fenced = None;
            self.counters.memberships_renewed += 1;
            tracing::warn!(thread = self.settings.thread, "joining anew");
            self.rejoining.renewed();
            self.log.submit(Request::Renew);
            self.machine.end_drain();
        }
    }

    fn is_twin(&mut self, reason: &str) {
        debug_assert_eq!(recover(&Failed::Twin), Recovery::StopProcess);
        self.fail(Failure::Twin(format!(
            "another process has joined with the instance id {}.{}: {reason}; instance ids must \
             be unique within an application",
            self.plan.instance, self.settings.thread
        )));
    }
}
