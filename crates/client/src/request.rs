//! Requests written by hand.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use mainstay_core::{
    Body,
    context::{REQUEST_TIMEOUT, format_timeout},
};
use serde::Serialize;

use crate::{Client, Response, balance::Key, client::service_of, error::Error, retry::Repeat};

/// A request that is being put together. What is wrong with it is told by [`RequestBuilder::send`].
#[derive(Debug)]
#[must_use = "a request is made by `send`"]
pub struct RequestBuilder {
    client: Client,
    request: Result<Request<Body>, Error>,
}

impl RequestBuilder {
    pub(crate) fn new(client: Client, method: Method, url: &str) -> Self {
        let request = match url.parse::<Uri>() {
            Ok(uri) => {
                let mut request = Request::new(Body::empty());
                *request.method_mut() = method;
                *request.uri_mut() = uri;
                Ok(request)
            }
            Err(error) => Err(Error::invalid(url, error)),
        };
        Self { client, request }
    }

    /// With this header, in the place of those with the same name.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        self.change(|request| {
            let name = name.try_into().map_err(|error| Error::invalid(request.uri(), error.into()))?;
            let value = value.try_into().map_err(|error| Error::invalid(request.uri(), error.into()))?;
            request.headers_mut().insert(name, value);
            Ok(())
        });
        self
    }

    /// With `value` as its JSON body.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        self.change(|request| {
            let json = serde_json::to_vec(value).map_err(|error| Error::invalid(request.uri(), error))?;
            *request.body_mut() = Body::from(json);
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().entry(header::CONTENT_TYPE).or_insert(json);
            Ok(())
        });
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.change(|request| {
            *request.body_mut() = body.into();
            Ok(())
        });
        self
    }

    /// With a deadline `timeout` after it is sent, or that of the request which is being handled, whichever is
    /// earlier. Bounds the whole answer, body included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.change(|request| {
            request.headers_mut().insert(REQUEST_TIMEOUT, format_timeout(timeout));
            Ok(())
        });
        self
    }

    /// Says that to do it twice is as good as to do it once, whatever its method: then it is sent again where a GET would
    /// be. So does an `Idempotency-Key` header.
    pub fn idempotent(self) -> Self {
        self.extension(Repeat::Idempotent)
    }

    /// It is tried once only.
    pub fn no_retry(self) -> Self {
        self.extension(Repeat::Never)
    }

    /// Requests with equal keys, such as the id of a user, go to the same endpoint where `client.balance.policy` is `hash`,
    /// and whatever `client.balance.hash_header` says. Under other policies it says nothing.
    pub fn hash_key(self, key: impl AsRef<[u8]>) -> Self {
        self.extension(Key::of(key))
    }

    fn extension(mut self, extension: impl Clone + Send + Sync + 'static) -> Self {
        self.change(|request| {
            request.extensions_mut().insert(extension);
            Ok(())
        });
        self
    }

    /// Sends it, and waits for the head of the answer.
    ///
    /// # Errors
    /// An [`Error`] where the request was malformed or there is no answer. A status is not an error: see
    /// [`Response::error_for_status`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// As [`Client::send`].
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.request?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let target = self.client.target(service_of(&uri)?).await?;
        let policy = target.policy();
        let (answer, deadline) = self.client.send_to(&target, &policy, request).await?;
        let config = &policy.config;
        // An explicit deadline bounds the body itself.
        let read_timeout = (!deadline.is_explicit()).then(|| config.timeout.get());
        let max_body = config.max_body.as_usize();
        Ok(Response::new(answer, target.service.clone(), max_body, read_timeout, method, uri))
    }

    fn change(&mut self, change: impl FnOnce(&mut Request<Body>) -> Result<(), Error>) {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request)
        {
            self.request = Err(error);
        }
    }
}
