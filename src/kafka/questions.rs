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

use super::{
    clients::ClusterClients, failure::AskError, native::Wake, process_mark::ProcessMark,
    settings::ConnectionSettings, wire::WireClient,
};
use crate::{
    record::TopicPartition,
    runtime::{BlockerReport, Event, Namesake, OffsetsUnavailable, Request},
};

/// An answer, without the type of a batch: it crosses a thread.
type Answer = Event<std::convert::Infallible>;

/// The question threads of one log. They end when it is dropped.
pub(super) struct Questions {
    connection: ConnectionSettings,
    mark: ProcessMark,
    clients: ClusterClients,
    wake: Arc<Wake>,
    answers: (Sender<Answer>, Receiver<Answer>),
    offsets: Option<Sender<Request>>,
    others: Option<Sender<Request>>,
}

impl Questions {
    /// Starts nothing: threads come with the first question.
    pub(super) fn new(
        connection: &ConnectionSettings,
        mark: ProcessMark,
        wake: &Arc<Wake>,
        clients: &ClusterClients,
    ) -> Self {
        Self {
            connection: connection.clone(),
            mark,
            clients: clients.clone(),
            wake: wake.clone(),
            answers: channel(),
            offsets: None,
            others: None,
        }
    }

    /// Passes a question on.
    pub(super) fn ask(&mut self, question: Request) {
        let is_offsets =
            matches!(question, Request::CommittedOffsets { .. } | Request::Bounds { .. });
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
        let mut answerer = Answerer {
            wire: WireClient::new(&self.connection),
            connection: self.connection.clone(),
            mark: self.mark,
            clients: self.clients.clone(),
        };
        let (wake, answers) = (self.wake.clone(), self.answers.0.clone());
        let name = format!("{name}-{}", self.connection.thread);
        thread::Builder::new().name(name).spawn(move || {
            while let Ok(question) = questions.recv() {
                if let Some(event) = answerer.answer(question) {
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

/// What a question thread asks with.
struct Answerer {
    clients: ClusterClients,
    wire: WireClient,
    connection: ConnectionSettings,
    mark: ProcessMark,
}

impl Answerer {
    fn answer(&mut self, question: Request) -> Option<Answer> {
        let words = |error: AskError| error.to_string();
        Some(match question {
            Request::CommittedOffsets { id, partitions } => {
                let result = self.clients.group().committed_offsets(&partitions);
                Event::CommittedOffsets { id, result }
            }
            Request::Bounds { id, partitions } => {
                Event::Bounds { id, result: self.clients.group().bounds(&partitions) }
            }
            Request::FindBlockers { id, partition } => {
                Event::Blockers { id, result: self.blockers(partition) }
            }
            Request::Fence { id, transactional_id, producer_id, producer_epoch } => {
                let timeout = self.connection.transaction_timeout();
                let result = self
                    .wire
                    .fence(&transactional_id, producer_id, producer_epoch, timeout)
                    .map_err(|error| error.to_string());
                Event::Fenced { id, result }
            }
            Request::Describe { id, topics } => {
                let described = self.clients.cluster().and_then(|c| c.describe(&topics));
                Event::Described { id, result: described.map_err(words) }
            }
            Request::DescribeGroup { id } => {
                Event::GroupDescribed { id, result: self.clients.group().members().map_err(words) }
            }
            Request::FindNamesake { id } => {
                let found = self.clients.group().holder_of(&self.connection.group_instance_id());
                let namesake = |(member_id, client_id): (String, String)| Namesake {
                    member_id,
                    process: self.mark.standing_of(&client_id),
                };
                Event::Namesake { id, result: found.map(|f| f.map(namesake)).map_err(words) }
            }
            Request::Rejoin => {
                if let Err(error) = self.wire.force_rebalance(&self.connection.application) {
                    tracing::warn!(%error, "could not make the group rebalance");
                }
                return None;
            }
            Request::Purge { partition, before } => {
                let deleted =
                    self.clients.cluster().and_then(|c| c.delete_records(&partition, before));
                if let Err(error) = deleted {
                    tracing::debug!(%partition, %error, "consumed records not deleted");
                }
                return None;
            }
            _ => return None,
        })
    }

    fn blockers(&mut self, partition: TopicPartition) -> Result<BlockerReport, String> {
        let group = &self.connection.application;
        let blockers =
            self.wire.find_blockers(group, &partition).map_err(|error| error.to_string())?;
        // After the transactions: an owner that is still a member then was one before.
        let members = self.clients.group().members().map_err(|error| error.to_string())?;
        Ok(BlockerReport { partition, blockers, members })
    }
}

/// The answer where none can be had.
fn failure(question: &Request, reason: &str) -> Option<Answer> {
    let retriable = || OffsetsUnavailable::Retriable(reason.to_owned());
    Some(match question {
        Request::CommittedOffsets { id, .. } => {
            Event::CommittedOffsets { id: *id, result: Err(retriable()) }
        }
        Request::Bounds { id, .. } => Event::Bounds { id: *id, result: Err(retriable()) },
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
        Request::FindNamesake { id } => Event::Namesake { id: *id, result: Err(reason.to_owned()) },
        _ => return None,
    })
}

/// The same answer as an event of a log with batches of any type.
fn rebatched<B>(answer: Answer) -> Option<Event<B>> {
    Some(match answer {
        Event::CommittedOffsets { id, result } => Event::CommittedOffsets { id, result },
        Event::Bounds { id, result } => Event::Bounds { id, result },
        Event::Blockers { id, result } => Event::Blockers { id, result },
        Event::Fenced { id, result } => Event::Fenced { id, result },
        Event::Described { id, result } => Event::Described { id, result },
        Event::GroupDescribed { id, result } => Event::GroupDescribed { id, result },
        Event::Namesake { id, result } => Event::Namesake { id, result },
        _ => return None,
    })
}
