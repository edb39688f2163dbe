//! The routes through a real socket.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::*;
use crate::runtime::{StatusBoard, TaskPhase, TaskStatus, memory::MemoryPlan};

fn start() -> (Service, StatusBoard) {
    let status = StatusBoard::default();
    let board = Board {
        application: "ledger".to_owned(),
        topology: "ledger".to_owned(),
        threads: 1,
        memory: MemoryPlan::split(256 << 20, 1, <_>::default()).unwrap(),
        status: status.clone(),
    };
    (Service::start(SocketAddr::from(([127, 0, 0, 1], 0)), vec![board], None).unwrap(), status)
}

/// Status code and body.
fn get(service: &Service, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn probes_follow_the_threads_and_tasks() {
    let (service, status) = start();
    assert_eq!(get(&service, "/healthz"), (200, "ok\n".to_owned()));
    let (code, body) = get(&service, "/readyz");
    assert_eq!((code, body.as_str()), (503, "ledger: 0 of 1 threads have joined\n"));

    let restoring = TaskStatus {
        name: "account_0".to_owned(),
        phase: TaskPhase::Restoring,
        ..TaskStatus::default()
    };
    status.update(0, |thread| {
        thread.joined = true;
        thread.tasks.push(restoring);
    });
    let (code, body) = get(&service, "/readyz");
    assert_eq!(code, 503);
    assert!(body.contains("task account_0 is restoring"), "{body}");

    status.update(0, |thread| thread.tasks.iter_mut().for_each(|t| t.phase = TaskPhase::Running));
    assert_eq!(get(&service, "/readyz"), (200, "ok\n".to_owned()));

    status.update(0, |thread| thread.ended = Some("it was fenced".to_owned()));
    for path in ["/healthz", "/readyz"] {
        let (code, body) = get(&service, path);
        assert_eq!((code, body.as_str()), (503, "ledger: thread 0 has ended: it was fenced\n"));
    }
}

#[test]
fn metrics_and_status_are_served_and_other_paths_are_not() {
    let (service, status) = start();
    status.update(0, |thread| {
        thread.counters.records_in = 17;
        thread.epoch_phase = "commit";
        thread.positions.push((crate::record::TopicPartition::new("transfers", 2), 41));
    });
    let (code, body) = get(&service, "/metrics");
    assert_eq!(code, 200);
    let line = "tidemill_records_in_total{application=\"ledger\",thread=\"0\"} 17";
    assert!(body.lines().any(|l| l == line), "{body}");

    let (code, body) = get(&service, "/status");
    assert_eq!(code, 200);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    let thread = json.pointer("/applications/0/threads/0").unwrap();
    assert_eq!(thread.pointer("/counters/records_in"), Some(&17.into()));
    assert_eq!(thread.pointer("/positions/transfers-2"), Some(&41.into()));
    assert_eq!(thread.pointer("/epoch_phase"), Some(&"commit".into()));

    assert_eq!(get(&service, "/admin").0, 404);
}

#[test]
fn a_taken_port_is_named_with_the_setting_that_moves_it() {
    let (service, _status) = start();
    let error = Service::start(service.address(), Vec::new(), None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", service.address())), "{error}");
    assert!(error.ends_with("set http.bind to another address"), "{error}");
}
