//! Mainstay as seen from outside: whole processes, real peers, raw sockets.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod auth;
mod cardinality;
mod conform;
mod faults;
mod foreign_clients;
mod harness;
mod inspect;
mod lifecycle;
mod policies;
mod readiness;
mod reload;
mod requests;
mod restarts;
mod spans;
mod stuck_peers;
