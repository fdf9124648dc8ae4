//! What the server counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Serialize;

use crate::metrics::{Definition, Observations};

/// The bounds on time of a connection ([`super::Bounds`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bound {
    /// Nothing arrived on a new connection.
    FirstByte,
    /// The protocol could not be told in time.
    Detect,
    /// The TLS handshake did not end in time.
    TlsHandshake,
    /// The header section of a request was not complete in time.
    HeaderRead,
    /// The body of a request stopped arriving.
    BodyIdle,
    /// The peer stopped reading.
    WriteIdle,
    /// No request for too long.
    KeepAliveIdle,
    /// The connection was old enough.
    ConnectionAge,
}

impl Bound {
    const COUNT: usize = Self::ConnectionAge as usize + 1;
}

/// The counters of one server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    accept_errors: AtomicU64,
    tls_failed: AtomicU64,
    malformed: AtomicU64,
    cut: AtomicU64,
    panicked: AtomicU64,
    timeouts: [AtomicU64; Bound::COUNT],
}

/// The counters at one moment. All of them only grow, except for `open`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections taken from the listener.
    pub accepted: u64,
    /// Connections that are open now, upgraded ones included.
    pub open: u64,
    /// Connections turned away because `max_connections` were open.
    pub refused: u64,
    /// Failures of `accept`, such as no free file descriptor.
    pub accept_errors: u64,
    /// TLS handshakes that failed for another reason than time.
    pub tls_failed: u64,
    /// Requests and connections refused because what arrived broke the protocol or a bound on size.
    pub malformed: u64,
    /// Connections that were dropped at the end of the drain, or with the server, while a request was being read or
    /// answered, or while they were given away to another protocol (WebSocket). Those that only were open don't count.
    pub cut: u64,
    /// Requests whose handler panicked through all layers.
    pub panicked: u64,
    /// Connections and bodies that ran into a bound on time.
    pub timeouts: Timeouts,
}

/// How often each bound on time was reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the `Bound` of the same name")]
pub struct Timeouts {
    pub first_byte: u64,
    pub detect: u64,
    pub tls_handshake: u64,
    pub header_read: u64,
    pub body_idle: u64,
    pub write_idle: u64,
    pub keep_alive_idle: u64,
    pub connection_age: u64,
}

impl Stats {
    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counters = &*self.0;
        let timeouts = |bound: Bound| self.timeout_counter(bound).load(Relaxed);
        // `closed` first: a connection that ends in between must not make `open` negative.
        let closed = counters.closed.load(Relaxed);
        let accepted = counters.accepted.load(Relaxed);
        Snapshot {
            accepted,
            open: accepted.saturating_sub(closed),
            refused: counters.refused.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
            tls_failed: counters.tls_failed.load(Relaxed),
            malformed: counters.malformed.load(Relaxed),
            cut: counters.cut.load(Relaxed),
            panicked: counters.panicked.load(Relaxed),
            timeouts: Timeouts {
                first_byte: timeouts(Bound::FirstByte),
                detect: timeouts(Bound::Detect),
                tls_handshake: timeouts(Bound::TlsHandshake),
                header_read: timeouts(Bound::HeaderRead),
                body_idle: timeouts(Bound::BodyIdle),
                write_idle: timeouts(Bound::WriteIdle),
                keep_alive_idle: timeouts(Bound::KeepAliveIdle),
                connection_age: timeouts(Bound::ConnectionAge),
            },
        }
    }

    /// Tells the metrics of this server, which listens as `listener`: `mainstay.server.connections`, what became of those
    /// that did not end well, and the bounds on time that were reached.
    pub fn observe(&self, listener: &str, to: &mut Observations) {
        let Snapshot {
            accepted,
            open,
            refused,
            accept_errors,
            tls_failed,
            malformed,
            cut,
            panicked,
            timeouts,
        } = self.snapshot();
        let listener = ("listener", listener);
        let connections =
            Definition::new("mainstay.server.connections", "{connection}", "Connections that are open");
        to.up_down_counter(&connections, [listener], i64::try_from(open).unwrap_or(i64::MAX));
        let all =
            Definition::new("mainstay.server.connections.accepted", "{connection}", "Connections accepted");
        to.counter(&all, [listener], accepted);
        let failures = Definition::new(
            "mainstay.server.failures",
            "{failure}",
            "Connections and requests that the server refused or gave up, by why",
        );
        let Timeouts {
            first_byte,
            detect,
            tls_handshake,
            header_read,
            body_idle,
            write_idle,
            keep_alive_idle,
            connection_age,
        } = timeouts;
        for (reason, count) in [
            ("too_many_connections", refused),
            ("accept", accept_errors),
            ("tls", tls_failed),
            ("malformed", malformed),
            ("cut", cut),
            ("panicked", panicked),
            ("timeout_first_byte", first_byte),
            ("timeout_detect", detect),
            ("timeout_tls_handshake", tls_handshake),
            ("timeout_header_read", header_read),
            ("timeout_body_idle", body_idle),
            ("timeout_write_idle", write_idle),
        ] {
            to.counter(&failures, [listener, ("reason", reason)], count);
        }
        let ended = Definition::new(
            "mainstay.server.connections.ended",
            "{connection}",
            "Connections ended by a limit",
        );
        for (limit, count) in [("idle", keep_alive_idle), ("age", connection_age)] {
            to.counter(&ended, [listener, ("limit", limit)], count);
        }
    }

    pub(super) fn open(&self) -> u64 {
        let closed = self.0.closed.load(Relaxed);
        self.0.accepted.load(Relaxed).saturating_sub(closed)
    }

    pub(super) fn accepted(&self) {
        self.0.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.0.closed.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn accept_error(&self) {
        self.0.accept_errors.fetch_add(1, Relaxed);
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls_failed(&self) {
        self.0.tls_failed.fetch_add(1, Relaxed);
    }

    pub(super) fn malformed(&self) {
        self.0.malformed.fetch_add(1, Relaxed);
    }

    pub(super) fn cut(&self) {
        self.0.cut.fetch_add(1, Relaxed);
    }

    pub(super) fn panicked(&self) {
        self.0.panicked.fetch_add(1, Relaxed);
    }

    pub(super) fn timeout(&self, bound: Bound) {
        self.timeout_counter(bound).fetch_add(1, Relaxed);
    }

    fn timeout_counter(&self, bound: Bound) -> &AtomicU64 {
        // In range: the array has `Bound::COUNT` counters.
        &self.0.timeouts[bound as usize]
    }
}
