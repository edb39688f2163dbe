//! The proxy as a whole: a listener per broker, made when the broker is first heard of.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    cut::{Cut, Cuts},
    fault::Fault,
    frame::Head,
    pump,
    rewrite::Addresses,
    schedule::{Counts, Rule, Schedule},
    stop::Stop,
};

/// How long a broker may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// After a connection could not be taken, the next one is tried after this time.
const TAKE_AGAIN: Duration = Duration::from_millis(100);

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No port to listen on.
    #[error("no listener for {broker}: {source}")]
    Listen {
        /// The broker's own address.
        broker: String,
        /// The system's word.
        source: io::Error,
    },
    /// Nothing to stand in front of.
    #[error("no broker's address in {0:?}")]
    Bootstrap(String),
}

/// A running proxy; it ends when it is dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    bootstrap: String,
}

impl FaultProxy {
    /// Stands in front of the brokers at `bootstrap` (`host:port`, separated by commas), and of
    /// all that they name. `seed` decides whom chances strike.
    pub fn start(bootstrap: &str, seed: u64) -> Result<Self, ProxyError> {
        let shared = Arc::new(Shared {
            schedule: Mutex::new(Schedule::new(seed)),
            cuts: Mutex::default(),
            listeners: Mutex::default(),
            nodes: Mutex::default(),
            streams: Mutex::default(),
            next: AtomicU64::new(0),
            stop: Stop::default(),
        });
        let mut proxy = Self { shared, bootstrap: String::new() };
        let mut told = Vec::new();
        let named = bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty());
        for broker in named {
            let listen = |source| ProxyError::Listen { broker: broker.to_owned(), source };
            told.push(proxy.shared.listener(broker).map_err(listen)?.to_string());
        }
        if told.is_empty() {
            return Err(ProxyError::Bootstrap(bootstrap.to_owned()));
        }
        proxy.bootstrap = told.join(",");
        Ok(proxy)
    }

    /// What clients use for bootstrap addresses.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A further rule; earlier ones go first.
    pub fn arm(&self, rule: Rule) {
        lock(&self.shared.schedule).add(rule);
    }

    /// No rules any more; what was struck stays struck.
    pub fn disarm(&self) {
        lock(&self.shared.schedule).clear();
    }

    /// How many certain faults armed rules have still to make.
    pub fn outstanding(&self) -> u64 {
        lock(&self.shared.schedule).outstanding()
    }

    /// What was seen and done so far.
    pub fn counts(&self) -> Counts {
        lock(&self.shared.schedule).counts().clone()
    }

    /// From now on, nothing passes between a broker and clients whose id contains `client`, and
    /// neither is told: what they send is lost, and connections stay open. `broker` is its own
    /// address, not the proxy's; `None`: all brokers.
    pub fn cut(&self, broker: Option<&str>, client: &str) {
        let cut = Cut { broker: broker.map(str::to_owned), client: client.to_owned() };
        lock(&self.shared.cuts).add(cut);
    }

    /// Ends all cuts. Connections on which something was lost are closed when they are next used.
    pub fn heal(&self) {
        lock(&self.shared.cuts).heal();
    }

    /// Brokers by number with their own addresses, as far as answers have named them.
    pub fn nodes(&self) -> BTreeMap<i32, String> {
        lock(&self.shared.nodes).clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.raise();
        for streams in lock(&self.shared.streams).values() {
            for stream in streams {
                // One that is closed already needs no closing.
                let _closed = stream.shutdown(Shutdown::Both);
            }
        }
        for address in lock(&self.shared.listeners).values() {
            // Wakes the listener's thread, which then sees that it is over.
            let _woken = TcpStream::connect_timeout(address, Duration::from_millis(100));
        }
    }
}

/// What all connections share.
pub(super) struct Shared {
    schedule: Mutex<Schedule>,
    cuts: Mutex<Cuts>,
    /// The proxy's listeners by the broker's own address.
    listeners: Mutex<BTreeMap<String, SocketAddr>>,
    nodes: Mutex<BTreeMap<i32, String>>,
    /// Open connections, to be closed in the end.
    streams: Mutex<BTreeMap<u64, Vec<Arc<TcpStream>>>>,
    next: AtomicU64,
    stop: Stop,
}

impl Shared {
    pub(super) fn decide(&self, head: &Head) -> Option<Fault> {
        lock(&self.schedule).decide(head)
    }

    pub(super) fn count(&self, api: i16, fault: &'static str) {
        lock(&self.schedule).count(api, fault);
    }

    pub(super) fn is_cut(&self, client: &str, broker: &str) -> bool {
        lock(&self.cuts).between(client, broker)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_raised()
    }

    /// Waits; whether the proxy ends meanwhile.
    pub(super) fn wait(&self, time: Duration) -> bool {
        self.stop.wait(time)
    }

    pub(super) fn register(&self, streams: Vec<Arc<TcpStream>>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.streams).insert(number, streams);
        number
    }

    pub(super) fn unregister(&self, number: u64) {
        lock(&self.streams).remove(&number);
    }

    /// Connects to a broker.
    pub(super) fn connect(broker: &str) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in broker.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where clients reach `broker` through the proxy.
    fn listener(self: &Arc<Self>, broker: &str) -> io::Result<SocketAddr> {
        let mut listeners = lock(&self.listeners);
        if let Some(address) = listeners.get(broker) {
            return Ok(*address);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (shared, name) = (Arc::clone(self), broker.to_owned());
        let accept = move || {
            for stream in listener.incoming() {
                if shared.is_stopping() {
                    return;
                }
                let stream = match stream {
                    Ok(stream) => stream,
                    Err(error) => {
                        // No descriptors left, for example: more may come back.
                        tracing::error!(%error, broker = name, "connection not taken");
                        shared.wait(TAKE_AGAIN);
                        continue;
                    }
                };
                let (shared, broker) = (Arc::clone(&shared), name.clone());
                let carry = move || {
                    // A broker that is down is for the client to find out: its connection closes.
                    let _down = pump::carry(shared, broker, stream);
                };
                let started = thread::Builder::new().name("proxy-requests".to_owned()).spawn(carry);
                if let Err(error) = started {
                    tracing::error!(%error, "no thread for a connection");
                }
            }
        };
        thread::Builder::new().name("proxy-accept".to_owned()).spawn(accept)?;
        listeners.insert(broker.to_owned(), address);
        Ok(address)
    }
}

impl Addresses for Arc<Shared> {
    fn instead_of(&mut self, node: i32, host: &str, port: i32) -> (String, i32) {
        let broker = format!("{host}:{port}");
        lock(&self.nodes).insert(node, broker.clone());
        match self.listener(&broker) {
            Ok(address) => (address.ip().to_string(), i32::from(address.port())),
            Err(error) => {
                tracing::error!(%error, broker, "clients go past the proxy");
                (host.to_owned(), port)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
