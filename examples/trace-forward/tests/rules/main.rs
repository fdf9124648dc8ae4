//! The rules of W3C Trace Context (levels 1 and 2) and W3C Baggage, held against a running process: what goes into it, and
//! what it sends to others.

#![allow(clippy::unwrap_used, reason = "tests fail where their helpers do")]

mod baggage;
mod chain;
mod formats;
mod harness;
mod input;
mod traceparent;
mod tracestate;
