//! Header fields that make browsers careful.
#![doc = include_str!("README.md")]

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderName, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::config::{Duration, Findings, Section};

/// What is sent. An empty text: not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// `X-Content-Type-Options`. Default: `nosniff`.
    pub content_type_options: String,
    /// `Content-Security-Policy`. Default: `default-src 'none'; frame-ancestors 'none'`.
    pub content_security_policy: String,
    /// `X-Frame-Options`, for browsers that don't know `frame-ancestors`. Default: `DENY`.
    pub frame_options: String,
    /// `Referrer-Policy`. Default: `no-referrer`.
    pub referrer_policy: String,
    /// `Cross-Origin-Resource-Policy`. Default: `same-origin`.
    pub cross_origin_resource_policy: String,
    /// `Cross-Origin-Opener-Policy`. Default: `same-origin`.
    pub cross_origin_opener_policy: String,
    /// How long browsers use TLS only (`Strict-Transport-Security`, subdomains included); `0s`: not sent. Browsers
    /// hold on to it: turn it on when everything under the name has TLS. Default: 0 s.
    pub hsts: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            content_type_options: "nosniff".to_owned(),
            content_security_policy: "default-src 'none'; frame-ancestors 'none'".to_owned(),
            frame_options: "DENY".to_owned(),
            referrer_policy: "no-referrer".to_owned(),
            cross_origin_resource_policy: "same-origin".to_owned(),
            cross_origin_opener_policy: "same-origin".to_owned(),
            hsts: Duration::ZERO,
        }
    }
}

/// A text that can't be the value of a header field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {value:?} can't be the value of a header field")]
#[non_exhaustive]
pub struct Invalid {
    /// The key, such as `referrer_policy`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for (key, _, value) in self.texts() {
            if HeaderValue::from_str(value).is_err() {
                findings.reject(key, "visible ASCII characters");
            }
        }
    }
}

impl Config {
    fn texts(&self) -> [(&'static str, HeaderName, &str); 6] {
        const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
        const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
        [
            ("content_type_options", header::X_CONTENT_TYPE_OPTIONS, &self.content_type_options),
            ("content_security_policy", header::CONTENT_SECURITY_POLICY, &self.content_security_policy),
            ("frame_options", header::X_FRAME_OPTIONS, &self.frame_options),
            ("referrer_policy", header::REFERRER_POLICY, &self.referrer_policy),
            ("cross_origin_resource_policy", RESOURCE, &self.cross_origin_resource_policy),
            ("cross_origin_opener_policy", OPENER, &self.cross_origin_opener_policy),
        ]
    }
}

/// Layer of [`SecurityHeaders`].
///
/// tower-http sets several fields with a box each, copied for every clone of the service; here they are shared.
#[derive(Debug, Clone)]
pub struct SecurityHeadersLayer {
    fields: Arc<[(HeaderName, HeaderValue)]>,
}

impl SecurityHeadersLayer {
    /// With this configuration.
    ///
    /// # Errors
    /// [`Invalid`]: the first text that can't be sent.
    pub fn new(config: &Config) -> Result<Self, Invalid> {
        let mut fields = Vec::new();
        for (key, name, value) in config.texts().into_iter().filter(|(.., value)| !value.is_empty()) {
            let value = HeaderValue::from_str(value).map_err(|_| Invalid { key, value: value.to_owned() })?;
            fields.push((name, value));
        }
        if !config.hsts.is_zero() {
            let value = format!("max-age={}; includeSubDomains", config.hsts.as_secs());
            let value = HeaderValue::from_str(&value).map_err(|_| Invalid { key: "hsts", value })?;
            fields.push((header::STRICT_TRANSPORT_SECURITY, value));
        }
        Ok(Self { fields: fields.into() })
    }
}

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;

    fn layer(&self, inner: S) -> SecurityHeaders<S> {
        SecurityHeaders { inner, fields: Arc::clone(&self.fields) }
    }
}

/// Middleware that adds security header fields where they are missing.
#[derive(Debug, Clone)]
pub struct SecurityHeaders<S> {
    inner: S,
    fields: Arc<[(HeaderName, HeaderValue)]>,
}

impl<S, B, R> Service<Request<B>> for SecurityHeaders<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture { inner: self.inner.call(request), fields: Arc::clone(&self.fields) }
    }
}

pin_project! {
    /// Future of [`SecurityHeaders`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        fields: Arc<[(HeaderName, HeaderValue)]>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        for (name, value) in this.fields.iter() {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{Body, middleware::probe};

    #[tokio::test]
    async fn keeps_the_contract_of_a_layer() {
        probe::check(SecurityHeadersLayer::new(&Config::default()).unwrap()).await;
    }

    #[tokio::test]
    async fn what_is_missing_is_added_and_what_is_there_stays() {
        let own = || async { ([(header::CONTENT_SECURITY_POLICY, "default-src 'self'")], "page") };
        let config =
            Config { frame_options: String::new(), hsts: Duration::from_secs(3600), ..Config::default() };
        let app = Router::new().route("/", get(own)).layer(SecurityHeadersLayer::new(&config).unwrap());
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::STRICT_TRANSPORT_SECURITY], "max-age=3600; includeSubDomains");
        assert!(!response.headers().contains_key(header::X_FRAME_OPTIONS));
    }

    #[test]
    fn a_text_that_can_not_be_sent_is_refused_and_named() {
        let config = Config { referrer_policy: "a\nb".to_owned(), ..Config::default() };
        assert_eq!(SecurityHeadersLayer::new(&config).unwrap_err().key, "referrer_policy");
        let mut findings = Findings::default();
        config.check(&mut findings);
        assert!(format!("{findings:?}").contains("referrer_policy"));
    }
}
