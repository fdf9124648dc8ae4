use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use pin_project_lite::pin_project;
use serde::{Deserialize, Serialize};
use tower_http::decompression::{DecompressionBody, RequestDecompression};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    BoxError,
    config::{ByteSize, Findings, Section},
    context::RequestContext,
    error::{Error, Kind, Protocol},
    middleware::{
        FromBody,
        body_limit::{Limit, length_limit_error},
    },
};

/// What is unpacked, and how much may come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DecompressionConfig {
    /// The most bytes that may come out, where no body limit stands further out. Default: 2 MiB.
    pub max_size: ByteSize,
    /// How many bytes may come out for each that went in, once 64 KiB are out. Default: 100.
    pub max_ratio: u32,
    /// Whether zstd is taken. Its decoder can be made to use 128 MiB for one request. Default: false.
    pub zstd: bool,
}

impl Default for DecompressionConfig {
    fn default() -> Self {
        Self { max_size: ByteSize::from_mib(2), max_ratio: 100, zstd: false }
    }
}

impl Section for DecompressionConfig {
    fn check(&self, findings: &mut Findings) {
        if self.max_ratio == 0 {
            findings.reject("max_ratio", "at least 1");
        }
    }
}

/// What may come out before the ratio is looked at: short texts repeat a lot.
const FREE: u64 = 64 * 1024;

/// Layer of [`Decompression`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DecompressionLayer {
    config: DecompressionConfig,
}

impl DecompressionLayer {
    /// With this configuration.
    #[must_use]
    pub fn new(config: DecompressionConfig) -> Self {
        Self { config }
    }
}

impl<S> Layer<S> for DecompressionLayer {
    type Service = Decompression<S>;

    fn layer(&self, inner: S) -> Decompression<S> {
        Decompression { inner, config: self.config }
    }
}

/// Middleware that unpacks the bodies of requests.
#[derive(Debug, Clone)]
pub struct Decompression<S> {
    inner: S,
    config: DecompressionConfig,
}

impl<S, B, R> Service<Request<B>> for Decompression<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    B: Body,
    R: FromBody,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let protocol = Protocol::of(request.headers());
        let guard = match coding(request.headers(), self.config.zstd) {
            Ok(None) => None,
            Ok(Some(coding)) => {
                request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
                let limit = request.extensions().get::<Limit>().cloned();
                Some(Guard {
                    limit: limit.unwrap_or_else(|| Limit::new(self.config.max_size.get())),
                    ratio: u64::from(self.config.max_ratio),
                    packed: Arc::default(),
                    unpacked: 0,
                    failed: false,
                    protocol,
                })
            }
            Err(Unknown) => {
                return ResponseFuture { state: State::Unknown { protocol, zstd: self.config.zstd } };
            }
        };
        let packed = guard.as_ref().map(|guard| Arc::clone(&guard.packed));
        let request = request.map(|body| Counted { inner: body, packed });
        let (parts, inner) = unpack(request).into_parts();
        let request = Request::from_parts(parts, RequestBody { inner, guard });
        ResponseFuture { state: State::Running { inner: self.inner.call(request) } }
    }
}

/// A coding, or a list of codings, that is not taken.
struct Unknown;

/// The coding of the body; `None` where it has none.
fn coding(headers: &HeaderMap, zstd: bool) -> Result<Option<&'static str>, Unknown> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unknown);
    }
    // RFC 9110 section 8.4.1: names of codings are case-insensitive, and `x-gzip` is `gzip`.
    match value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"identity" => Ok(None),
        b"gzip" | b"x-gzip" => Ok(Some("gzip")),
        b"br" => Ok(Some("br")),
        b"zstd" if zstd => Ok(Some("zstd")),
        _ => Err(Unknown),
    }
}

/// tower-http unpacks in a service of its own, which boxes the body of the answer. What it hands to the service inside
/// is all that is wanted of it.
fn unpack<B: Body>(mut request: Request<Counted<B>>) -> Request<DecompressionBody<Counted<B>>> {
    let identity = HeaderValue::from_static("identity");
    if !request.headers().contains_key(header::CONTENT_ENCODING) {
        request.headers_mut().insert(header::CONTENT_ENCODING, identity.clone());
    }
    let mut unpack = RequestDecompression::new(Capture(None)).pass_through_unaccepted(true);
    // Nothing is polled: the call has put the request there when it returns.
    drop(unpack.call(request));
    let Some(mut request) = unpack.into_inner().0 else { unreachable!("unaccepted codings pass through") };
    if request.headers().get(header::CONTENT_ENCODING) == Some(&identity) {
        request.headers_mut().remove(header::CONTENT_ENCODING);
    }
    request
}

struct Capture<B: Body>(Option<Request<DecompressionBody<B>>>);

impl<B: Body> Service<Request<DecompressionBody<B>>> for Capture<B> {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<DecompressionBody<B>>) -> Self::Future {
        self.0 = Some(request);
        ready(Ok(Response::new(Empty::new())))
    }
}

pin_project! {
    /// Counts what goes in.
    #[derive(Debug)]
    struct Counted<B> {
        #[pin]
        inner: B,
        packed: Option<Arc<AtomicU64>>,
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let (Some(packed), Poll::Ready(Some(Ok(frame)))) = (this.packed, &polled)
            && let Some(data) = frame.data_ref()
        {
            packed.fetch_add(data.remaining() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[derive(Debug)]
struct Guard {
    limit: Limit,
    ratio: u64,
    packed: Arc<AtomicU64>,
    unpacked: u64,
    failed: bool,
    protocol: Protocol,
}

impl Guard {
    /// Whether `more` bytes may come out.
    fn allows(&mut self, more: usize) -> bool {
        self.unpacked += more as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        self.failed = self.unpacked > self.limit.get()
            || (self.unpacked > FREE && self.unpacked > packed.saturating_mul(self.ratio));
        !self.failed
    }
}

pin_project! {
    /// Body of a request that passed [`Decompression`].
    pub struct RequestBody<B: Body> {
        #[pin]
        inner: DecompressionBody<Counted<B>>,
        guard: Option<Guard>,
    }
}

impl<B: Body> std::fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let Some(guard) = this.guard else { return this.inner.poll_frame(cx) };
        if guard.failed {
            return Poll::Ready(None);
        }
        let polled = std::task::ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &polled
            && let Some(data) = frame.data_ref()
            && !guard.allows(data.len())
        {
            return Poll::Ready(Some(Err(length_limit_error(guard.protocol))));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.failed) || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// Future of [`Decompression`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Running { #[pin] inner: F },
        Unknown { protocol: Protocol, zstd: bool },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: FromBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Running { inner } => inner.poll(cx),
            StateProjection::Unknown { protocol, zstd } => {
                let known = if *zstd { "gzip, br, zstd" } else { "gzip, br" };
                let context = RequestContext::current().unwrap_or_default();
                let error = Error::new(Kind::UnsupportedMediaType)
                    .with_detail(format!("expected a content encoding of {known}"));
                let mut answer = error.answer(*protocol, &context);
                // RFC 9110 section 15.5.16.
                answer.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(known));
                Poll::Ready(Ok(answer.map(R::from_body)))
            }
        }
    }
}
