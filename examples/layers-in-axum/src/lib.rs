//! The layers of Mainstay in a plain axum program: no host, no `mainstay` facade, `axum::serve` as ever.

use std::time::Duration;

use axum::{
    Router,
    routing::{get, post},
};
use mainstay_core::{
    Result,
    context::RequestContext,
    error::{Error, Kind},
    extract::{Json, Path},
    middleware::{
        body_limit::BodyLimitLayer,
        context::ContextLayer,
        deadline::DeadlineLayer,
        problem::ProblemLayer,
        recover::{Panics, RecoverLayer},
        shed::{Limiter, ShedLayer},
    },
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    text: String,
}

/// The routes, with the layers around them. axum puts the layer that is added last outermost.
pub fn app(limiter: Limiter, panics: Panics) -> Router {
    Router::new()
        .route("/notes/{id}", get(show))
        .route("/notes", post(add))
        .route("/report", get(report).layer(DeadlineLayer::new().with_timeout(Duration::from_millis(50))))
        .route("/bug", get(bug))
        .layer(BodyLimitLayer::overridable(64 * 1024))
        .layer(ShedLayer::new(limiter))
        .layer(DeadlineLayer::new())
        .layer(ProblemLayer::new())
        .layer(RecoverLayer::new(panics))
        .layer(ContextLayer::default())
}

async fn show(Path(id): Path<u64>) -> Result<Json<Note>> {
    match id {
        1 => Ok(Json(Note { text: "the first".to_owned() })),
        _ => Err(Error::new(Kind::NotFound).with_detail(format!("there is no note {id}"))),
    }
}

async fn add(Json(note): Json<Note>) -> Json<Note> {
    Json(note)
}

/// Takes longer than its route allows. What it calls would be told what is left.
async fn report(context: RequestContext) -> String {
    tokio::time::sleep(Duration::from_secs(10)).await;
    format!("{:?} left", context.deadline().map(|deadline| deadline.remaining()))
}

async fn bug() -> String {
    panic!("a bug, to show what becomes of it")
}
