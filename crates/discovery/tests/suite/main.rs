//! What every registry promises, checked against each of them with its real server; for Consul and Kubernetes, of which
//! no test can have a real one, with a stand-in.
//!
//! | file | holds |
//! |---|---|
//! | `world` | what a registry has to bring to be checked: processes that use it, ways to disturb them, and what it can't tell |
//! | `cases` | the promises of all, one function each |
//! | `leases` | those of registries in which processes register |
//! | `fixed`, `memory`, `file`, `dns`, `kubernetes`, `gossip`, `consul`, `etcd`, `nats`, `redis` | the worlds, each with what only that one promises |
//! | `running` | what the worlds share whose server is a process |
//! | `server`, `proxy`, `certificates` | such a process, the wire to it that can be cut, and what it shows of itself |
//!
//! A new registry implements `World` (and `Outage`, where it can be away; `Served`, where its server keeps what processes
//! register) and takes the tests by `conformance!`, `outages!` and `leasing!`. The servers come from Debian; `cargo xtask
//! test` installs them.
#![allow(clippy::disallowed_methods, reason = "tests own what they spawn")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(clippy::needless_pass_by_value, reason = "a stand-in takes what it keeps")]

mod cases;
mod file;
mod fixed;
mod memory;
mod world;

#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
mod certificates;
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
mod leases;
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
mod proxy;
#[cfg(any(feature = "etcd", feature = "nats", feature = "redis"))]
mod running;
#[cfg(any(feature = "etcd", feature = "nats", feature = "redis"))]
mod server;

/// The promises of every registry.
macro_rules! conformance {
    ($world:expr) => {
        crate::each!($world; cases:
            what_is_listed_is_seen,
            what_is_taken_out_is_gone,
            copies_come_and_go_one_by_one,
            a_copy_can_change_what_is_said_of_it_without_a_gap,
            a_name_that_nobody_has_is_settled_and_empty,
            known_names_are_told,
            a_watch_that_came_first_sees_what_comes_later,
            as_many_endpoints_are_listed_as_are_promised,
        );
    };
}

/// The promises of a registry that can be away.
macro_rules! outages {
    ($world:expr) => {
        crate::each!($world; cases: a_restart_changes_nothing, silence_changes_nothing);
    };
}

/// The promises of a registry in which processes register that can crash and be cut off.
#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
macro_rules! leasing {
    ($world:expr) => {
        crate::each!($world; leases:
            a_crash_is_seen,
            who_was_cut_off_keeps_what_it_knew_and_catches_up,
            a_registrant_that_was_cut_off_comes_back,
            a_server_that_was_wiped_is_filled_again,
            registrations_wait_for_a_server_that_is_away,
            what_strangers_write_changes_nothing,
            dropping_the_registry_ends_its_tasks,
            a_withdrawal_from_a_server_that_is_away_is_bounded,
        );
    };
}

macro_rules! each {
    ($world:expr; $module:ident: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&$world.await).await;
            }
        )*
    };
}

#[cfg(any(feature = "consul", feature = "etcd", feature = "nats", feature = "redis"))]
use leasing;
use {conformance, each, outages};
