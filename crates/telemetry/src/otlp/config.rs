//! `otlp` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mainstay_core::config::{ByteSize, Duration, Findings, Secret, Section};
use serde::{Deserialize, Serialize};

use super::transport::Target;

/// `[otlp]`: where spans, metrics and log records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether anything is sent. Default: true, if there is an endpoint.
    pub enabled: bool,
    /// The receiver, such as `http://collector:4318`; over HTTP `/v1/traces`, `/v1/metrics` and `/v1/logs` are added to it. Default:
    /// none, and nothing is recorded.
    pub endpoint: Option<String>,
    /// Whether spans are sent. Default: true.
    pub traces: bool,
    /// The whole URL that spans are sent to, in place of `endpoint`.
    pub traces_endpoint: Option<String>,
    /// Whether metrics are sent too. Default: false, `/metrics` has them.
    pub metrics: bool,
    /// The whole URL that metrics are sent to, in place of `endpoint`.
    pub metrics_endpoint: Option<String>,
    /// How often metrics are sent. Default 60 s.
    pub metrics_interval: Duration,
    /// Whether log records are sent too. Default: false, they are lines.
    pub logs: bool,
    /// The whole URL that log records are sent to, in place of `endpoint`.
    pub logs_endpoint: Option<String>,
    /// `http/protobuf` (default; receivers listen on port 4318) or `grpc` (4317).
    pub protocol: Protocol,
    /// Fields of each request, such as a key. Secret.
    pub headers: BTreeMap<String, Secret>,
    /// `none` (default) or `gzip`.
    pub compression: Compression,
    /// How long one request may take, connecting included. Default 10 s.
    pub timeout: Duration,
    /// How long a batch is tried, all requests and waits together. Default 30 s.
    pub export_timeout: Duration,
    /// Spans and log records are sent this often at least. Default 5 s.
    pub interval: Duration,
    /// So many spans, or log records, are sent at once; with so many nobody waits for `interval`. Default 512.
    pub batch: usize,
    /// So many of either wait at most; what is more is lost, and counted. Default 2048.
    pub queue: usize,
    /// And so many bytes of either, about. Default 16 MiB.
    pub queue_bytes: ByteSize,
    /// For `https`.
    pub tls: Tls,
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf as the body of HTTP/1.1 requests.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip.
    Gzip,
}

/// Whom `https` trusts, and what it shows. Files are read anew for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// Who may sign the certificate of the receiver, PEM. Default: the authorities of the platform.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the receiver, PEM.
    pub certificate_file: Option<PathBuf>,
    /// The key of that.
    pub key_file: Option<PathBuf>,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Spans,
    Metrics,
    Logs,
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spans => "spans",
            Self::Metrics => "metrics",
            Self::Logs => "log records",
        })
    }
}

/// The methods of gRPC.
const TRACES: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// What a URL of a receiver should be.
const URL: &str = "a URL with host, such as `http://collector:4318`";

impl Config {
    /// To this receiver.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// With this protocol.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Where they go; `None` where they go nowhere. What [`Section::check`] refuses is nowhere.
    pub(super) fn target(&self, signal: Signal) -> Option<Target> {
        let (is_sent, own, path, method) = match signal {
            Signal::Spans => (self.traces, &self.traces_endpoint, "v1/traces", TRACES),
            Signal::Metrics => (self.metrics, &self.metrics_endpoint, "v1/metrics", METRICS),
            Signal::Logs => (self.logs, &self.logs_endpoint, "v1/logs", LOGS),
        };
        if !self.enabled || !is_sent {
            return None;
        }
        let target = Target::parse(own.as_ref().or(self.endpoint.as_ref())?)?;
        Some(match (self.protocol, own) {
            (Protocol::Grpc, _) => target.below(method),
            (Protocol::Http, None) => target.below(path),
            (Protocol::Http, Some(_)) => target,
        })
    }

    /// The fields of each request.
    pub(super) fn header_map(&self) -> HeaderMap {
        let fields = self.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::try_from(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        fields.collect()
    }

    fn check_endpoint(&self, key: &str, url: Option<&String>, findings: &mut Findings) {
        let Some(url) = url else { return };
        match Target::parse(url) {
            None => findings.reject(key, URL),
            Some(target) if target.is_tls() && !cfg!(feature = "tls") => {
                findings.reject(key, "`http://`: the program is built without the feature `tls`");
            }
            Some(target) if self.protocol == Protocol::Grpc && target.path() != "/" => {
                findings.reject(key, "a URL without a path: `otlp.protocol` is `grpc`");
            }
            Some(_) => {}
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            traces: true,
            traces_endpoint: None,
            metrics: false,
            metrics_endpoint: None,
            metrics_interval: Duration::from_secs(60),
            logs: false,
            logs_endpoint: None,
            protocol: Protocol::Http,
            headers: BTreeMap::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            export_timeout: Duration::from_secs(30),
            interval: Duration::from_secs(5),
            batch: 512,
            queue: 2048,
            queue_bytes: ByteSize::from_mib(16),
            tls: Tls::default(),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        self.check_endpoint("endpoint", self.endpoint.as_ref(), findings);
        self.check_endpoint("traces_endpoint", self.traces_endpoint.as_ref(), findings);
        self.check_endpoint("metrics_endpoint", self.metrics_endpoint.as_ref(), findings);
        self.check_endpoint("logs_endpoint", self.logs_endpoint.as_ref(), findings);
        for (name, value) in &self.headers {
            let is_ours = |name: &HeaderName| OURS.contains(name) || name.as_str().starts_with("grpc-");
            let expected = match HeaderName::try_from(name) {
                Err(_) => "the name of a header field",
                Ok(name) if is_ours(&name) => "another header field: this one is OTLP's own",
                Ok(_) if HeaderValue::try_from(value.expose()).is_err() => {
                    "a value without control characters"
                }
                Ok(_) => continue,
            };
            findings.within("headers", |findings| findings.reject(name, expected));
        }
        for (key, duration) in [
            ("timeout", self.timeout),
            ("export_timeout", self.export_timeout),
            ("interval", self.interval),
            ("metrics_interval", self.metrics_interval),
        ] {
            if duration.is_zero() {
                findings.reject(key, "more than 0s");
            }
        }
        if self.batch == 0 {
            findings.reject("batch", "1 at least");
        }
        if self.queue < self.batch {
            findings.reject("queue", format_args!("no less than `otlp.batch` ({})", self.batch));
        }
        if self.queue_bytes.get() < 1 << 20 {
            findings.reject("queue_bytes", "1MiB at least");
        }
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            let missing = if self.tls.key_file.is_some() { "certificate_file" } else { "key_file" };
            findings.within("tls", |findings| {
                findings.reject(missing, "`certificate_file` and `key_file` together, or neither");
            });
        }
    }
}

/// What a request has of itself.
const OURS: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::HOST,
    header::TE,
    header::CONNECTION,
];
