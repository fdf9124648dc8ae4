//! Readiness as the tests want it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainstay::{
    Error,
    axum::{Router, routing::get, routing::put},
    error::Kind,
    health::Check,
};

static READY: AtomicBool = AtomicBool::new(true);

/// `PUT /ready` with `true` or `false`; `GET /process` says who answers.
pub(crate) fn routes() -> Router {
    let switch = async |body: String| READY.store(body == "true", Ordering::Relaxed);
    Router::new().route("/ready", put(switch)).route("/process", get(async || std::process::id().to_string()))
}

pub(crate) fn check() -> Check {
    let ask = || async {
        match READY.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Error::new(Kind::Unavailable).with_detail("it was told so")),
        }
    };
    Check::readiness("switch", ask).with_interval(Duration::from_millis(50)).with_failure_threshold(1)
}
