//! Connections to one endpoint, a set for each runtime.
//!
//! A connection is driven by a task of the runtime that opened it. In the shape of one runtime for each core, a worker
//! uses its own connections only, and the locks in here are never contended; in the shared runtime its workers share
//! one set.

pub(crate) mod connect;
pub(crate) mod http1;
mod http2;
mod shards;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use mainstay_core::{Body, BoxError, task::Tasks};
use mainstay_discovery::Address;

use crate::retry::Failure;

/// What holds for all connections of a client.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_idle: usize,
    /// The owner of the tasks that drive connections.
    pub(crate) tasks: Tasks,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Pools(shards::Shards<Pool>);

#[derive(Debug, Default)]
struct Pool {
    http1: Arc<http1::Idle>,
    http2: http2::Shared,
}

/// The version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// An answer, and the HTTP/1.1 connection to give back when its body is read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Option<http1::Lease>,
    /// Whether the server asked for an end of the connection.
    pub(crate) leaving: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) at: Step,
    pub(crate) failure: Failure,
    pub(crate) cause: BoxError,
    /// The body of the request, if nothing was taken from it.
    pub(crate) body: Option<Body>,
}

/// Where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was no connection.
    Connect,
    /// The peer closes the connection in good order, and took no more requests on it.
    GoAway,
    /// There was one, and it broke.
    Exchange,
}

impl Pools {
    /// Sends `request`, whose form fits the version, over a connection that is there or a new one.
    pub(crate) async fn send(
        &self,
        address: &Address,
        version: Version,
        settings: &Arc<Settings>,
        request: Request<Body>,
    ) -> Result<Answer, Failed> {
        let pool = self.0.here();
        match version {
            Version::Http1 => http1::send(&pool.http1, address, settings, request).await,
            Version::Http2 => pool.http2.send(address, settings, request).await,
        }
    }
}

impl Failed {
    fn connect(cause: BoxError, request: Request<Body>) -> Self {
        let body = Some(request.into_body());
        Self { at: Step::Connect, failure: Failure::NotProcessed, cause, body }
    }

    /// `body` is there if hyper gave the request back, which it does only if it has written none of it.
    fn exchange(error: hyper::Error, body: Option<Body>) -> Self {
        let (at, failure) = if body.is_some() {
            (Step::GoAway, Failure::NotProcessed)
        } else if error.is_user() {
            (Step::Exchange, Failure::Request)
        } else {
            classify(mainstay_core::error::find::<h2::Error>(&error))
        };
        Self { at, failure, cause: Box::new(error), body }
    }
}

fn classify(error: Option<&h2::Error>) -> (Step, Failure) {
    match error {
        // h2 gives it to the streams above the last one that the peer will work on (RFC 9113 section 6.8).
        Some(error) if error.is_go_away() && error.is_remote() => (Step::GoAway, Failure::NotProcessed),
        // RFC 9113 section 8.7.
        Some(error) if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            (Step::Exchange, Failure::NotProcessed)
        }
        _ => (Step::Exchange, Failure::Unknown),
    }
}
