//! Questions that are answered slowly, on threads of their own: offsets and bounds on one (a
//! takeover waits for them), all else on another.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{native::Wake, settings::ConnectionSettings, wire::WireClient};
use crate::runtime::{Event, OffsetsUnavailable, Request};

/// An answer, without the type of a batch: it crosses a thread.
type Answer = Event<std::convert::Infallible>;

/// The question threads of one log. They end when it is dropped.
pub(super) struct Questions {
    connection: ConnectionSettings,
    wake: Arc<Wake>,
    answers: (Sender<Answer>, Receiver<Answer>),
    offsets: Option<Sender<Request>>,
    others: Option<Sender<Request>>,
}

impl Questions {
    /// Starts nothing: threads come with the first question.
    pub(super) fn new(connection: &ConnectionSettings, wake: &Arc<Wake>) -> Self {
        Self {
            connection: connection.clone(),
            wake: wake.clone(),
            answers: channel(),
            offsets: None,
            others: None,
        }
    }

    /// Passes a question on.
    pub(super) fn ask(&mut self, question: Request) {
        let is_offsets = matches!(
            question,
            Request::CommittedOffsets { .. }
                | Request::Bounds { .. }
                | Request::CommitOffsets { .. }
        );
        let existing = if is_offsets { &self.offsets } else { &self.others };
        let refused = match existing {
            Some(thread) => thread.send(question).err().map(|error| error.0),
            None => Some(question),
        };
        let Some(question) = refused else { return };
        // None yet, or it has ended.
        let name = if is_offsets { "offsets" } else { "questions" };
        match self.spawn(name) {
            Ok(thread) => {
                let _accepted = thread.send(question);
                *(if is_offsets { &mut self.offsets } else { &mut self.others }) = Some(thread);
            }
            Err(error) => {
                // Answered all the same: the asker tries again.
                let failed = failure(&question, &format!("no thread: {error}"));
                if let Some(answer) = failed {
                    let _queued = self.answers.0.send(answer);
                }
            }
        }
    }

    /// Appends the answers that have arrived.
    pub(super) fn take_answers<B>(&mut self, events: &mut VecDeque<Event<B>>) {
        while let Ok(answer) = self.answers.1.try_recv() {
            events.extend(rebatched(answer));
        }
    }

    fn spawn(&self, name: &str) -> std::io::Result<Sender<Request>> {
        let (sender, questions) = channel::<Request>();
        let (connection, wake, answers) =
            (self.connection.clone(), self.wake.clone(), self.answers.0.clone());
        thread::Builder::new().name(format!("{name}-{}", connection.thread)).spawn(move || {
            let mut client = WireClient::new(&connection);
            while let Ok(question) = questions.recv() {
                if let Some(event) = answer(&mut client, &connection, question) {
                    if answers.send(event).is_err() {
                        return;
                    }
                    wake.notify();
                }
            }
        })?;
        Ok(sender)
    }
}

fn answer(
    client: &mut WireClient,
    connection: &ConnectionSettings,
    question: Request,
) -> Option<Answer> {
    let group = connection.application.as_str();
    let words = |error: super::wire::WireError| error.to_string();
    Some(match question {
        Request::CommittedOffsets { id, partitions } => {
            let result = client.committed_offsets(group, &partitions);
            Event::CommittedOffsets { id, result }
        }
        Request::Bounds { id, partitions } => {
            let result = client
                .bounds(&partitions)
                .map_err(|error| OffsetsUnavailable::Retriable(error.to_string()));
            Event::Bounds { id, result }
        }
        Request::CommitOffsets { id, offsets, group: member } => {
            let instance = connection.group_instance_id();
            let result = client.commit_offsets(group, &instance, &member, &offsets).map_err(words);
            Event::OffsetsCommitted { id, result }
        }
        Request::FindBlockers { id, partition } => {
            Event::Blockers { id, result: client.find_blockers(group, &partition).map_err(words) }
        }
        Request::Fence { id, transactional_id, producer_id, producer_epoch } => {
            let timeout = connection.transaction_timeout();
            let result = client
                .fence(&transactional_id, producer_id, producer_epoch, timeout)
                .map_err(words);
            Event::Fenced { id, result }
        }
        Request::Describe { id, topics } => {
            Event::Described { id, result: client.describe_topics(&topics).map_err(words) }
        }
        Request::DescribeGroup { id } => {
            Event::GroupDescribed { id, result: client.members(group).map_err(words) }
        }
        Request::Rejoin => {
            if let Err(error) = client.force_rebalance(group) {
                tracing::warn!(%error, "could not make the group rebalance");
            }
            return None;
        }
        Request::Purge { partition, before } => {
            if let Err(error) = client.delete_records(&partition, before) {
                tracing::debug!(%partition, %error, "consumed records not deleted");
            }
            return None;
        }
        _ => return None,
    })
}

/// The answer where none can be had.
fn failure(question: &Request, reason: &str) -> Option<Answer> {
    let retriable = || OffsetsUnavailable::Retriable(reason.to_owned());
    Some(match question {
        Request::CommittedOffsets { id, .. } => {
            Event::CommittedOffsets { id: *id, result: Err(retriable()) }
        }
        Request::Bounds { id, .. } => Event::Bounds { id: *id, result: Err(retriable()) },
        Request::CommitOffsets { id, .. } => {
            Event::OffsetsCommitted { id: *id, result: Err(reason.to_owned()) }
        }
        Request::FindBlockers { id, .. } => {
            Event::Blockers { id: *id, result: Err(reason.to_owned()) }
        }
        Request::Fence { id, .. } => Event::Fenced { id: *id, result: Err(reason.to_owned()) },
        Request::Describe { id, .. } => {
            Event::Described { id: *id, result: Err(reason.to_owned()) }
        }
        Request::DescribeGroup { id } => {
            Event::GroupDescribed { id: *id, result: Err(reason.to_owned()) }
        }
        _ => return None,
    })
}

/// The same answer as an event of a log with batches of any type.
fn rebatched<B>(answer: Answer) -> Option<Event<B>> {
    Some(match answer {
        Event::CommittedOffsets { id, result } => Event::CommittedOffsets { id, result },
        Event::Bounds { id, result } => Event::Bounds { id, result },
        Event::OffsetsCommitted { id, result } => Event::OffsetsCommitted { id, result },
        Event::Blockers { id, result } => Event::Blockers { id, result },
        Event::Fenced { id, result } => Event::Fenced { id, result },
        Event::Described { id, result } => Event::Described { id, result },
        Event::GroupDescribed { id, result } => Event::GroupDescribed { id, result },
        _ => return None,
    })
}
