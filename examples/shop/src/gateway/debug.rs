//! Routes that misbehave on purpose: switched on by `app.gateway.debug`.

use std::time::Duration;

use mainstay::{
    Error, Result,
    axum::{Router, routing::get},
    extract::Query,
};
use serde::Deserialize;

pub(super) fn routes() -> Router {
    Router::new()
        .route("/debug/slow", get(slow))
        .route("/debug/hang", get(std::future::pending::<()>))
        .route("/debug/panic", get(panics))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    /// How long to take, at most a minute.
    ms: u64,
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> Result<String> {
    if ms > 60_000 {
        return Err(Error::invalid("ms", "at most 60000"));
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(format!("slept {ms} ms\n"))
}

async fn panics() {
    panic!("asked to panic");
}
