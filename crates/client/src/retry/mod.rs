//! What may be sent again, and how often.
//!
//! | what happened | sent again |
//! |---|---|
//! | no connection; the request was not written; the stream was refused (HTTP/2 `REFUSED_STREAM`, or beyond the last stream of a GOAWAY) | any method |
//! | the connection broke before an answer | idempotent methods only (RFC 9110 section 9.2.2) |
//! | an answer, whatever its status | never: a 503 of a peer under load is not made better by another request |
//!
//! And in each case only if the body is still there ([`payload`]), attempts are left, the deadline has not passed, and
//! the [`budget`] of the service allows it.

pub(crate) mod budget;
pub(crate) mod payload;

use http::Method;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer did not work on the request, for certain.
    NotProcessed,
    /// Nobody knows.
    Unknown,
    /// The request itself is at fault: its body broke off.
    Request,
}

/// Whether a request that failed so may be sent again.
pub(crate) fn is_safe(failure: Failure, method: &Method) -> bool {
    match failure {
        Failure::NotProcessed => true,
        Failure::Unknown => method.is_idempotent(),
        Failure::Request => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_not_done_twice() {
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!is_safe(Failure::Unknown, &method), "{method}");
            assert!(is_safe(Failure::NotProcessed, &method), "{method}");
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
        {
            assert!(is_safe(Failure::Unknown, &method), "{method}");
            assert!(!is_safe(Failure::Request, &method), "{method}");
        }
    }
}
