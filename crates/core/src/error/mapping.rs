//! The one table that says what each kind of error is over HTTP and over gRPC.
//!
//! HTTP statuses are those of RFC 9110 section 15 (and RFC 6585 for 429 and 431); gRPC codes those of
//! `google.rpc.Code`, chosen as `google/rpc/code.proto` says, with the HTTP-only kinds mapped to the nearest one.

use std::time::Duration;

use http::StatusCode;

use super::{Error, find};
use crate::BoxError;

/// Makes [`Kind`] and its table from one list, so that a kind can't be added without its mapping.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $status:literal, $code:literal, $slug:literal, $title:literal;)*) => {
        /// What kind of failure an [`Error`] is; decides the HTTP status and the gRPC code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All kinds, in the order of their HTTP status.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let code: u16 = match self { $(Kind::$name => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The number of the gRPC code (`google.rpc.Code`).
            #[must_use]
            pub fn grpc_code(self) -> i32 {
                match self { $(Kind::$name => $code,)* }
            }

            /// The name used in problem types and in `google.rpc.ErrorInfo.reason` (there in upper case).
            #[must_use]
            pub fn slug(self) -> &'static str {
                match self { $(Kind::$name => $slug,)* }
            }

            /// A short title: the `title` of problem+json.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Kind::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request can't be understood: HTTP 400, gRPC `INVALID_ARGUMENT`.
    InvalidArgument => 400, 3, "bad-request", "bad request";
    /// No or no valid credentials: HTTP 401, gRPC `UNAUTHENTICATED`.
    Unauthenticated => 401, 16, "unauthenticated", "unauthenticated";
    /// The caller may not do this: HTTP 403, gRPC `PERMISSION_DENIED`.
    PermissionDenied => 403, 7, "permission-denied", "permission denied";
    /// There is no such thing: HTTP 404, gRPC `NOT_FOUND`.
    NotFound => 404, 5, "not-found", "not found";
    /// The resource exists, the method is not for it: HTTP 405, gRPC `UNIMPLEMENTED`.
    MethodNotAllowed => 405, 12, "method-not-allowed", "method not allowed";
    /// No representation that the caller accepts: HTTP 406, gRPC `INVALID_ARGUMENT`.
    NotAcceptable => 406, 3, "not-acceptable", "not acceptable";
    /// The request did not arrive in time: HTTP 408, gRPC `DEADLINE_EXCEEDED`.
    RequestTimeout => 408, 4, "request-timeout", "request timeout";
    /// The state of the thing does not allow this now: HTTP 409, gRPC `ABORTED`.
    Conflict => 409, 10, "conflict", "conflict";
    /// The thing exists already: HTTP 409, gRPC `ALREADY_EXISTS`.
    AlreadyExists => 409, 6, "already-exists", "already exists";
    /// A precondition of the request does not hold: HTTP 412, gRPC `FAILED_PRECONDITION`.
    FailedPrecondition => 412, 9, "failed-precondition", "failed precondition";
    /// The body is larger than the bound: HTTP 413, gRPC `RESOURCE_EXHAUSTED`.
    ContentTooLarge => 413, 8, "content-too-large", "content too large";
    /// The request target is longer than the bound: HTTP 414, gRPC `INVALID_ARGUMENT`.
    UriTooLong => 414, 3, "uri-too-long", "uri too long";
    /// The body has a type or coding that is not taken here: HTTP 415, gRPC `INVALID_ARGUMENT`.
    UnsupportedMediaType => 415, 3, "unsupported-media-type", "unsupported media type";
    /// The request is not for an authority served here: HTTP 421, gRPC `INVALID_ARGUMENT`.
    Misdirected => 421, 3, "misdirected-request", "misdirected request";
    /// The request is understood, a field of it is wrong: HTTP 422, gRPC `INVALID_ARGUMENT`.
    Unprocessable => 422, 3, "unprocessable-content", "unprocessable content";
    /// The caller is over its rate or quota: HTTP 429, gRPC `RESOURCE_EXHAUSTED`.
    ResourceExhausted => 429, 8, "too-many-requests", "too many requests";
    /// Too many or too large header fields: HTTP 431, gRPC `RESOURCE_EXHAUSTED`.
    HeaderFieldsTooLarge => 431, 8, "header-fields-too-large", "request header fields too large";
    /// The caller went away: HTTP 499 (never seen by it), gRPC `CANCELLED`.
    Cancelled => 499, 1, "cancelled", "client closed request";
    /// A fault of the service: HTTP 500, gRPC `INTERNAL`.
    Internal => 500, 13, "internal", "internal server error";
    /// Not implemented: HTTP 501, gRPC `UNIMPLEMENTED`.
    Unimplemented => 501, 12, "unimplemented", "not implemented";
    /// A service behind this one answered wrongly: HTTP 502, gRPC `UNAVAILABLE`.
    BadGateway => 502, 14, "bad-gateway", "bad gateway";
    /// Not now: overload, drain, a missing dependency: HTTP 503, gRPC `UNAVAILABLE`.
    Unavailable => 503, 14, "unavailable", "service unavailable";
    /// The deadline passed: HTTP 504, gRPC `DEADLINE_EXCEEDED`.
    DeadlineExceeded => 504, 4, "deadline-exceeded", "deadline exceeded";
}

