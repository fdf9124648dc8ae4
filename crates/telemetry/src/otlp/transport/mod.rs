//! One connection to the receiver, and requests on it.
//!
//! hyper without a client on top: one peer, one request at a time. A connection that has failed in any way is not used again.

mod answer;
mod connect;
mod grpc;
mod target;
mod web;

use std::{fmt, io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor as _,
};
use mainstay_core::{error::Report, task::Tasks};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) use target::Target;

use super::{
    config::{Compression, Config, Protocol, Tls},
    quiet::quietly,
};

/// No receiver has more to say.
const ANSWER: usize = 64 << 10;

const AGENT: &str = concat!("OTel-OTLP-Exporter-Mainstay/", env!("CARGO_PKG_VERSION"));

/// Sends requests.
pub(super) struct Transport {
    target: Target,
    protocol: Protocol,
    headers: HeaderMap,
    is_compressed: bool,
    timeout: Duration,
    tls: Tls,
    connection: Option<Connection>,
    tasks: Tasks,
}

struct Connection {
    sender: Sender,
    /// Ends what drives it.
    _end: DropGuard,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A message as it is sent, so often as it takes.
pub(super) struct Request(Bytes);

/// What the receiver has made of a request that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many spans, points or records it has not taken all the same.
    pub(super) rejected: u64,
    /// Why, or what else it has to say.
    pub(super) message: String,
}

/// A request failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) then: Then,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: it will fail again.
    GiveUp,
    /// The same again, after this time if the receiver said so.
    Repeat(Option<Duration>),
}

impl Failure {
    pub(super) fn late(after: Duration) -> Self {
        Self::passing(format_args!("no answer within {after:?}"))
    }

    fn passing(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), then: Then::Repeat(None) }
    }

    fn lasting(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), then: Then::GiveUp }
    }

    fn of(what: impl fmt::Display, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::passing(format_args!("{what}: {}", Report::new(error)))
    }
}

impl Transport {
    pub(super) fn new(config: &Config, target: Target, tasks: Tasks) -> Self {
        Self {
            target,
            protocol: config.protocol,
            headers: config.header_map(),
            is_compressed: config.compression == Compression::Gzip,
            timeout: config.timeout.get(),
            tls: config.tls.clone(),
            connection: None,
            tasks,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn request(&self, message: Vec<u8>) -> Request {
        let message = if self.is_compressed { gzip(&message) } else { message };
        Request(match self.protocol {
            Protocol::Http => message.into(),
            Protocol::Grpc => grpc::framed(&message, self.is_compressed).into(),
        })
    }

    /// Sends it once, within the configured time.
    ///
    /// # Cancel safety
    /// When it is dropped the connection is closed; nobody knows whether the receiver has the message.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Taken, Failure> {
        let timeout = self.timeout;
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::late(timeout)),
        }
    }

    async fn exchange(&mut self, request: &Request) -> Result<Taken, Failure> {
        // It is put back only behind a whole answer.
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => self.connect().await?,
        };
        let request = self.head().body(Full::new(request.0.clone()));
        let request = request.map_err(|error| Failure::of("the request", &error))?;
        let answer = connection.send(request).await.map_err(|error| Failure::of("the request", &error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER).collect().await;
        let body: Collected<Bytes> = body.map_err(|error| Failure::of("the answer", &*error))?;
        let trailers = body.trailers().cloned();
        let answer = Response::from_parts(head, body.to_bytes());
        let read = match self.protocol {
            Protocol::Http => web::read(&answer),
            Protocol::Grpc => grpc::read(&answer, trailers.as_ref()),
        };
        self.connection = Some(connection);
        read
    }

    fn head(&self) -> http::request::Builder {
        let mut builder = http::Request::post(self.target.uri(self.protocol));
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(&self.headers);
            headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
            match self.protocol {
                Protocol::Http => web::head(headers, &self.target, self.is_compressed),
                Protocol::Grpc => grpc::head(headers, self.timeout, self.is_compressed),
            }
        }
        builder
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = connect::connect(&self.target, &self.tls, self.protocol).await?;
        let failed = |error: hyper::Error| Failure::of("the connection", &error);
        let end = CancellationToken::new();
        let executor = Executor { tasks: self.tasks.clone(), end: end.clone() };
        // What goes wrong with the connection is told by the request.
        let sender = match self.protocol {
            Protocol::Http => {
                let (sender, connection) = http1::handshake(stream).await.map_err(failed)?;
                executor.execute(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            Protocol::Grpc => {
                let (sender, connection) =
                    http2::handshake(executor.clone(), stream).await.map_err(failed)?;
                executor.execute(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        };
        Ok(Connection { sender, _end: end.drop_guard() })
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    async fn send(&mut self, request: http::Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// Runs what a connection consists of, until its end.
#[derive(Clone)]
struct Executor {
    tasks: Tasks,
    end: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.tasks.spawn_detached(quietly(self.end.clone().run_until_cancelled_owned(future))));
    }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Level::fast());
    // Into memory nothing can fail.
    let _ = encoder.write_all(message);
    encoder.finish().unwrap_or_default()
}

/// What a receiver says, fit for one line of the log.
fn said(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
