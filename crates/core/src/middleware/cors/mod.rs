//! Which other origins browsers may call from.
#![doc = include_str!("README.md")]

use http::{HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};
use tower_http::cors;
use tower_layer::Layer;

use crate::config::{Duration, Findings, Section};

/// Who may call, and what with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The origins: scheme, host and port where it is not the scheme's own, such as `https://shop.example`; or the one
    /// entry `*` for all of them. Default: none.
    pub origins: Vec<String>,
    /// The methods beyond GET, HEAD and POST. Default: PUT, PATCH, DELETE.
    pub methods: Vec<String>,
    /// The header fields of requests beyond the safelisted ones. Default: `content-type`, `authorization`,
    /// `traceparent`, `tracestate`, `x-request-id`, `x-request-timeout`, `idempotency-key`.
    pub headers: Vec<String>,
    /// The header fields of answers that scripts may read beyond the safelisted ones. Default: `x-request-id`,
    /// `retry-after`.
    pub expose: Vec<String>,
    /// Whether cookies and other credentials are sent along; not together with `*`. Default: false.
    pub credentials: bool,
    /// How long a browser remembers the answer to a preflight. Default: 10 min.
    pub max_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            origins: Vec::new(),
            methods: list(&["PUT", "PATCH", "DELETE"]),
            headers: list(&[
                "content-type",
                "authorization",
                "traceparent",
                "tracestate",
                "x-request-id",
                "x-request-timeout",
                "idempotency-key",
            ]),
            expose: list(&["x-request-id", "retry-after"]),
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }
}

/// A value of the configuration that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {value:?} is not {expected}")]
#[non_exhaustive]
pub struct Invalid {
    /// The key, such as `origins`.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        for Invalid { key, value, expected } in self.invalid() {
            findings.reject(key, format_args!("{expected}, not {value:?}"));
        }
    }
}

impl Config {
    /// All values that can't be used.
    fn invalid(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        let mut refuse = |key, value: &str, expected| {
            invalid.push(Invalid { key, value: value.to_owned(), expected });
        };
        for origin in &self.origins {
            if origin == "*" {
                if self.origins.len() > 1 {
                    refuse("origins", origin, "`*` alone, or a list of origins without it");
                }
                if self.credentials {
                    refuse("origins", origin, "a list of origins where `credentials` is true");
                }
            } else if !is_origin(origin) {
                refuse("origins", origin, "an origin such as `https://shop.example`");
            }
        }
        for method in &self.methods {
            if method.parse::<Method>().is_err() {
                refuse("methods", method, "an HTTP method");
            }
        }
        for (key, names) in [("headers", &self.headers), ("expose", &self.expose)] {
            for name in names.iter().filter(|name| name.parse::<HeaderName>().is_err() || *name == "*") {
                refuse(key, name, "the name of a header field");
            }
        }
        invalid
    }
}

/// `scheme://host[:port]`, as browsers send it: lower case, no path, no default port.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let default_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    !authority.as_str().contains('@')
        && (authority.port_u16().is_none() || authority.port_u16() != default_port)
        && text == format!("{scheme}://{}", authority.as_str().to_ascii_lowercase())
}

/// Layer that speaks CORS.
#[derive(Debug, Clone)]
pub struct CorsLayer(cors::CorsLayer);

impl CorsLayer {
    /// With this configuration.
    ///
    /// # Errors
    /// [`Invalid`]: the first value that can't be used.
    pub fn new(config: &Config) -> Result<Self, Invalid> {
        if let Some(first) = config.invalid().into_iter().next() {
            return Err(first);
        }
        let origins = match config.origins.as_slice() {
            [all] if all == "*" => cors::AllowOrigin::any(),
            list => {
                cors::AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
            }
        };
        let names =
            |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect::<Vec<HeaderName>>();
        let methods = [Method::GET, Method::HEAD, Method::POST].into_iter();
        let methods = methods.chain(config.methods.iter().filter_map(|method| method.parse().ok()));
        Ok(Self(
            cors::CorsLayer::new()
                .allow_origin(origins)
                .allow_methods(methods.collect::<Vec<_>>())
                .allow_headers(names(&config.headers))
                .expose_headers(names(&config.expose))
                .allow_credentials(config.credentials)
                .max_age(config.max_age.get()),
        ))
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = cors::Cors<S>;

    fn layer(&self, inner: S) -> cors::Cors<S> {
        self.0.layer(inner)
    }
}

#[cfg(test)]
mod tests;
