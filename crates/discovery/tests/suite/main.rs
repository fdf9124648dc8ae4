//! What every registry promises, checked against each of them with its real server.
//!
//! | file | holds |
//! |---|---|
//! | `world` | what a registry has to bring to be checked: processes that use it, and ways to disturb them |
//! | `cases` | the promises, one function each |
//! | `memory`, `gossip`, `etcd`, `nats`, `redis` | the worlds |
//! | `server`, `proxy` | a server as a process of its own, and the wire to it that can be cut |
//!
//! A new registry implements `World` (and `Served`, where it has a server) and takes the tests by `conformance!` (and
//! `outages!`). The servers come from Debian; `cargo xtask test` installs them.
#![allow(clippy::disallowed_methods, reason = "tests own what they spawn")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod cases;
mod memory;
mod proxy;
mod server;
mod world;

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

/// The promises of every registry, for one that can be both registered in and resolved from.
macro_rules! conformance {
    ($world:expr) => {
        crate::each!($world;
            what_is_registered_is_seen,
            what_is_withdrawn_is_gone,
            copies_come_and_go_one_by_one,
            a_copy_can_change_what_is_said_of_it_without_a_gap,
            a_name_that_nobody_has_is_settled_and_empty,
            known_names_are_told,
            thousands_of_endpoints_are_listed,
            a_watch_that_came_first_sees_what_comes_later,
        );
    };
}

/// The promises of a registry whose processes can crash and be cut off, and whose server can be away.
#[cfg(any(feature = "etcd", feature = "nats", feature = "redis"))]
macro_rules! outages {
    ($world:expr) => {
        crate::each!($world;
            a_crash_is_seen,
            who_was_cut_off_keeps_what_it_knew_and_catches_up,
            a_registrant_that_was_cut_off_comes_back,
            a_server_that_restarts_changes_nothing,
            a_server_that_was_wiped_is_filled_again,
            registrations_wait_for_a_server_that_is_away,
            a_server_that_is_stopped_changes_nothing,
            what_strangers_write_changes_nothing,
            dropping_the_registry_ends_its_tasks,
            a_withdrawal_from_a_server_that_is_away_is_bounded,
        );
    };
}

macro_rules! each {
    ($world:expr; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::cases::$case(&$world.await).await;
            }
        )*
    };
}

#[cfg(any(feature = "etcd", feature = "nats", feature = "redis"))]
use outages;
use {conformance, each};
