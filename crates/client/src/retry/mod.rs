//! What may be sent again, and how often.
//!
//! | what happened | sent again |
//! |---|---|
//! | no connection; the request was not written; the stream was refused (HTTP/2 `REFUSED_STREAM`, or beyond the last stream of a GOAWAY) | any method |
//! | the connection broke before an answer, or the attempt took too long | what is idempotent: by its method (RFC 9110 section 9.2.2), its `Idempotency-Key`, or [declared](Repeat) |
//! | an answer whose status or code is listed in [`Config`] | the same, unless the answer says "don't", or the request came as a repeat itself |
//! | any other answer | never |
//!
//! And in each case only if the body is still there (`retry.max_body`), attempts are left, there is time for one, and the
//! [`Budget`] of the service allows it. What is certain not to have been worked on (the first row) is neither an attempt
//! nor paid for: once after it left this process, four times before, at other endpoints that are well.
//!
//! **When not to use it.** In more than one tier of a chain, for answers: a service that is overloaded is not helped by more of
//! them. **Where it stands.** Inside of deadlines, outside of the choice of an endpoint. The client does all of this itself
//! (`client.retry`); [`RetryLayer`] is for other stacks, and knows less of what was done: an error of the service inside is
//! of the second row.
//!
//! ```
//! use http::{Request, Response};
//! use mainstay_client::retry::{Budget, Config, RetryLayer};
//! use mainstay_core::Body;
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let inner = service_fn(async |request: Request<Body>| {
//!     let mut answer = Response::new(Body::empty());
//!     if request.headers()["x-request-attempt"] == "0" {
//!         *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
//!     }
//!     Ok::<_, std::io::Error>(answer)
//! });
//! let mut config = Config::default();
//! config.statuses = vec![503];
//! let repeated = RetryLayer::new(config, Budget::new()).layer(inner);
//! assert_eq!(repeated.oneshot(Request::new(Body::from("whole"))).await.unwrap().status(), 200);
//! # }
//! ```
//!
//! **On drop.** The attempt that is under way is dropped.
//!
//! The budget works alone, too; under tower's retries for instance:
//!
//! ```
//! use mainstay_client::retry::Budget;
//!
//! #[derive(Clone)]
//! struct Policy(Budget);
//!
//! impl<E> tower::retry::Policy<String, String, E> for Policy {
//!     type Future = std::future::Ready<()>;
//!
//!     fn retry(&mut self, _: &mut String, result: &mut Result<String, E>) -> Option<Self::Future> {
//!         if result.is_ok() {
//!             self.0.deposit(0.2);
//!             return None;
//!         }
//!         self.0.withdraw().then(|| std::future::ready(()))
//!     }
//!
//!     fn clone_request(&mut self, request: &String) -> Option<String> {
//!         Some(request.clone())
//!     }
//! }
//! ```

pub(crate) mod answer;
pub(crate) mod backoff;
mod budget;
mod details;
mod layer;
pub(crate) mod payload;
pub(crate) mod refusal;

use http::{HeaderName, request::Parts};
use mainstay_core::config::{ByteSize, Duration, Findings, Section};
use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub use layer::{ResponseFuture, Retry, RetryLayer};

use crate::{config::layered::layered, outgoing};

layered! {
    /// The table `client.retry`: what is sent again, and how often.
    values {
        /// How often a call is tried at most, the first time and hedges included; 1 turns retries and hedges off.
        /// Default 3.
        max_attempts: u32 = 3,
        /// Retries and hedges as a share of the calls that succeed, between 0 and 1; 0 turns both off. Default 0.2.
        budget: f64 = 0.2,
        /// HTTP statuses (400 to 599) after which idempotent requests are sent again. Default: none.
        statuses: Vec<u16> = Vec::new(),
        /// gRPC codes after which idempotent requests are sent again. Default: none.
        codes: Vec<Code> = Vec::new(),
        /// gRPC methods that are idempotent, such as `/inventory.v1.Inventory/Get`; with `/` at the end all of a service,
        /// `/inventory.v1.Inventory/`. Default: none.
        idempotent: Vec<String> = Vec::new(),
        /// Up to so long is waited before the first repeat, doubled with each further one. Where nothing was processed
        /// and there is another endpoint nothing is waited. Default `25ms`.
        backoff: Duration = Duration::from_millis(25),
        /// The longest of these waits, save for one that the service asks for. Default `1s`.
        max_backoff: Duration = Duration::from_secs(1),
        /// Until the head of the answer, for each attempt; `0s`: what is left of the deadline. Default `0s`.
        attempt_timeout: Duration = Duration::ZERO,
        /// Bodies up to this size that are in memory when the call begins are kept for another attempt. Default `64KiB`.
        max_body: ByteSize = ByteSize::from_kib(64),
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if self.max_attempts == 0 {
            findings.reject("max_attempts", "at least 1; 1 turns retries off");
        }
        if !(0.0..=1.0).contains(&self.budget) {
            findings.reject("budget", "a share between 0 and 1");
        }
        if !self.statuses.iter().all(|status| (400..=599).contains(status)) {
            findings.reject("statuses", "statuses of errors, 400 to 599");
        }
        let is_method = |path: &String| path.strip_prefix('/').is_some_and(|path| path.contains('/'));
        if !self.idempotent.iter().all(is_method) {
            let expected =
                "gRPC methods, such as `/inventory.v1.Inventory/Get`, or services, with `/` at the end";
            findings.reject("idempotent", expected);
        }
        if self.backoff > self.max_backoff {
            findings.reject("backoff", format_args!("at most `max_backoff` ({})", self.max_backoff));
        }
    }
}

/// A status code of gRPC after which a request can make sense once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// `CANCELLED`
    Cancelled,
    /// `UNKNOWN`
    Unknown,
    /// `DEADLINE_EXCEEDED`
    DeadlineExceeded,
    /// `RESOURCE_EXHAUSTED`
    ResourceExhausted,
    /// `ABORTED`
    Aborted,
    /// `INTERNAL`
    Internal,
    /// `UNAVAILABLE`
    Unavailable,
}

impl Code {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Cancelled => 1,
            Self::Unknown => 2,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Aborted => 10,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}

/// What the caller knows about sending a request again: an extension of the request, in tonic's as well.
///
/// ```
/// # use mainstay_client::retry::Repeat;
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(Repeat::Idempotent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repeat {
    /// Doing it twice is as good as once, whatever its method.
    Idempotent,
    /// It is tried once.
    Never,
}

/// A server that knows this header does the work of a key once (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Repeat {
    /// What is known of a request; `None` is one that must not be done twice.
    pub(crate) fn of(request: &Parts, config: &Config) -> Option<Self> {
        let listed = |path: &str| {
            let is_it = |listed: &str| path == listed || (listed.ends_with('/') && path.starts_with(listed));
            config.idempotent.iter().any(|listed| is_it(listed))
        };
        let is_idempotent = || {
            request.method.is_idempotent()
                || request.headers.contains_key(IDEMPOTENCY_KEY)
                || (!config.idempotent.is_empty()
                    && outgoing::is_grpc(&request.headers)
                    && listed(request.uri.path()))
        };
        let declared = request.extensions.get::<Self>().copied();
        declared.or_else(|| is_idempotent().then_some(Self::Idempotent))
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing of the request left this process.
    Unsent,
    /// It did, and the peer says that it did not work on it.
    NotProcessed,
    /// Nobody knows.
    Unknown,
    /// The request itself is at fault: its body broke off.
    Request,
}

/// How often a call was sent again because nothing of it was done: neither an attempt nor paid for ("transparent retries",
/// gRFC A6). The bounds are for peers that refuse for ever.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    unsent: u32,
    refused: u32,
}

impl Undone {
    /// Nothing of it left: at other endpoints that are well.
    const UNSENT: u32 = 4;
    /// It left, and was refused: as gRPC, once.
    const REFUSED: u32 = 1;

    /// Whether there is another time for this failure.
    pub(crate) fn is_left(&self, failure: Failure) -> bool {
        match failure {
            Failure::Unsent => self.unsent < Self::UNSENT,
            Failure::NotProcessed => self.refused < Self::REFUSED,
            Failure::Unknown | Failure::Request => false,
        }
    }

    pub(crate) fn count(&mut self, failure: Failure) {
        match failure {
            Failure::Unsent => self.unsent += 1,
            Failure::NotProcessed => self.refused += 1,
            Failure::Unknown | Failure::Request => {}
        }
    }
}

/// Whether a request that failed so may be sent again.
pub(crate) fn is_safe(failure: Failure, repeat: Option<Repeat>) -> bool {
    match (failure, repeat) {
        (_, Some(Repeat::Never)) | (Failure::Request, _) => false,
        (Failure::Unsent | Failure::NotProcessed, _) => true,
        (Failure::Unknown, repeat) => repeat == Some(Repeat::Idempotent),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method, Request, header::CONTENT_TYPE};

    use super::*;

    fn parts(method: &Method, path: &str) -> Parts {
        Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_may_have_been_done_is_not_done_twice() {
        let of = |method: &Method| Repeat::of(&parts(method, "/"), &Config::default());
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!is_safe(Failure::Unknown, of(&method)), "{method}");
            assert!(is_safe(Failure::NotProcessed, of(&method)), "{method}");
            assert!(is_safe(Failure::Unsent, of(&method)), "{method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
        {
            assert!(is_safe(Failure::Unknown, of(&method)), "{method}");
            assert!(!is_safe(Failure::Request, of(&method)), "{method}");
        }
    }

    #[test]
    fn what_was_not_done_is_made_up_for_a_few_times() {
        let mut undone = Undone::default();
        let mut times = |failure| {
            let mut times = 0;
            while undone.is_left(failure) {
                undone.count(failure);
                times += 1;
            }
            times
        };
        assert_eq!([Failure::NotProcessed, Failure::Unsent].map(&mut times), [1, 4]);
        assert_eq!([Failure::Unknown, Failure::Request].map(times), [0, 0]);
    }

    #[test]
    fn the_caller_knows_better_than_the_method() {
        let config = Config::default();
        let mut post = parts(&Method::POST, "/");
        post.headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("\"7\""));
        assert_eq!(Repeat::of(&post, &config), Some(Repeat::Idempotent));
        post.extensions.insert(Repeat::Never);
        assert_eq!(Repeat::of(&post, &config), Some(Repeat::Never));
        assert!(!is_safe(Failure::NotProcessed, Some(Repeat::Never)));
        let mut post = parts(&Method::POST, "/");
        post.extensions.insert(Repeat::Idempotent);
        assert_eq!(Repeat::of(&post, &config), Some(Repeat::Idempotent));
    }

    #[test]
    fn methods_of_grpc_are_idempotent_where_they_are_listed() {
        let idempotent = vec!["/a.Stock/Get".to_owned(), "/a.Catalog/".to_owned()];
        let config = Config { idempotent, ..Config::default() };
        let of = |path: &str, content_type: &'static str| {
            let mut parts = parts(&Method::POST, path);
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            Repeat::of(&parts, &config).is_some()
        };
        assert!(of("/a.Stock/Get", "application/grpc") && of("/a.Catalog/List", "application/grpc+proto"));
        assert!(!of("/a.Stock/GetAll", "application/grpc") && !of("/a.Stock/Take", "application/grpc"));
        assert!(!of("/a.Stock/Get", "application/json"), "another API that has the same path");
    }
}
