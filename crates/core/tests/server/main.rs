//! The server on raw sockets: what a peer can do to it, and what it does then.
#![allow(clippy::disallowed_methods, reason = "tests spawn the peers and the server under test")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the modules of one test binary")]

mod basics;
mod bounds;
mod flood;
mod inherited;
mod random;
mod stuck;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod waiting;
mod wrong;
