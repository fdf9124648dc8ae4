//! Requests to the HTTP API of a registry.
//!
//! Each has a connection of its own: they are few and long, and a connection that is shared by watches fails for all
//! of them at once. Every step has a bound; certificates of authorities are read anew for each connection, since they
//! are rotated under a running process.

mod body;
mod connect;

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use mainstay_core::{error::Report, task::Tasks};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use body::Body;

use crate::{origin::Origin, registry::Tls};

/// The longest wait that a server can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Asks one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) origin: Origin,
    pub(crate) tls: Tls,
    /// For connecting, the handshake, and the head of an answer.
    pub(crate) timeout: Duration,
    pub(crate) tasks: Tasks,
}

/// An answer, of which the head is there.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// Why something did not go well, and how long the server wants to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), retry_after: None }
    }

    pub(crate) fn of(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(format_args!("{what}: {}", Report::new(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Api {
    /// Sends `request`, of which the method, the path and the headers of this API are given. The head of the answer has
    /// to be there within `timeout` and `patience`: how long the server may keep the request waiting.
    ///
    /// # Cancel safety
    /// The connection is closed when it is dropped.
    pub(crate) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let bound = self.timeout + patience;
        match tokio::time::timeout(bound, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(format_args!("no answer within {bound:?}"))),
        }
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let host = HeaderValue::try_from(self.origin.authority())
            .map_err(|error| Failure::of("the host of the server", &error))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let agent = HeaderValue::from_static(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        let stream = connect::connect(&self.origin, &self.tls).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|error| Failure::of("the connection", &error))?;
        let connection = AbortOnDropHandle::new(self.tasks.spawn_detached(async move {
            // What goes wrong is told by the sender or the body.
            let _ = connection.await;
        }));
        let answer: http::Response<Incoming> =
            sender.send_request(request).await.map_err(|error| Failure::of("the request", &error))?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: Body::new(body, connection) })
    }
}

impl Answer {
    /// As a failure, with what the server says of it.
    pub(crate) async fn refused(mut self, bound: Duration) -> Failure {
        let seconds =
            self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let said = self.body.whole(4096, bound).await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        // Kubernetes says it in a `Status`, others in plain text.
        let said = serde_json::from_str::<Status>(&said)
            .map_or_else(|_| said.trim().to_owned(), |status| status.message);
        Failure {
            what: format!("the server says {}: {said}", self.status),
            retry_after: seconds.map(Duration::from_secs).map(|wait| wait.min(LONGEST_WAIT)),
        }
    }
}

#[derive(serde::Deserialize)]
struct Status {
    message: String,
}

/// `secret` as the value of a header that is not shown.
pub(crate) fn sensitive(secret: String) -> Result<HeaderValue, Failure> {
    let mut value =
        HeaderValue::try_from(secret).map_err(|_| Failure::new("the token can't stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// As it can stand in a path or a query (RFC 3986 section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
