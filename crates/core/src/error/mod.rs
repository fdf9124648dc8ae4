//! One error type for handlers, layers and clients.
//!
//! [`Error`] is opaque: a [`Kind`], an optional sentence for the caller, and a source for the log. Its [`Kind`] alone
//! decides what goes over the wire; the table that says so is one file, [`mapping`]. A 5xx never shows its detail
//! or its source to the caller (contract ERR 3): they are logged with the request's trace id instead.
//!
//! `?` turns every `std::error::Error` into an [`Error`] of kind [`Kind::Internal`], unless its chain holds an error
//! whose kind is known (a timeout, an overload, a gRPC status).
//!
//! ```
//! use mainstay_core::{Error, Result, error::Kind};
//!
//! async fn show(id: &str) -> Result<String> {
//!     let id: u64 = id.parse().map_err(|_| Error::invalid("id", "a whole number"))?;
//!     if id == 0 {
//!         return Err(Error::new(Kind::NotFound).with_detail("there is no item 0"));
//!     }
//!     let text = std::fs::read_to_string("/no/such/file")?; // 500, details only in the log
//!     Ok(text)
//! }
//! ```

mod answer;
pub mod mapping;
mod problem;
mod report;

use std::{borrow::Cow, fmt, time::Duration};

pub use answer::Protocol;
pub use mapping::Kind;
pub use problem::{PROBLEM_JSON, Problem};
pub use report::Report;

use crate::BoxError;

/// The result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for the caller (kind, detail, violations) and for the log (source).
///
/// Does not implement `std::error::Error` itself, so that `?` can take any error; [`Error::into_boxed`] gives one
/// that does.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    source: Option<BoxError>,
}

/// One field of the request that was wrong: `errors` in problem+json, `google.rpc.BadRequest` over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Path of the field in the input, such as `items[2].quantity`.
    pub field: String,
    /// What is wrong with it, or what was expected.
    pub detail: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

impl Error {
    /// An error of this kind, without details.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, detail: None, retry_after: None, violations: Vec::new(), source: None }))
    }

    /// A wrong field of the input: HTTP 422, gRPC `INVALID_ARGUMENT`.
    pub fn invalid(field: impl Into<String>, expected: impl fmt::Display) -> Self {
        Self::new(Kind::Unprocessable).with_violation(Violation::new(field, format!("expected {expected}")))
    }

    /// A sentence for the caller. Shown for 4xx and 503; for other 5xx it goes to the log only.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// When the caller may try again: `Retry-After` (whole seconds, rounded up), `google.rpc.RetryInfo`.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds a wrong field.
    #[must_use]
    pub fn with_violation(mut self, violation: Violation) -> Self {
        self.0.violations.push(violation);
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The sentence for the caller.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The wrong fields of the input.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// When the caller may try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same request may succeed when sent again: true for [`Kind::Unavailable`] and
    /// [`Kind::ResourceExhausted`]. Says nothing about whether the request is safe to repeat.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, Kind::Unavailable | Kind::ResourceExhausted)
    }

    /// The cause.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }

    /// The first error of type `E` in the chain of causes.
    #[must_use]
    pub fn find<E: std::error::Error + 'static>(&self) -> Option<&E> {
        find(self.source()?)
    }

    /// As a `std::error::Error`.
    #[must_use]
    pub fn into_boxed(self) -> BoxError {
        Box::new(Boxed(self))
    }

    /// As a `std::error::Error` for the log: the cause itself where this error adds nothing to it, as `?` makes them.
    #[must_use]
    pub fn into_cause(self) -> BoxError {
        let adds_nothing =
            self.kind() == Kind::Internal && self.detail().is_none() && self.violations().is_empty();
        let mut inner = self.0;
        match inner.source.take() {
            Some(source) if adds_nothing => source,
            source => {
                inner.source = source;
                Self(inner).into_boxed()
            }
        }
    }

    /// Takes an erased error: an [`Error`] boxed by [`Error::into_boxed`] comes back as it was, an error whose kind
    /// is known keeps it, anything else is [`Kind::Internal`].
    #[must_use]
    pub fn from_boxed(source: BoxError) -> Self {
        match source.downcast::<Boxed>() {
            Ok(boxed) => boxed.0,
            Err(source) => mapping::classify(source),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_boxed(Box::new(error))
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

/// This level only: the kind, and the detail where there is one. [`Report`] prints the chain.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.title())?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        for Violation { field, detail } in &self.0.violations {
            write!(f, "; {field}: {detail}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("violations", &self.0.violations)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

/// The first error of type `E` in the chain that starts at `error`.
#[must_use]
pub fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// [`Error`] as a `std::error::Error`.
struct Boxed(Error);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Boxed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
