//! The routes: probes for Kubernetes, metrics for Prometheus, status for people and tests.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::ops::{Board, Verdict, health, metrics::Exporter, report};

/// What the routes read.
pub(super) struct Shared {
    /// One board per application.
    pub(super) boards: Vec<Board>,
    /// The metrics.
    pub(super) exporter: Exporter,
}

/// All routes.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(shared)
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    probe(&shared.boards, |board| health::alive(&board.application, &board.status.view()))
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    probe(&shared.boards, |board| {
        health::ready(&board.application, board.threads, &board.status.view())
    })
}

fn probe(boards: &[Board], verdict: impl Fn(&Board) -> Verdict) -> Response {
    match boards.iter().map(verdict).fold(Verdict::Yes, Verdict::and) {
        Verdict::Yes => "ok\n".into_response(),
        Verdict::No(reasons) => {
            (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.exporter.render(&shared.boards);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let text = format!("{:#}\n", report(&shared.boards));
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
