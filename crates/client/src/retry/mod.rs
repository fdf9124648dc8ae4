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
use mainstay_core::config::{Findings, Section};

use crate::config::layered::layered;

layered! {
    /// The table `client.retry`: what is sent again, and how often.
    values {
        /// How often a call is tried at most, the first time included; 1 turns retries off. Default 3.
        max_attempts: u32 = 3,
        /// Retries as a share of the calls to a service, between 0 and 1; 0 turns retries off. Default 0.2.
        budget: f64 = 0.2,
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
    }
}

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
