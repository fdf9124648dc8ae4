//! What can go wrong with a call.
//!
//! Each event names the service, and the endpoint where there was one. `?` turns them into a
//! [`mainstay_core::Error`] of the kind that each says.

use std::{fmt, time::Duration};

use http::StatusCode;
use mainstay_core::{
    BoxError,
    error::{
        Kind,
        mapping::{Classified, Elapsed as DeadlinePassed, Overloaded as CoreOverloaded},
    },
};
use mainstay_discovery::{Address, ServiceName};

use crate::breaker::Open;

/// Why a call got no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request can't be sent to any service.
    #[error(transparent)]
    Invalid(#[from] Box<Invalid>),
    /// The service has no endpoint.
    #[error(transparent)]
    NoEndpoint(#[from] Box<NoEndpoint>),
    /// The breaker of the service is open; the request was not sent.
    #[error(transparent)]
    BreakerOpen(#[from] Box<BreakerOpen>),
    /// All endpoints have as many requests as they may have; the request was not sent.
    #[error(transparent)]
    Overloaded(#[from] Box<Overloaded>),
    /// There are no credentials to show; the request was not sent.
    #[error(transparent)]
    Credentials(#[from] Box<Credentials>),
    /// No connection to the endpoint; the request was not sent.
    #[error(transparent)]
    Connect(#[from] Box<Connect>),
    /// The connection ended before the answer, or what came was no answer.
    #[error(transparent)]
    Reset(#[from] Box<Reset>),
    /// The body of the request broke off, or is not allowed to go on.
    #[error(transparent)]
    Request(#[from] Box<RequestBody>),
    /// The deadline passed.
    #[error(transparent)]
    Elapsed(#[from] Box<Elapsed>),
    /// In-process calls called each other too deep.
    #[error(transparent)]
    Loop(#[from] Box<Loop>),
    /// The answer has a status that was not wanted.
    #[error(transparent)]
    Status(#[from] Box<Status>),
    /// The body of the answer could not be read.
    #[error(transparent)]
    Body(#[from] Box<Body>),
}

/// The body of the request broke off, or is not allowed to go on: of the kind that what broke it has, such as
/// [`Kind::ContentTooLarge`] for a body that a proxy passes on and that is over its limit.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the request to service `{service}`")]
#[non_exhaustive]
pub struct RequestBody {
    /// Which service.
    pub service: ServiceName,
    source: Classified,
}

/// The request can't be sent to any service: a fault of the program, [`Kind::Internal`].
#[derive(Debug, thiserror::Error)]
#[error("cannot call `{url}`")]
#[non_exhaustive]
pub struct Invalid {
    /// The URL, or what was to be one.
    pub url: String,
    /// What is wrong.
    pub source: BoxError,
}

/// The service has no endpoint: [`Kind::Unavailable`].
#[derive(Debug, thiserror::Error)]
#[error("no endpoint of service `{service}` is known")]
#[non_exhaustive]
pub struct NoEndpoint {
    /// Which.
    pub service: ServiceName,
    /// The services that have endpoints.
    pub known: Vec<ServiceName>,
    source: Classified,
}

/// The breaker of the service is open, and the request was not sent: [`Kind::Unavailable`], with the time after which
/// calls are made again.
#[derive(Debug, thiserror::Error)]
#[error("calls to service `{service}` have failed too often")]
#[non_exhaustive]
pub struct BreakerOpen {
    /// Which service.
    pub service: ServiceName,
    /// When calls are made again.
    pub retry_after: Duration,
    source: Classified,
}

/// All endpoints have as many requests as [`client.limit`](crate::limit::Config) allows, and the request was not sent:
/// [`Kind::Unavailable`].
#[derive(Debug, thiserror::Error)]
#[error("the endpoints of service `{service}` have as many requests as `client.limit` allows")]
#[non_exhaustive]
pub struct Overloaded {
    /// Which service.
    pub service: ServiceName,
    source: CoreOverloaded,
}

/// There are no [credentials](mainstay_core::credentials) to show, and the request was not sent: of the kind that the reason has, such
/// as [`Kind::Unavailable`] while who issues tokens is away.
#[derive(Debug, thiserror::Error)]
#[error("no credentials for service `{service}`")]
#[non_exhaustive]
pub struct Credentials {
    /// Which service.
    pub service: ServiceName,
    source: Classified,
}

/// No connection to the endpoint; the request was not sent: [`Kind::Unavailable`].
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to service `{service}` at {endpoint}")]
#[non_exhaustive]
pub struct Connect {
    /// Which service.
    pub service: ServiceName,
    /// Which endpoint of it.
    pub endpoint: Address,
    source: Classified,
}

/// The connection ended before the answer, or what came was no answer: [`Kind::BadGateway`]. Whether the request was
/// worked on is not known.
#[derive(Debug, thiserror::Error)]
#[error("no answer from service `{service}` at {endpoint}")]
#[non_exhaustive]
pub struct Reset {
    /// Which service.
    pub service: ServiceName,
    /// Which endpoint of it.
    pub endpoint: Address,
    source: Classified,
}

/// The deadline passed: [`Kind::DeadlineExceeded`].
#[derive(Debug, thiserror::Error)]
#[error("service `{service}`{} did not answer after {waited:?}", At(endpoint.as_ref()))]
#[non_exhaustive]
pub struct Elapsed {
    /// Which service.
    pub service: ServiceName,
    /// The endpoint that was tried last, if one was.
    pub endpoint: Option<Address>,
    /// How long the call took.
    pub waited: Duration,
    source: DeadlinePassed,
}

/// In-process calls called each other too deep: [`Kind::Internal`].
#[derive(Debug, thiserror::Error)]
#[error(
    "the in-process call to service `{service}` is nested {depth} deep: do services call each other in a loop?"
)]
#[non_exhaustive]
pub struct Loop {
    /// Which service was to be called.
    pub service: ServiceName,
    /// How deep.
    pub depth: u32,
}

/// The answer has a status that was not wanted: [`Kind::DeadlineExceeded`] for 504, [`Kind::Unavailable`] for 429 and
/// 503, [`Kind::BadGateway`] for the others.
#[derive(Debug, thiserror::Error)]
#[error("service `{service}` answered {status}")]
#[non_exhaustive]
pub struct Status {
    /// Which service.
    pub service: ServiceName,
    /// The status.
    pub status: StatusCode,
    source: Classified,
}

/// The body of the answer could not be read: [`Kind::DeadlineExceeded`] or [`Kind::BadGateway`].
#[derive(Debug, thiserror::Error)]
#[error("cannot read the answer of service `{service}`")]
#[non_exhaustive]
pub struct Body {
    /// Which service.
    pub service: ServiceName,
    source: Classified,
}

impl Error {
    /// Whether the deadline passed, while waiting for the answer or while reading it.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        mainstay_core::error::find::<DeadlinePassed>(self).is_some()
            || matches!(self, Self::Body(body) if body.source.cause().is::<DeadlinePassed>())
    }

    pub(crate) fn invalid(url: impl fmt::Display, source: impl Into<BoxError>) -> Self {
        Box::new(Invalid { url: url.to_string(), source: source.into() }).into()
    }

    pub(crate) fn no_endpoint(service: &ServiceName, known: Vec<ServiceName>) -> Self {
        let names = if known.is_empty() {
            "none".to_owned()
        } else {
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let hint = format!(
            "known services: {names}; if it runs elsewhere, set `discovery.static.{service}` to its addresses, such \
             as [\"http://127.0.0.1:8081\"]"
        );
        let source = Classified::new(Kind::Unavailable, hint);
        Box::new(NoEndpoint { service: service.clone(), known, source }).into()
    }

    pub(crate) fn breaker_open(service: &ServiceName, open: Open) -> Self {
        let retry_after = open.retry_after;
        let source = Classified::new(Kind::Unavailable, open).with_retry_after(retry_after);
        Box::new(BreakerOpen { service: service.clone(), retry_after, source }).into()
    }

    pub(crate) fn overloaded(service: &ServiceName) -> Self {
        let source = CoreOverloaded::new(Duration::from_secs(1));
        Box::new(Overloaded { service: service.clone(), source }).into()
    }

    /// Whether it says that the service, or the way to it, is not well.
    pub(crate) fn blames_service(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Reset(_) | Self::Elapsed(_))
    }

    pub(crate) fn connect(service: &ServiceName, endpoint: &Address, cause: BoxError) -> Self {
        let source = Classified::new(Kind::Unavailable, cause);
        Box::new(Connect { service: service.clone(), endpoint: endpoint.clone(), source }).into()
    }

    pub(crate) fn reset(service: &ServiceName, endpoint: &Address, cause: BoxError) -> Self {
        let source = Classified::new(Kind::BadGateway, cause);
        Box::new(Reset { service: service.clone(), endpoint: endpoint.clone(), source }).into()
    }

    pub(crate) fn request_body(service: &ServiceName, cause: BoxError) -> Self {
        let cause = mainstay_core::Error::from_boxed(cause);
        let source = Classified::new(cause.kind(), cause.into_boxed());
        Box::new(RequestBody { service: service.clone(), source }).into()
    }

    pub(crate) fn credentials(service: &ServiceName, cause: BoxError) -> Self {
        let cause = mainstay_core::Error::from_boxed(cause);
        let source = Classified::new(cause.kind(), cause.into_boxed());
        Box::new(Credentials { service: service.clone(), source }).into()
    }

    pub(crate) fn elapsed(service: &ServiceName, endpoint: Option<Address>, waited: Duration) -> Self {
        let source = DeadlinePassed::new();
        Box::new(Elapsed { service: service.clone(), endpoint, waited, source }).into()
    }

    pub(crate) fn nested(service: &ServiceName, depth: u32) -> Self {
        Box::new(Loop { service: service.clone(), depth }).into()
    }

    pub(crate) fn status(
        service: &ServiceName,
        status: StatusCode,
        retry_after: Option<Duration>,
        detail: String,
    ) -> Self {
        let kind = match status {
            StatusCode::GATEWAY_TIMEOUT => Kind::DeadlineExceeded,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
            _ => Kind::BadGateway,
        };
        let mut source = Classified::new(kind, detail);
        if let Some(delay) = retry_after {
            source = source.with_retry_after(delay);
        }
        Box::new(Status { service: service.clone(), status, source }).into()
    }

    pub(crate) fn body(service: &ServiceName, cause: BoxError) -> Self {
        let kind = match mainstay_core::error::find::<DeadlinePassed>(cause.as_ref()) {
            Some(_) => Kind::DeadlineExceeded,
            None => Kind::BadGateway,
        };
        Box::new(Body { service: service.clone(), source: Classified::new(kind, cause) }).into()
    }
}

struct At<'a>(Option<&'a Address>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, " at {address}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_kind_and_its_place() {
        let service: ServiceName = "stock".parse().unwrap();
        let address = Address::Tcp("127.0.0.1".into(), 9);
        let refused = || BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let after = Some(Duration::from_secs(2));
        let cases = [
            (Error::invalid("x", "y"), Kind::Internal, "cannot call `x`: y"),
            (
                Error::connect(&service, &address, refused()),
                Kind::Unavailable,
                "cannot connect to service `stock` at 127.0.0.1:9: connection refused",
            ),
            (
                Error::breaker_open(&service, Open { retry_after: Duration::from_secs(2) }),
                Kind::Unavailable,
                "calls to service `stock` have failed too often: calls are made again in 2s",
            ),
            (
                Error::reset(&service, &address, refused()),
                Kind::BadGateway,
                "no answer from service `stock` at 127.0.0.1:9: connection refused",
            ),
            (
                Error::elapsed(&service, Some(address.clone()), Duration::from_secs(1)),
                Kind::DeadlineExceeded,
                "service `stock` at 127.0.0.1:9 did not answer after 1s: the deadline passed",
            ),
            (
                Error::body(&service, Box::new(DeadlinePassed::new())),
                Kind::DeadlineExceeded,
                "cannot read the answer of service `stock`: the deadline passed",
            ),
            (
                Error::status(&service, StatusCode::SERVICE_UNAVAILABLE, after, "draining".into()),
                Kind::Unavailable,
                "service `stock` answered 503 Service Unavailable: draining",
            ),
        ];
        for (error, kind, text) in cases {
            assert_eq!(mainstay_core::error::Report::new(&error).to_string(), text);
            let is_told = matches!(error, Error::Status(_) | Error::BreakerOpen(_));
            let retry_after = is_told.then_some(Duration::from_secs(2));
            let error = mainstay_core::Error::from(error);
            assert_eq!(error.kind(), kind, "{text}");
            assert_eq!(error.retry_after(), retry_after);
        }
    }

    #[test]
    fn an_unknown_service_is_told_what_is_known_and_what_to_set() {
        let known = vec!["orders".parse().unwrap(), "payments".parse().unwrap()];
        let error = Error::no_endpoint(&"stock".parse().unwrap(), known);
        assert_eq!(
            mainstay_core::error::Report::new(&error).to_string(),
            "no endpoint of service `stock` is known: known services: `orders`, `payments`; if it runs elsewhere, \
             set `discovery.static.stock` to its addresses, such as [\"http://127.0.0.1:8081\"]"
        );
    }
}
