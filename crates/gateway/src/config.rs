//! What the gateway is told: a name, and routes.

use std::{collections::BTreeMap, fmt};

use mainstay_core::config::{Duration, Findings, Section};
use serde::{Deserialize, Serialize};

use crate::gateway::Shared;

/// The configuration of a gateway.
///
/// ```toml
/// [routes.orders]                # `orders` is the route's name, in errors and logs
/// prefix = "/orders"             # this path and all below it
/// service = "orders"
///
/// [routes.invoice]
/// path = "/invoices/{id}"        # one path; {id} stands for one segment
/// methods = ["GET"]
/// service = "billing"
/// rewrite = "/v2/invoices/{id}"
/// timeout = "5s"
/// scopes = ["invoices:read"]     # of the token; `public = true`: no token needed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// What the gateway calls itself in `Via` and `Proxy-Status`: a token of RFC 9110. Default `mainstay`.
    pub name: String,
    /// How long a route waits for the head of an answer, unless it says otherwise. Bodies are not bounded by it.
    /// Default 30 s.
    pub timeout: Duration,
    /// What to do with the forwarding fields that arrive. Default `overwrite`.
    pub forwarded: Forwarded,
    /// Request fields by which somebody in front could have told who the caller is, and which are therefore taken off: nobody
    /// is in front. `*` at the end stands for any rest; `_` in a field counts as `-`, as which many servers read it. Default:
    /// [`IDENTITY_FIELDS`]; what is set replaces it.
    pub identity_fields: Vec<String>,
    /// Further request fields that callers may not send. Default none.
    pub remove_request_fields: Vec<String>,
    /// The routes, by name. The order has no meaning: the most specific route wins. Default none.
    pub routes: BTreeMap<String, Route>,
}

/// What proxies, sidecars and platforms write to tell a service who calls: whoever believes them must not get them from
/// outside. Those of `X-Forwarded-*` go where they are overwritten, too.
pub const IDENTITY_FIELDS: &[&str] = &[
    // oauth2-proxy, Traefik, Authelia, Authentik, and what programs make up.
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-*",
    "x-authenticated-*",
    "x-authentik-*",
    "x-user*",
    "x-remote-*",
    "remote-*",
    "x-webauth-*",
    "x-principal*",
    "x-jwt-*",
    // Gateways and platforms.
    "x-consumer-*",
    "x-credential-identifier",
    "x-endpoint-api-userinfo",
    "x-apigateway-api-userinfo",
    "x-amzn-oidc-*",
    "x-goog-iap-*",
    "x-goog-authenticated-user-*",
    "x-ms-client-principal*",
    "x-ms-token-*",
    "cf-access-*",
    // Client certificates: RFC 9440, Envoy, Traefik, nginx and HAProxy as usually configured.
    "client-cert*",
    "x-client-cert*",
    "x-forwarded-client-cert*",
    "x-forwarded-tls-client-cert*",
    "x-ssl-*",
    "ssl-client-*",
];

/// What to do with `Forwarded` and `X-Forwarded-*` fields that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Forwarded {
    /// Drop them and say what this gateway saw: right at the edge, where anybody can send them.
    #[default]
    Overwrite,
    /// Keep them and add to them: right only where every caller is a trusted proxy.
    Append,
}

/// One route. It matches a request when its host, path and methods all do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Route {
    /// One path, such as `/orders/{id}`; `{id}` matches one segment that is not empty. Either this or `prefix`.
    pub path: Option<String>,
    /// A path and everything below it, by whole segments: `/orders` matches `/orders` and `/orders/7`, not
    /// `/ordersheet`. Parameters as in `path`.
    pub prefix: Option<String>,
    /// Hosts, such as `api.example.com` or `*.example.com` (any subdomain, however deep). Default any host.
    pub hosts: Vec<String>,
    /// Methods, such as `GET` (which includes `HEAD`). Default any method.
    pub methods: Vec<String>,
    /// The logical name of the service that answers.
    pub service: String,
    /// Take the matched prefix off the path that goes upstream. Default false.
    pub strip_prefix: bool,
    /// The path that goes upstream in place of the matched one, such as `/v2/orders/{id}`; below a prefix the rest
    /// of the path is appended. Default: the path goes upstream as it came.
    pub rewrite: Option<String>,
    /// How long to wait for the head of an answer. Default: the gateway's `timeout`.
    pub timeout: Option<Duration>,
    /// Whether callers need no token. For a [guarded](crate::Gateway::guarded) gateway. Default false.
    pub public: bool,
    /// The scopes that a token has to have, all of them. For a guarded gateway. Default none.
    pub scopes: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "mainstay".to_owned(),
            timeout: Duration::from_secs(30),
            forwarded: Forwarded::default(),
            identity_fields: IDENTITY_FIELDS.iter().map(|field| (*field).to_owned()).collect(),
            remove_request_fields: Vec::new(),
            routes: BTreeMap::new(),
        }
    }
}

impl Config {
    /// With one more route; a route of the same name is replaced.
    #[must_use]
    pub fn with_route(mut self, name: impl Into<String>, route: Route) -> Self {
        self.routes.insert(name.into(), route);
        self
    }
}

impl Route {
    /// A route for one path.
    pub fn path(path: impl Into<String>, service: impl Into<String>) -> Self {
        Self { path: Some(path.into()), service: service.into(), ..Self::default() }
    }

    /// A route for a path and all below it.
    pub fn prefix(prefix: impl Into<String>, service: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), service: service.into(), ..Self::default() }
    }

    /// Whose callers need no token.
    #[must_use]
    pub fn to_everybody(self) -> Self {
        Self { public: true, ..self }
    }

    /// Whose callers need these scopes.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if let Err(invalid) = Shared::new(self) {
            for fault in invalid.faults {
                findings.reject(&fault.key, fault.expected);
            }
        }
    }
}

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The key, relative to the gateway's section: `routes.orders.path`.
    pub key: String,
    /// What stands there.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Invalid {
    /// The faults; at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: expected {}", self.key, self.value, self.expected)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway's configuration is wrong")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
