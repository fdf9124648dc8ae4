//! Settings of the server.

use std::{num::NonZeroUsize, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::Address;
use crate::config::{ByteSize, Duration, Findings, Section};

/// Settings of the main listener: `server` in the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen: `ip:port`, `unix:/path`, or `systemd`, `systemd:NAME`, `systemd:INDEX` for a socket handed
    /// over by the service manager. Port 0 takes any free port. Default `0.0.0.0:8080`: a service is there for
    /// others; the admin listener is the one that stays on loopback.
    pub address: Address,
    /// How many threads serve. Default `shared`.
    pub shape: Shape,
    /// Threads of the `per-core` shape; default one for each core this process may use. The `shared` shape runs on
    /// the runtime that it is called in, and doesn't read this.
    pub workers: Option<NonZeroUsize>,
    /// TCP: connections that the kernel holds until they are accepted. Default 1024 (the kernel may lower it).
    pub backlog: Backlog,
    /// TLS; without it the listener speaks plain text. Needs the feature `tls`. Default none.
    pub tls: Option<Tls>,
    /// Bounds on what a connection may take.
    pub bounds: Bounds,
}

/// How the server is spread over threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shape {
    /// One listener; connections are tasks of the runtime that the server runs in.
    #[default]
    Shared,
    /// For each core a thread with its own runtime, listener (`SO_REUSEPORT`) and service: nothing is shared, no task
    /// moves. Best where requests cost little and alike, as in a proxy; a slow handler delays its whole core.
    PerCore,
}

/// The length of the accept queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Backlog(pub u16);

impl Default for Backlog {
    fn default() -> Self {
        Self(1024)
    }
}

/// Certificate, key and client certificates. The files are PEM; a change of any of them is taken up while running, and
/// refused as a whole, with one log line, when it is not valid: then the old ones stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// The certificate chain, the server's own first. Required.
    pub certificate_file: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1). Required.
    pub key_file: PathBuf,
    /// Whether clients show a certificate. Default `none`.
    pub client_certificates: ClientCertificates,
    /// The authorities that sign client certificates. Required unless `client_certificates` is `none`.
    pub client_ca_file: Option<PathBuf>,
    /// How often the files are looked at. Default 10 s; `0s` never.
    pub reload_interval: ReloadInterval,
}

/// How often files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReloadInterval(pub Duration);

impl Default for ReloadInterval {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// They may; one that doesn't verify ends the handshake.
    Optional,
    /// They must.
    Required,
}

/// What one connection, and all together, may take. Every bound on time is above zero, except where `0s` is said to
/// mean none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Bounds {
    /// Until the first byte of a new connection (after the TLS handshake). Then: closed. Default 10 s.
    pub first_byte: Duration,
    /// From the first byte until the protocol is known, and for HTTP/2 until the client's first SETTINGS frame. Then:
    /// closed. Default 5 s.
    pub detect: Duration,
    /// For the TLS handshake. Then: closed. Default 10 s.
    pub tls_handshake: Duration,
    /// HTTP/1: for the header section of a request, from its first byte. Then: 408. Default 10 s.
    pub header_read: Duration,
    /// Between two pieces of a request body that is being read. Then: the reader gets an error, which is a 408.
    /// Default 30 s.
    pub body_idle: Duration,
    /// While an answer waits to be written and the peer takes nothing. Then: closed. Default 30 s.
    pub write_idle: Duration,
    /// Without a request on an open connection. Then: closed (HTTP/2: GOAWAY). Default 75 s; keep it above the idle
    /// time of clients and balancers in front, so that it is them who close.
    pub keep_alive_idle: Duration,
    /// Age at which a connection is asked to end: `Connection: close` or GOAWAY; work in flight finishes. Spread by up
    /// to 10 % so that connections opened together don't end together. Default 1 h; `0s` for none.
    pub connection_age: Duration,
    /// TCP keep-alive: silence after which the kernel probes whether the peer is still there. Default 60 s; `0s` for
    /// none.
    pub tcp_keep_alive: Duration,
    /// Connections open at once, over all workers, upgraded ones included. More get a 503 and are closed (over TLS:
    /// closed). Default 10,000.
    pub max_connections: u64,
    /// HTTP/2: requests in flight on one connection. Announced in SETTINGS; more are refused with REFUSED_STREAM.
    /// Default 200.
    pub max_streams: u32,
    /// Bytes of a header section: start line and fields (HTTP/2: as RFC 9113 section 6.5.2 counts). More: 431. Default
    /// 32 KiB; HTTP/1 takes 8 KiB at least.
    pub max_header_bytes: ByteSize,
    /// Field lines of a request. More: 431. Default 100; HTTP/1 pays an allocation a request for a larger value.
    pub max_headers: u16,
    /// Bytes of a request target. More: 414. Default 8 KiB.
    pub max_uri_bytes: ByteSize,
    /// HTTP/2: streams that the peer reset before the service saw them; more end the connection (ENHANCE_YOUR_CALM):
    /// the rapid reset attack. Default 20.
    pub max_pending_reset_streams: u32,
    /// HTTP/2: streams that this side had to reset because the peer broke the protocol; more end the connection.
    /// Default 100. A flood of CONTINUATION frames is bounded by `max_header_bytes`.
    pub max_error_reset_streams: u32,
    /// HTTP/2: how often the peer is pinged; a peer that doesn't answer for `write_idle` is closed. Default `0s`, no
    /// pings: TCP keep-alive finds dead peers at no cost to the request path.
    pub ping_interval: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            detect: Duration::from_secs(5),
            tls_handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            keep_alive_idle: Duration::from_secs(75),
            connection_age: Duration::from_secs(3600),
            tcp_keep_alive: Duration::from_secs(60),
            max_connections: 10_000,
            max_streams: 200,
            max_header_bytes: ByteSize::from_kib(32),
            max_headers: 100,
            max_uri_bytes: ByteSize::from_kib(8),
            max_pending_reset_streams: 20,
            max_error_reset_streams: 100,
            ping_interval: Duration::ZERO,
        }
    }
}

