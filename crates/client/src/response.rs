//! Answers read by hand.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use mainstay_core::{Body, BoxError, error::mapping::Elapsed};
use mainstay_discovery::ServiceName;
use serde::de::DeserializeOwned;

use crate::{error::Error, retry::answer::retry_after};

/// The head of an answer, and the body to come.
#[derive(Debug)]
pub struct Response {
    inner: http::Response<Body>,
    service: ServiceName,
    method: Method,
    uri: Uri,
    max_body: usize,
    /// None where the deadline of the call bounds the body.
    read_timeout: Option<Duration>,
}

impl Response {
    pub(crate) fn new(
        inner: http::Response<Body>,
        service: ServiceName,
        max_body: usize,
        read_timeout: Option<Duration>,
        method: Method,
        uri: Uri,
    ) -> Self {
        Self { inner, service, method, uri, max_body, read_timeout }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Itself, if the status is below 400.
    ///
    /// # Errors
    /// [`Error::Status`] if not; with the `Retry-After` of the answer, up to a day.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status();
        if status.as_u16() < 400 {
            return Ok(self);
        }
        let after = retry_after(self.headers());
        let asked = format!("{} {}", self.method, self.uri.path());
        Err(Error::status(&self.service, status, after, asked))
    }

    /// With another bound for [`Response::bytes`], [`Response::text`] and [`Response::json`], in bytes. The default
    /// is `client.max_body`.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The whole body. Where the call has no deadline of its own, `client.timeout` bounds the reading too.
    ///
    /// # Errors
    /// [`Error::Body`] if it is larger than the bound, breaks off, or the time is over.
    ///
    /// # Cancel safety
    /// Dropping it ends the call.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let collecting = Limited::new(self.inner.into_body(), self.max_body).collect();
        let body = match self.read_timeout {
            None => collecting.await,
            Some(timeout) => match tokio::time::timeout(timeout, collecting).await {
                Ok(body) => body,
                Err(_) => Err(Box::new(Elapsed::new()) as BoxError),
            },
        };
        Ok(body.map_err(|error| Error::body(&self.service, error))?.to_bytes())
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// As [`Response::bytes`], and if it is not UTF-8.
    ///
    /// # Cancel safety
    /// Dropping it ends the call.
    pub async fn text(self) -> Result<String, Error> {
        let service = self.service.clone();
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into()).map_err(|error| Error::body(&service, error.into()))
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// As [`Response::bytes`], and if it is not such a value.
    ///
    /// # Cancel safety
    /// Dropping it ends the call.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let service = self.service.clone();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::body(&service, error.into()))
    }

    /// As it came; the body streams.
    #[must_use]
    pub fn into_inner(self) -> http::Response<Body> {
        self.inner
    }
}