impl Kind {
    /// The kind of an HTTP status: the first with that status, else by its class.
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        let known = Self::ALL.iter().copied().find(|kind| kind.status() == status);
        known.unwrap_or(if status.is_client_error() { Self::InvalidArgument } else { Self::Internal })
    }

    /// The kind of a gRPC code.
    #[must_use]
    pub fn from_grpc_code(code: i32) -> Self {
        match code {
            1 => Self::Cancelled,
            3 | 11 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Conflict,
            12 => Self::Unimplemented,
            14 => Self::Unavailable,
            16 => Self::Unauthenticated,
            _ => Self::Internal,
        }
    }

    /// Whether the detail of such an error may be shown to the caller (contract ERR 3).
    #[must_use]
    pub fn shows_detail(self) -> bool {
        !self.status().is_server_error()
            || matches!(self, Self::Unavailable | Self::DeadlineExceeded | Self::BadGateway)
    }
}

/// An error with a kind of its own: implemented by the event structs of the layers, so that they keep their meaning
/// when they come back through a type-erased stack.
pub trait Classify: std::error::Error + Send + Sync + 'static {
    /// The kind.
    fn kind(&self) -> Kind;

    /// When the caller may try again.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// The deadline of a request passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
#[non_exhaustive]
pub struct Elapsed;

impl Elapsed {
    /// The event.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Default for Elapsed {
    fn default() -> Self {
        Self::new()
    }
}

impl Classify for Elapsed {
    fn kind(&self) -> Kind {
        Kind::DeadlineExceeded
    }
}

/// The service has no room for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service is overloaded")]
#[non_exhaustive]
pub struct Overloaded {
    /// When to try again.
    pub retry_after: Duration,
}

impl Overloaded {
    /// Overloaded; try again after `retry_after`.
    #[must_use]
    pub fn new(retry_after: Duration) -> Self {
        Self { retry_after }
    }
}

impl Classify for Overloaded {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.retry_after)
    }
}

/// A cause with its kind: how the error types of the crates above this one say what they mean when `?` turns them
/// into an [`Error`]. They hold it as their source; the outermost one of a chain counts. Displays as the cause does.
#[derive(Debug)]
pub struct Classified {
    kind: Kind,
    retry_after: Option<Duration>,
    cause: BoxError,
}

impl Classified {
    /// `cause`, of this kind.
    pub fn new(kind: Kind, cause: impl Into<BoxError>) -> Self {
        Self { kind, retry_after: None, cause: cause.into() }
    }

    /// When the caller may try again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The cause itself.
    #[must_use]
    pub fn cause(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self.cause.as_ref()
    }
}

impl std::fmt::Display for Classified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Classified {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl Classify for Classified {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// Gives a foreign error its kind, by its type.
pub(super) fn classify(source: BoxError) -> Error {
    let (kind, retry_after) = known(source.as_ref());
    let error = Error::new(kind).with_source(source);
    match retry_after {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

fn known(error: &(dyn std::error::Error + 'static)) -> (Kind, Option<Duration>) {
    if let Some(event) = find::<Classified>(error) {
        return (event.kind(), event.retry_after());
    }
    if let Some(event) = find::<Elapsed>(error) {
        return (event.kind(), None);
    }
    if let Some(event) = find::<Overloaded>(error) {
        return (event.kind(), event.retry_after());
    }
    #[cfg(feature = "grpc")]
    if let Some(status) = find::<tonic::Status>(error) {
        return (Kind::from_grpc_code(status.code() as i32), None);
    }
    if let Some(event) = find::<crate::server::BodyError>(error) {
        return (event.kind(), None);
    }
    if find::<http_body_util::LengthLimitError>(error).is_some() {
        return (Kind::ContentTooLarge, None);
    }
    (Kind::Internal, None)
}

#[cfg(feature = "grpc")]
mod grpc {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::Error;
    use crate::context::RequestContext;

    /// The domain of `google.rpc.ErrorInfo`.
    const DOMAIN: &str = "mainstay";

    impl From<Error> for Status {
        /// The status with `google.rpc.ErrorInfo`, and `RetryInfo` and `BadRequest` where they apply
        /// (contract ERR 2). The detail of a fault stays in the log.
        fn from(error: Error) -> Self {
            error.log();
            let kind = error.kind();
            let message = match error.detail() {
                Some(detail) if kind.shows_detail() => detail,
                _ => kind.title(),
            };
            let mut details = ErrorDetails::new();
            let mut metadata = std::collections::HashMap::new();
            if let Some(context) = RequestContext::current() {
                metadata.insert("trace_id".to_owned(), context.trace().trace_id().to_string());
            }
            details.set_error_info(kind.slug().replace('-', "_").to_uppercase(), DOMAIN, metadata);
            if let Some(delay) = error.retry_after() {
                details.set_retry_info(Some(delay));
            }
            for violation in error.violations() {
                details.add_bad_request_violation(&violation.field, &violation.detail);
            }
            Status::with_error_details(Code::from_i32(kind.grpc_code()), message, details)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the call failed")]
    struct Call(#[source] Classified);

    #[test]
    fn an_error_of_another_crate_keeps_its_kind_through_a_question_mark() {
        fn handler() -> crate::Result<()> {
            // The kind that the caller of the crate sees wins over what the cause would be on its own.
            Err(Call(Classified::new(Kind::BadGateway, Elapsed).with_retry_after(Duration::from_secs(3))))?
        }
        let error = handler().unwrap_err();
        assert_eq!(error.kind(), Kind::BadGateway);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        let chain = super::super::Report::new(error.source().unwrap()).to_string();
        assert_eq!(chain, "the call failed: the deadline passed");
    }
}