/// A setting that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server.{key}: expected {expected}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// The key within `server`, such as `bounds.header_read`.
    pub key: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl InvalidSetting {
    pub(super) const TLS_ON_UNIX: Self =
        Self { key: "tls", expected: "a TCP address: TLS isn't spoken on Unix sockets" };
}

impl Config {
    /// Everything that is wrong in itself, whatever the machine is like.
    #[must_use]
    pub fn problems(&self) -> Vec<InvalidSetting> {
        let bounds = &self.bounds;
        let durations = [
            ("bounds.first_byte", bounds.first_byte),
            ("bounds.detect", bounds.detect),
            ("bounds.tls_handshake", bounds.tls_handshake),
            ("bounds.header_read", bounds.header_read),
            ("bounds.body_idle", bounds.body_idle),
            ("bounds.write_idle", bounds.write_idle),
            ("bounds.keep_alive_idle", bounds.keep_alive_idle),
        ];
        let mut problems = Vec::new();
        let mut wrong = |key, expected| problems.push(InvalidSetting { key, expected });
        for (key, duration) in durations {
            if duration == Duration::ZERO {
                wrong(key, "a duration above zero: this bound can't be switched off");
            }
        }
        if bounds.max_connections == 0 {
            wrong("bounds.max_connections", "at least 1");
        }
        if bounds.max_streams == 0 {
            wrong("bounds.max_streams", "at least 1");
        }
        if bounds.max_headers == 0 {
            wrong("bounds.max_headers", "at least 1");
        }
        if !(ByteSize::from_kib(1)..=ByteSize::from_mib(16)).contains(&bounds.max_header_bytes) {
            wrong("bounds.max_header_bytes", "between 1 KiB and 16 MiB");
        }
        if !(1..=65_534).contains(&bounds.max_uri_bytes.get()) {
            wrong("bounds.max_uri_bytes", "between 1 and 65534 bytes");
        }
        if let Some(tls) = &self.tls {
            if tls.certificate_file.as_os_str().is_empty() {
                wrong("tls.certificate_file", "the path of a PEM file");
            }
            if tls.key_file.as_os_str().is_empty() {
                wrong("tls.key_file", "the path of a PEM file");
            }
            if tls.client_certificates != ClientCertificates::None && tls.client_ca_file.is_none() {
                wrong("tls.client_ca_file", "the path of a PEM file, since client certificates are checked");
            }
            if cfg!(not(feature = "tls")) {
                wrong("tls", "nothing: this program was built without the feature `tls`");
            }
            if !matches!(self.address, Address::Tcp(_) | Address::Inherited(_)) {
                wrong(InvalidSetting::TLS_ON_UNIX.key, InvalidSetting::TLS_ON_UNIX.expected);
            }
        }
        problems
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for problem in self.problems() {
            findings.reject(problem.key, problem.expected);
        }
    }
}
