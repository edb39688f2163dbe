//! One connection of a client: two threads that carry frames, requests one way, answers the other.
//!
//! Everything that a fault does to a request is done here. What a frame says is never changed but
//! for brokers' addresses.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;

use super::{
    fault::Fault,
    frame::{self, Head},
    refusal, rewrite,
    server::Shared,
    stop::Stop,
};

/// A held request is released after this time even where the client keeps its connection.
const HOLD_MAX: Duration = Duration::from_secs(30);

/// How long a broker may take to answer a request that was released.
const LATE_ANSWER: Duration = Duration::from_secs(10);

/// What is to become of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
    Reset,
}

struct Pending {
    api: i16,
    version: i16,
    fate: Fate,
}

/// One connection.
struct Link {
    shared: Arc<Shared>,
    /// The broker's own address.
    broker: String,
    /// For writing; each frame is written whole.
    to_client: Mutex<Arc<TcpStream>>,
    to_broker: Mutex<Arc<TcpStream>>,
    /// Who the client says it is.
    client: Mutex<String>,
    pending: Mutex<HashMap<i32, Pending>>,
    /// Raised when the connection is over.
    closed: Stop,
}

/// Carries frames between a client that connected and `broker`, until either closes.
pub(super) fn carry(shared: Arc<Shared>, broker: String, from_client: TcpStream) -> io::Result<()> {
    from_client.set_nodelay(true)?;
    // Shared, not cloned: two descriptors per connection, of which there may be hundreds.
    let (from_client, upstream) = (Arc::new(from_client), Arc::new(Shared::connect(&broker)?));
    let link = Arc::new(Link {
        broker,
        to_client: Mutex::new(Arc::clone(&from_client)),
        to_broker: Mutex::new(Arc::clone(&upstream)),
        client: Mutex::new(String::new()),
        pending: Mutex::default(),
        closed: Stop::default(),
        shared,
    });
    let number = link.shared.register(vec![Arc::clone(&from_client), Arc::clone(&upstream)]);
    let answering = Arc::clone(&link);
    let answers = thread::Builder::new().name("proxy-answers".to_owned()).spawn(move || {
        let ended = answering.answers(&upstream);
        answering.close(ended);
    });
    if answers.is_ok() {
        let ended = link.requests(&from_client);
        link.close(ended);
    } else {
        link.close(Ok(()));
    }
    link.shared.unregister(number);
    answers.map(|_| ())
}

impl Link {
    fn requests(self: &Arc<Self>, mut from_client: &TcpStream) -> io::Result<()> {
        let mut lost = false;
        while let Some(body) = frame::read(&mut from_client)? {
            let Some(head) = Head::of_request(&body) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a request of Kafka's"));
            };
            lock(&self.client).clone_from(&head.client);
            if self.shared.is_cut(&head.client, &self.broker) {
                lost = true;
                continue;
            }
            if lost {
                return Ok(()); // healed, but answers are missing on this connection
            }
            if !self.request(&head, body)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Handles one request; whether the connection goes on.
    fn request(self: &Arc<Self>, head: &Head, body: Bytes) -> io::Result<bool> {
        let Some(fault) = self.shared.decide(head) else {
            return self.forward(head, &body, Fate::Pass).map(|()| true);
        };
        tracing::info!(api = %super::Api(head.api), client = head.client, %fault, "fault");
        match fault {
            Fault::DropRequest => {}
            // Counted when the answer comes.
            Fault::DropAnswer => return self.forward(head, &body, Fate::Drop).map(|()| true),
            Fault::ResetAnswer => return self.forward(head, &body, Fate::Reset).map(|()| true),
            Fault::Delay(time) => {
                self.shared.count(head.api, fault.name());
                if self.closed.wait(time) {
                    return Ok(false);
                }
                return self.forward(head, &body, Fate::Pass).map(|()| true);
            }
            Fault::ResetRequest => {
                let whole = frame::with_size(&body);
                let half = whole.get(..whole.len() / 2).unwrap_or_default();
                lock(&self.to_broker).as_ref().write_all(half)?;
            }
            Fault::Hold(time) => {
                let link = Arc::clone(self);
                let api = head.api;
                let held = move || link.release(api, &body, time);
                thread::Builder::new().name("proxy-held".to_owned()).spawn(held)?;
                return Ok(true);
            }
            Fault::Refuse(code) => match refusal::of(head, &body, code) {
                Some(answer) => write(&self.to_client, &answer)?,
                None => return self.forward(head, &body, Fate::Pass).map(|()| true),
            },
        }
        self.shared.count(head.api, fault.name());
        Ok(fault != Fault::ResetRequest)
    }

    fn forward(&self, head: &Head, body: &[u8], fate: Fate) -> io::Result<()> {
        let pending = Pending { api: head.api, version: head.version, fate };
        lock(&self.pending).insert(head.correlation, pending);
        write(&self.to_broker, body)
    }

    /// Sends a held request once its client has moved on.
    fn release(&self, api: i16, body: &[u8], after: Duration) {
        self.closed.wait(HOLD_MAX);
        if self.shared.is_stopping() || self.shared.wait(after) {
            return;
        }
        let sent = Shared::connect(&self.broker).and_then(|mut late| {
            late.set_read_timeout(Some(LATE_ANSWER))?;
            late.write_all(&frame::with_size(body))?;
            frame::read(&mut late)
        });
        match sent {
            Ok(Some(answer)) => {
                let answer = answer.get(4..).unwrap_or_default();
                tracing::info!(api = %super::Api(api), ?answer, "held request released");
                self.shared.count(api, Fault::Hold(after).name());
            }
            Ok(None) => tracing::warn!(api = %super::Api(api), "held request got no answer"),
            Err(error) => tracing::warn!(%error, "held request not released"),
        }
    }

    fn answers(&self, mut from_broker: &TcpStream) -> io::Result<()> {
        while let Some(body) = frame::read(&mut from_broker)? {
            let correlation = frame::correlation_of_answer(&body).unwrap_or_default();
            let Some(pending) = lock(&self.pending).remove(&correlation) else { continue };
            let client = lock(&self.client).clone();
            if self.shared.is_cut(&client, &self.broker) {
                continue;
            }
            match pending.fate {
                Fate::Drop => {
                    self.shared.count(pending.api, Fault::DropAnswer.name());
                    continue;
                }
                Fate::Reset => {
                    let whole = frame::with_size(&body);
                    let half = whole.get(..whole.len() / 2).unwrap_or_default();
                    let broken = lock(&self.to_client).as_ref().write_all(half);
                    self.shared.count(pending.api, Fault::ResetAnswer.name());
                    return broken;
                }
                Fate::Pass => {}
            }
            let mut addresses = Arc::clone(&self.shared);
            let body = rewrite::answer(pending.api, pending.version, body, &mut addresses)
                .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
            write(&self.to_client, &body)?;
        }
        Ok(())
    }

    fn close(&self, ended: io::Result<()>) {
        if let Err(error) = ended
            && error.kind() == io::ErrorKind::InvalidData
        {
            tracing::error!(%error, broker = self.broker, "connection given up");
        }
        self.closed.raise();
        for stream in [&self.to_client, &self.to_broker] {
            // One that is closed already needs no closing.
            let _closed = lock(stream).shutdown(Shutdown::Both);
        }
    }
}

fn write(stream: &Mutex<Arc<TcpStream>>, body: &[u8]) -> io::Result<()> {
    lock(stream).as_ref().write_all(&frame::with_size(body))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
