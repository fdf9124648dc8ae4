//! Connections to one endpoint, a set for each runtime.
//!
//! A connection is driven by a task of the runtime that opened it. In the shape of one runtime for each core, a worker
//! uses its own connections only, and the locks in here are never contended; in the shared runtime its workers share
//! one set.
//!
//! | module | holds |
//! |---|---|
//! | `connect` | a byte stream to an endpoint: names, the race of its addresses |
//! | `http1` | connections for one request at a time |
//! | `http2` | connections shared by as many requests as the peer allows |
//! | `queue` | the requests that wait for either |

mod config;
mod connect;
mod http1;
mod http2;
mod incoming;
mod queue;
mod shards;
#[cfg(test)]
mod tests;
mod transport;

use std::{sync::Arc, time::Duration};

use http::{Request, Response};
use mainstay_core::{Body, BoxError, task::Tasks};
use mainstay_discovery::Place;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use self::config::{Config, Overrides};
pub(crate) use self::incoming::Incoming;
use self::queue::NotConnected;
pub(crate) use self::shards::Shards;
#[cfg(feature = "tls")]
pub(crate) use self::transport::Transport;
use crate::retry::Failure;

/// How long a request may take to be sent to its end after its answer was read: a peer may answer before it has read
/// all of it.
const SETTLE: Duration = Duration::from_secs(1);

/// What holds for all connections to a service.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// The owner of the tasks that drive connections.
    pub(crate) tasks: Tasks,
    /// Theirs; a clone of it takes a lock that all share.
    stopping: CancellationToken,
    #[cfg(feature = "tls")]
    tls: crate::tls::Connector,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Pools(shards::Shards<Pool>);

#[derive(Debug, Default)]
struct Pool {
    http1: Arc<http1::Pool>,
    http2: Arc<http2::Pool>,
}

/// The version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// An answer. Its body holds the connection, or the stream, until it is read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    /// Whether the server asked for an end of the connection.
    pub(crate) leaving: bool,
}

/// The connections to an endpoint at one moment, over all runtimes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Connections {
    /// HTTP/1.1, without a request.
    pub http1_idle: usize,
    /// HTTP/2, those that take requests.
    pub http2: usize,
    /// Being opened, of either.
    pub opening: usize,
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

impl Settings {
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "there is no handshake without TLS"))]
    pub(crate) fn new(config: Config, tls: &crate::tls::Config, tasks: Tasks) -> Self {
        Self {
            config,
            stopping: tasks.stopping(),
            tasks,
            #[cfg(feature = "tls")]
            tls: crate::tls::Connector::new(tls.clone()),
        }
    }
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
        let pool = self.0.here();
        match version {
            Version::Http1 => pool.http1.send(place, settings, request).await,
            Version::Http2 => pool.http2.send(place, settings, request).await,
        }
    }

    /// Opens what this runtime is missing of `client.pool.min_idle` connections, as long as not more than `room` are
    /// being opened; gives what is left of that.
    pub(crate) fn keep(
        &self,
        place: &Place,
        version: Version,
        settings: &Arc<Settings>,
        room: usize,
    ) -> usize {
        let pool = self.0.here();
        match version {
            Version::Http1 => pool.http1.keep(place, settings, room),
            Version::Http2 => pool.http2.keep(place, settings, room),
        }
    }

    /// Those of all runtimes.
    pub(crate) fn connections(&self) -> Connections {
        self.0.all().iter().fold(Connections::default(), |sum, (_, pool)| {
            let ((idle, opening1), (open, opening2)) = (pool.http1.count(), pool.http2.count());
            Connections {
                http1_idle: sum.http1_idle + idle,
                http2: sum.http2 + open,
                opening: sum.opening + opening1 + opening2,
            }
        })
    }
}

impl Failed {
    fn connect(cause: NotConnected, request: Request<Body>) -> Self {
        let body = Some(request.into_body());
        Self { at: Step::Connect, failure: Failure::Unsent, cause: Box::new(cause), body }
    }
}
