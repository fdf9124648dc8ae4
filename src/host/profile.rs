//! `/debug/pprof/profile` of the admin listener, where Go's tools and continuous profilers look for it.

use axum::{
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get},
};
use http::{Method, StatusCode, header};
use mainstay_core::{Error, Result, error::Kind, extract::Query, task::Tasks};
use mainstay_telemetry::profile::{self, LONGEST};
use serde::Deserialize;

/// `?seconds=10`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "ten")]
    seconds: u64,
}

fn ten() -> u64 {
    10
}

/// Takes a profile for some seconds.
pub(super) fn route() -> MethodRouter {
    let tasks = Tasks::new();
    get(async move |method: Method, Query(Wanted { seconds }): Query<Wanted>| -> Result<Response> {
        if seconds == 0 || seconds > LONGEST.as_secs() {
            return Err(Error::invalid("seconds", format_args!("1 to {}", LONGEST.as_secs())));
        }
        let kind = [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb\""),
        ];
        if method == Method::HEAD {
            return Ok((StatusCode::OK, kind).into_response());
        }
        match profile::cpu(std::time::Duration::from_secs(seconds), &tasks).await {
            Ok(profile) => Ok((kind, profile).into_response()),
            Err(profile::Error::Busy) => {
                Err(Error::new(Kind::Conflict).with_detail("another profile is being taken: one at a time"))
            }
            Err(error) => Err(Error::from(error)),
        }
    })
}
