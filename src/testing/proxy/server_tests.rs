//! The proxy between a client and a broker made of plain sockets.

use std::io::Write;

use super::*;
use crate::testing::proxy::{Api, frame};

/// A broker that answers every request with its correlation id and what came behind the head.
fn broker() -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let hears = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, hears) = (stream.unwrap(), Arc::clone(&hears));
            thread::spawn(move || {
                while let Ok(Some(body)) = frame::read(&mut stream) {
                    lock(&hears).push(body.to_vec());
                    let answer = [&body[4..8], b"done"].concat();
                    stream.write_all(&frame::with_size(&answer)).unwrap();
                }
            });
        }
    });
    (address, heard)
}

struct Client(TcpStream);

impl Client {
    fn of(proxy: &FaultProxy) -> Self {
        let stream = TcpStream::connect(proxy.bootstrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        Self(stream)
    }

    fn send(&mut self, api: Api, correlation: i32, client: &str) {
        let mut body = Vec::new();
        body.extend_from_slice(&api.0.to_be_bytes());
        body.extend_from_slice(&1i16.to_be_bytes());
        body.extend_from_slice(&correlation.to_be_bytes());
        body.extend_from_slice(&(client.len() as i16).to_be_bytes());
        body.extend_from_slice(client.as_bytes());
        self.0.write_all(&frame::with_size(&body)).unwrap();
    }

    /// The correlation id of the next answer; `None` when the connection is closed.
    fn answer(&mut self) -> io::Result<Option<i32>> {
        Ok(frame::read(&mut self.0)?.map(|body| frame::correlation_of_answer(&body).unwrap()))
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let stop = Stop::default();
    for _ in 0..500 {
        if condition() {
            return;
        }
        stop.wait(Duration::from_millis(10));
    }
    panic!("waited in vain for {what}");
}

fn done(proxy: &FaultProxy, api: Api, fault: &'static str) -> u64 {
    proxy.counts().faults.get(&(api, fault)).copied().unwrap_or(0)
}

#[test]
fn requests_and_answers_pass_where_no_rule_says_otherwise() {
    let (address, heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    let mut client = Client::of(&proxy);
    client.send(Api::HEARTBEAT, 1, "a");
    client.send(Api::HEARTBEAT, 2, "a");
    assert_eq!(client.answer().unwrap(), Some(1));
    assert_eq!(client.answer().unwrap(), Some(2));
    assert_eq!(lock(&heard).len(), 2);
    assert_eq!(proxy.counts().requests[&Api::HEARTBEAT], 2);
    assert_eq!(proxy.counts().total(), 0);
}

#[test]
fn a_dropped_request_never_arrives_and_a_dropped_answer_has_been_done() {
    let (address, heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    proxy.arm(Rule::once(Api::END_TXN, "", Fault::DropRequest));
    proxy.arm(Rule::once(Api::END_TXN, "", Fault::DropAnswer));
    let mut client = Client::of(&proxy);
    client.send(Api::END_TXN, 1, "a");
    client.send(Api::END_TXN, 2, "a");
    client.send(Api::END_TXN, 3, "a");
    assert_eq!(client.answer().unwrap(), Some(3));
    assert_eq!(lock(&heard).len(), 2, "the first is lost on the way");
    assert_eq!(done(&proxy, Api::END_TXN, "drop-request"), 1);
    assert_eq!(done(&proxy, Api::END_TXN, "drop-answer"), 1);
}

#[test]
fn resets_close_the_connection_before_or_after_the_broker_did_it() {
    for (fault, arrives) in [(Fault::ResetRequest, 0), (Fault::ResetAnswer, 1)] {
        let (address, heard) = broker();
        let proxy = FaultProxy::start(&address, 1).unwrap();
        proxy.arm(Rule::once(Api::END_TXN, "", fault));
        let mut client = Client::of(&proxy);
        client.send(Api::END_TXN, 1, "a");
        assert!(matches!(client.answer(), Ok(None) | Err(_)), "{fault}");
        until("the fault to be counted", || done(&proxy, Api::END_TXN, fault.name()) == 1);
        assert_eq!(lock(&heard).len(), arrives, "{fault}");
        // The next connection is whole.
        let mut client = Client::of(&proxy);
        client.send(Api::END_TXN, 2, "a");
        assert_eq!(client.answer().unwrap(), Some(2));
    }
}

#[test]
fn a_held_request_arrives_after_its_client_has_moved_on() {
    let (address, heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    proxy.arm(Rule::once(Api::END_TXN, "", Fault::Hold(Duration::from_millis(1))));
    let mut client = Client::of(&proxy);
    client.send(Api::END_TXN, 1, "a");
    assert!(client.answer().is_err(), "no answer in time");
    assert_eq!(lock(&heard).len(), 0);
    drop(client);
    let mut client = Client::of(&proxy);
    client.send(Api::END_TXN, 9, "a");
    assert_eq!(client.answer().unwrap(), Some(9));
    until("the held request", || done(&proxy, Api::END_TXN, "hold") == 1);
    assert_eq!(lock(&heard).len(), 2);
}

#[test]
fn a_refusal_is_the_proxys_own() {
    let (address, heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    proxy.arm(Rule::once(Api::END_TXN, "", Fault::Refuse(51)));
    let mut client = Client::of(&proxy);
    client.send(Api::END_TXN, 4, "a");
    let body = frame::read(&mut client.0).unwrap().unwrap();
    assert_eq!(&body[..4], 4i32.to_be_bytes());
    assert_eq!(&body[8..10], 51i16.to_be_bytes());
    assert!(lock(&heard).is_empty());
}

#[test]
fn a_cut_client_is_not_heard_until_the_cut_heals_and_others_are() {
    let (address, heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    let (mut one, mut two) = (Client::of(&proxy), Client::of(&proxy));
    proxy.cut(Some(&address), ".i1.");
    one.send(Api::HEARTBEAT, 1, "a.i1.0");
    two.send(Api::HEARTBEAT, 2, "a.i2.0");
    assert_eq!(two.answer().unwrap(), Some(2));
    assert!(one.answer().is_err(), "silence, not a closed connection");
    assert_eq!(lock(&heard).len(), 1);
    proxy.heal();
    one.send(Api::HEARTBEAT, 3, "a.i1.0");
    assert!(matches!(one.answer(), Ok(None) | Err(_)), "a connection that lost frames is closed");
    let mut one = Client::of(&proxy);
    one.send(Api::HEARTBEAT, 4, "a.i1.0");
    assert_eq!(one.answer().unwrap(), Some(4));
}

#[test]
fn a_proxy_that_is_dropped_closes_its_connections() {
    let (address, _heard) = broker();
    let proxy = FaultProxy::start(&address, 1).unwrap();
    let mut client = Client::of(&proxy);
    client.send(Api::HEARTBEAT, 1, "a");
    assert_eq!(client.answer().unwrap(), Some(1));
    drop(proxy);
    assert!(matches!(client.answer(), Ok(None) | Err(_)));
    assert!(FaultProxy::start(" , ", 1).is_err());
}
