//! The framework's configuration: one typed tree.

use std::collections::BTreeMap;

use mainstay_client as client;
use mainstay_core::{
    admin,
    config::{ByteSize, Findings, Keys, Section},
    lifecycle,
    middleware::{context, shed},
    server,
};
use mainstay_discovery as discovery;
use serde::{Deserialize, Serialize};

/// The framework's configuration. Every table has defaults; a service runs without any configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Which services run here.
    pub host: HostSettings,
    /// The main listener.
    pub server: server::Config,
    /// The admin listener.
    pub admin: admin::Config,
    /// Bounds for starting and stopping components.
    pub lifecycle: lifecycle::Config,
    /// How the process ends.
    pub drain: lifecycle::DrainConfig,
    /// What is believed of a request's header fields, and its default deadline.
    pub request: context::Config,
    /// Adaptive shedding under overload.
    pub shed: shed::Config,
    /// Bounds on request bodies.
    pub body: BodySettings,
    /// Whose tokens are taken.
    #[cfg(feature = "auth")]
    pub auth: mainstay_auth::Config,
    /// Outgoing calls.
    pub client: client::Config,
    /// Where other services are.
    pub discovery: discovery::Config,
    /// What is logged, and how.
    #[cfg(feature = "telemetry")]
    pub log: mainstay_telemetry::logs::Config,
    /// What the process is, beyond what it finds out: attributes of OpenTelemetry's resource, such as
    /// `"deployment.environment.name"`. They go before what was found out.
    #[cfg(feature = "telemetry")]
    pub resource: BTreeMap<String, String>,
    /// Which requests are recorded.
    #[cfg(feature = "otlp")]
    pub trace: mainstay_telemetry::sampling::Config,
    /// Where spans and metrics are sent.
    #[cfg(feature = "otlp")]
    pub otlp: mainstay_telemetry::otlp::Config,
    /// Objectives of services: `slo.SERVICE.NAME`. They go before those in the code.
    #[cfg(feature = "telemetry")]
    pub slo: mainstay_telemetry::slo::Slos,
    /// Settings of single services, by name.
    pub services: BTreeMap<String, ServiceSettings>,
}

/// Bounds on request bodies.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BodySettings {
    /// The largest body, in bytes; more is answered with 413. A `BodyLimitLayer` on a route says otherwise for it; gRPC
    /// bounds messages instead. Default 2 MiB.
    pub max_bytes: ByteSize,
}

impl Default for BodySettings {
    fn default() -> Self {
        Self { max_bytes: ByteSize::from_mib(2) }
    }
}

/// Which services run in this process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HostSettings {
    /// The names of the services that this process runs, of those that the program has. Default: all of them.
    pub services: Option<Vec<String>>,
    /// The name of this process among its copies, such as that of its pod or machine. It stands in what is registered
    /// (metadata `instance`), and which endpoints this process uses where it uses a subset (`client.balance.subset`)
    /// depends on it: the same ones after a restart. Default: none, and another subset after each start.
    pub instance: Option<String>,
    /// How services that run here reach each other. Default `call`.
    pub in_process: InProcess,
}

/// How the services of one process reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InProcess {
    /// As functions, without a socket.
    #[default]
    Call,
    /// Over a socket on loopback for each service, by the same client and server as between processes: for tests of
    /// what will be split, which then meet header serialisation, framing, bounds and cancellation.
    Wire,
}

/// What the framework can be told of one service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// An address of its own to listen on, with the other settings of `server`. Default: the first service that runs
    /// here listens on `server.address`, the others are reachable within the process only.
    pub address: Option<server::Address>,
    /// Where others reach its listener, such as `https://orders.internal:8443`: what is registered of it. Default: what
    /// the listener is bound to, with the host of `discovery.advertise`.
    pub advertise: Option<discovery::endpoint::Written>,
}

impl Section for Settings {
    fn check(&self, findings: &mut Findings) {
        let instance = self.host.instance.as_deref().unwrap_or("one");
        if !(1..=128).contains(&instance.len()) || instance.chars().any(char::is_control) {
            findings.reject("host.instance", "a name of 1 to 128 bytes, without control characters");
        }
        findings.within("server", |findings| self.server.check(findings));
        findings.within("admin", |findings| self.admin.check(findings));
        findings.within("lifecycle", |findings| self.lifecycle.check(findings));
        findings.within("drain", |findings| self.drain.check(findings));
        findings.within("request", |findings| self.request.check(findings));
        findings.within("shed", |findings| self.shed.check(findings));
        #[cfg(feature = "auth")]
        findings.within("auth", |findings| self.auth.check(findings));
        findings.within("client", |findings| self.client.check(findings));
        findings.within("discovery", |findings| self.discovery.check(findings));
        #[cfg(feature = "telemetry")]
        findings.within("log", |findings| self.log.check(findings));
        #[cfg(feature = "otlp")]
        findings.within("trace", |findings| self.trace.check(findings));
        #[cfg(feature = "otlp")]
        findings.within("otlp", |findings| self.otlp.check(findings));
        #[cfg(feature = "telemetry")]
        findings.within("slo", |findings| self.slo.find(findings));
    }

    fn reloadable(keys: &mut Keys) {
        #[cfg(feature = "auth")]
        keys.add("auth.outgoing");
        keys.within("client", client::Config::reloadable);
        #[cfg(feature = "telemetry")]
        keys.within("log", mainstay_telemetry::logs::Config::reloadable);
    }
}

impl Settings {
    /// Whether each request has a line in the log.
    pub(crate) fn has_access_log(&self) -> bool {
        #[cfg(feature = "telemetry")]
        return self.log.access;
        #[cfg(not(feature = "telemetry"))]
        false
    }
}

#[cfg(test)]
#[cfg(feature = "telemetry")]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Adds the rows of the table in docs/services.md: key and default, as `--print-config` writes it.
    fn rows(key: &str, value: &Value, to: &mut Vec<String>) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (name, value) in entries {
                    rows(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, to);
                }
            }
            Value::Null => to.push(format!("| `{key}` | – |")),
            value => to.push(format!("| `{key}` | `{value}` |")),
        }
    }

    /// A table that a feature adds is there with it.
    fn is_there(row: &str) -> bool {
        let of = |table: &str| row.starts_with(&format!("| `{table}."));
        (cfg!(feature = "gossip") || !of("discovery.gossip"))
            && (cfg!(feature = "auth") || !of("auth"))
            && (cfg!(feature = "policy") || !of("auth.policy"))
            && (cfg!(feature = "otlp") || !(of("otlp") || of("trace")))
    }

    #[test]
    fn the_page_names_every_setting_with_its_default() {
        let mut expected = Vec::new();
        rows("", &serde_json::to_value(Settings::default()).unwrap(), &mut expected);
        let page = include_str!("../docs/services.md");
        let table = page.split("| key | default | means |").nth(1).unwrap();
        let cells = |row: &str| row.split_inclusive(" |").take(2).collect::<String>();
        let mut written: Vec<String> =
            table.lines().filter(|row| row.starts_with("| `") && is_there(row)).map(cells).collect();
        expected.sort();
        written.sort();
        assert_eq!(written, expected);
    }
}
