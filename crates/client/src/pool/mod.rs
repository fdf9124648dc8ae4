//! Connections to one endpoint, a set for each runtime.
//!
//! A connection is driven by a task of the runtime that opened it. In the shape of one runtime for each core, a worker
//! uses its own connections only, and the locks in here are never contended; in the shared runtime its workers share
//! one set.

pub(crate) mod connect;
pub(crate) mod http1;
mod http2;
mod shards;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use mainstay_core::{
    Body, BoxError,
    config::{Duration, Findings, Section},
    task::Tasks,
};
use mainstay_discovery::Place;

use crate::{config::layered::layered, retry::Failure};

layered! {
    /// The table `client.pool`: connections.
    values {
        /// To open one connection. Default `2s`.
        connect_timeout: Duration = Duration::from_secs(2),
        /// How long an HTTP/1.1 connection is kept without a request. To be less than the servers keep theirs, so that
        /// it is this side that closes. Default `30s`.
        idle_timeout: Duration = Duration::from_secs(30),
        /// HTTP/1.1 connections kept without a request, for each endpoint and runtime. Default 128.
        max_idle: usize = 128,
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let durations = [("connect_timeout", self.connect_timeout), ("idle_timeout", self.idle_timeout)];
        for (key, _) in durations.into_iter().filter(|(_, duration)| duration.is_zero()) {
            findings.reject(key, "a duration above zero");
        }
    }
}

/// What holds for all connections to a service.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
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
        place: &Place,
        version: Version,
        settings: &Arc<Settings>,
        request: Request<Body>,
    ) -> Result<Answer, Failed> {
        if place.tls {
            return Err(Failed::connect("TLS to endpoints is not supported".into(), request));
        }
        let address = &place.address;
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
        // hyper resets the stream where the body of the request breaks off; h2 itself does so as a library.
        Some(error) if error.is_reset() && !error.is_remote() && !error.is_library() => {
            (Step::Exchange, Failure::Request)
        }
        _ => (Step::Exchange, Failure::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use mainstay_discovery::Endpoint;

    use super::*;

    /// Reads what comes, and never answers.
    async fn listen(version: Version, tasks: &Tasks) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tasks.spawn_detached(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            match version {
                Version::Http1 => while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {},
                Version::Http2 => {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let mut open = Vec::new();
                    while let Some(Ok(exchange)) = connection.accept().await {
                        open.push(exchange);
                    }
                }
            }
        });
        Endpoint::tcp("127.0.0.1", port)
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_the_fault_of_the_request_and_not_of_the_endpoint() {
        for version in [Version::Http1, Version::Http2] {
            let config = Config { connect_timeout: Duration::from_secs(30), ..Config::default() };
            let settings = Arc::new(Settings { config, tasks: Tasks::new() });
            let endpoint = listen(version, &settings.tasks).await;
            let pieces =
                stream::iter([Ok("x"), Err(std::io::Error::other("broke off"))]).then(|piece| async {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    piece
                });
            let body = Body::from_stream(pieces);
            let request = Request::post("http://stock/").header("host", "stock").body(body).unwrap();
            let pools = Pools::default();
            let sent = pools.send(endpoint.place(), version, &settings, request);
            let failed =
                tokio::time::timeout(std::time::Duration::from_secs(30), sent).await.unwrap().unwrap_err();
            assert_eq!((failed.at, failed.failure), (Step::Exchange, Failure::Request), "{version:?}");
        }
    }
}
