//! One bounded GET over HTTP/1.1, on a connection of its own: issuers are asked every few minutes.

mod connect;

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use mainstay_core::{error::Report, task::Tasks};
use tokio_util::task::AbortOnDropHandle;

use super::url::Url;

/// No issuer has more to say.
const MOST: usize = 512 << 10;

/// Gets documents of issuers.
pub(crate) trait Fetch: Send + Sync + 'static {
    /// The document at `url`.
    fn get(&self, url: &Url) -> impl Future<Output = Result<Document, Failure>> + Send;
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// How long it may be taken for new.
    pub(crate) max_age: Option<Duration>,
}

/// Why there is none, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(super) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }

    fn of(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(format_args!("{what}: {}", Report::new(error)))
    }
}

/// Over HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) tasks: Tasks,
    /// For all of one document.
    pub(crate) timeout: Duration,
    /// Who may sign the certificates of the issuer.
    pub(crate) ca_file: Option<std::path::PathBuf>,
}

impl Fetch for Http {
    async fn get(&self, url: &Url) -> Result<Document, Failure> {
        match tokio::time::timeout(self.timeout, self.exchange(url)).await {
            Ok(document) => document,
            Err(_) => Err(Failure::new(format_args!("{url}: no answer within {:?}", self.timeout))),
        }
    }
}

impl Http {
    async fn exchange(&self, url: &Url) -> Result<Document, Failure> {
        let stream = connect::connect(url, self.ca_file.as_deref()).await?;
        let failed = |what, error: hyper::Error| Failure::of(&format!("{url}: {what}"), &error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed("the connection", error))?;
        // What goes wrong is told by the sender or the body.
        let _connection = AbortOnDropHandle::new(self.tasks.spawn_detached(async move {
            let _ = connection.await;
        }));
        let mut request = Request::get(url.path()).body(Empty::<Bytes>::new()).map_err(Failure::new)?;
        let host = HeaderValue::try_from(url.authority()).map_err(Failure::new)?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers
            .insert(header::ACCEPT, HeaderValue::from_static("application/json, application/jwk-set+json"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let agent = HeaderValue::from_static(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        let answer = sender.send_request(request).await.map_err(|error| failed("the request", error))?;
        let (head, body) = answer.into_parts();
        // Redirections are not followed: whoever can redirect could say where keys come from.
        if head.status != StatusCode::OK {
            return Err(Failure::new(format_args!("{url}: the answer is {}", head.status)));
        }
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map_err(|error| Failure::of(&format!("{url}: the answer"), &*error))?;
        Ok(Document { body: body.to_bytes(), max_age: max_age(&head.headers) })
    }
}

/// RFC 9111 section 5.2.2.1, without what has passed of it already (section 5.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let seconds = |text: &str| text.trim().trim_matches('"').parse::<u64>().ok().map(Duration::from_secs);
    let control = headers.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let age = headers.get(header::AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or_default();
    let mut max_age = None;
    for directive in control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => max_age = seconds(value),
            _ => {}
        }
    }
    max_age.map(|max_age: Duration| max_age.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_document_is_new_is_read() {
        let read = |control: &str, age: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, control.parse().unwrap());
            headers.insert(header::AGE, age.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(read("public, max-age=600, must-revalidate", "x"), Some(Duration::from_secs(600)));
        assert_eq!(read("Max-Age=\"600\"", "500"), Some(Duration::from_secs(100)));
        assert_eq!(read("max-age=600", "700"), Some(Duration::ZERO));
        assert_eq!(read("max-age=600, no-store", ""), Some(Duration::ZERO));
        assert_eq!(read("max-age=-1", ""), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
