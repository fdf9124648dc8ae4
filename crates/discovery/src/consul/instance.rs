//! An endpoint as a service of Consul, and back.
//!
//! | Consul | here |
//! |---|---|
//! | `Service.Address`, else `Node.Address`; `Service.Port` | the address |
//! | `Weights.Passing`; `Weights.Warning` while a check warns | the weight |
//! | `Meta.mainstay-scheme`: `http`, `https`, `h2c`, `h2` | protocol and TLS; `http` where there is none |
//! | `Meta.mainstay-zone`, `Meta.mainstay-health`, `Meta.mainstay-registered` | what a record has beyond |
//! | what else is in `Meta` | the metadata |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Endpoint, Place, ServiceName,
    api::encoded,
    remote::record::{Listed, health_as_text},
};

/// What `Meta` holds of ours. Kept apart from what applications say.
const OURS: &str = "mainstay-";
const VERSION: &str = "mainstay-version";
const SCHEME: &str = "mainstay-scheme";
const ZONE: &str = "mainstay-zone";
const HEALTH: &str = "mainstay-health";
const REGISTERED: &str = "mainstay-registered";

/// What Consul takes in `Meta`: entries, and the longest key and value in bytes.
const META: (usize, usize, usize) = (64, 128, 512);

/// One instance of a service, with its checks, as `/v1/health/service/NAME` lists it. What can't be read in one of its
/// fields is left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Instance {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u32,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

impl Instance {
    /// Ids are those of one node.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", encoded(&self.node.node), encoded(&self.service.id))
    }

    /// Whether a check of it, or of its node, says that it is gone: for one of ours that it was not renewed in time.
    pub(super) fn is_critical(&self) -> bool {
        self.has("critical")
    }

    /// As a record, which is not checked yet.
    pub(super) fn record(&self) -> Vec<u8> {
        let Self { node, service, .. } = self;
        let meta = |key: &str| service.meta.as_ref().and_then(|meta| meta.get(key));
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let scheme = meta(SCHEME).map_or("http", String::as_str);
        let weights = service.weights.unwrap_or(Weights { passing: 1, warning: 1 });
        // Such as 0 for "none while a check warns": the last choice that there is.
        let weight = if self.has("warning") { weights.warning.max(1) } else { weights.passing };
        let theirs = |(key, value): &(&String, &String)| {
            !key.starts_with(OURS) && !value.chars().any(char::is_control)
        };
        let metadata: BTreeMap<_, _> = service.meta.iter().flatten().filter(theirs).collect();
        let record = json!({
            "version": meta(VERSION).map_or(Some(1), |version| version.parse::<u32>().ok()),
            "address": format!("{scheme}://{host}:{}", service.port),
            "weight": weight,
            "zone": meta(ZONE),
            "health": meta(HEALTH),
            "metadata": metadata,
            "registered": meta(REGISTERED).and_then(|at| at.parse::<u64>().ok()).unwrap_or(0),
        });
        record.to_string().into_bytes()
    }

    fn has(&self, status: &str) -> bool {
        self.checks.iter().flatten().any(|check| check.status == status)
    }
}

/// Why Consul would refuse what is said of `endpoint`, if it would.
pub(super) fn misfit(endpoint: &Endpoint) -> Option<&'static str> {
    let (entries, longest_key, longest_value) = META;
    if endpoint.all_metadata().count() + 5 > entries {
        return Some("Consul takes 59 entries of metadata");
    }
    let in_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    endpoint.all_metadata().find_map(|(key, value)| {
        if key.is_empty() || key.len() > longest_key || !key.bytes().all(in_key) {
            return Some("Consul takes letters, digits, `-` and `_` in keys of metadata, 128 at most");
        }
        if key.starts_with(OURS) || key.starts_with("consul-") {
            return Some("keys of metadata that begin with `mainstay-` or `consul-` are reserved");
        }
        (value.len() > longest_value).then_some("Consul takes 512 bytes as a value of metadata")
    })
}

/// The body of a registration, without its check.
pub(super) fn registration(service: &ServiceName, id: &str, listed: &Listed) -> Value {
    let endpoint = &listed.endpoint;
    let place = endpoint.place();
    let (address, port) = match &place.address {
        crate::Address::Tcp(host, port) => (host.as_ref(), *port),
        // Refused before.
        crate::Address::Unix(_) | crate::Address::InProcess => ("", 0),
    };
    let mut meta: BTreeMap<&str, String> =
        endpoint.all_metadata().map(|(key, value)| (key, value.to_owned())).collect();
    meta.insert(VERSION, "1".to_owned());
    meta.insert(SCHEME, scheme(place));
    meta.insert(HEALTH, health_as_text(endpoint.health()).to_owned());
    meta.insert(REGISTERED, listed.registered.to_string());
    if let Some(zone) = endpoint.zone() {
        meta.insert(ZONE, zone.to_owned());
    }
    json!({
        "ID": id,
        "Name": service,
        "Address": address,
        "Port": port,
        "Meta": meta,
        "Weights": { "Passing": endpoint.weight(), "Warning": 1 },
    })
}

/// As places are written.
fn scheme(place: &Place) -> String {
    let place = place.to_string();
    place.split_once("://").map_or(place.as_str(), |(scheme, _)| scheme).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Health, Protocol};

    fn listed(instance: Value) -> Result<Listed, &'static str> {
        Listed::read(&serde_json::from_value::<Instance>(instance).unwrap().record())
    }

    /// As the agent tells what was registered.
    fn told(registration: &Value) -> Value {
        json!({
            "Node": {"Node": "n", "Address": "10.9.9.9"},
            "Service": registration,
            "Checks": [{"Status": "passing"}],
        })
    }

    #[test]
    fn an_endpoint_is_read_as_it_was_registered() {
        let name = ServiceName::new("orders").unwrap();
        let endpoints = [
            Endpoint::tcp("10.0.0.7", 80),
            Endpoint::tcp("fd00::1", 8443)
                .with_tls(true)
                .with_protocol(Protocol::Http2)
                .with_weight(7)
                .with_zone("north")
                .with_health(Health::Draining)
                .with_metadata("build", "a \"quoted\" ü"),
        ];
        for endpoint in endpoints {
            let said = Listed::now(endpoint);
            assert_eq!(listed(told(&registration(&name, "x", &said))).unwrap(), said);
        }
    }

    #[test]
    fn what_others_register_is_read_as_consul_means_it() {
        let other = json!({
            "Node": {"Node": "foobar", "Address": "10.1.10.12", "Datacenter": "dc1", "Meta": null},
            "Service": {
                "ID": "redis 1", "Service": "redis", "Tags": ["primary"], "Address": "", "Port": 8000,
                "Meta": {"redis_version": "4.0", "odd": "a\nb"}, "Weights": {"Passing": 10, "Warning": 2},
            },
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"Status": "warning"}],
        });
        let instance: Instance = serde_json::from_value(other.clone()).unwrap();
        assert_eq!(instance.id(), "foobar/redis%201");
        assert!(!instance.is_critical());
        let expected = Endpoint::tcp("10.1.10.12", 8000).with_weight(2).with_metadata("redis_version", "4.0");
        assert_eq!(listed(other).unwrap().endpoint, expected);

        let scarce =
            json!({"Node": {"Node": "n", "Address": "a"}, "Service": {"ID": "", "Port": 1, "Meta": null}});
        assert_eq!(listed(scarce).unwrap().endpoint, Endpoint::tcp("a", 1));
        let critical =
            json!({"Node": {"Node": "n"}, "Service": {"ID": "x"}, "Checks": [{"Status": "critical"}]});
        assert!(serde_json::from_value::<Instance>(critical).unwrap().is_critical());
    }

    #[test]
    fn what_nobody_should_believe_is_refused_with_its_reason() {
        let cases = [
            (json!({"ID": "x", "Address": "0.0.0.0", "Port": 80}), "0.0.0.0"),
            (json!({"ID": "x", "Address": "a", "Port": 0}), "address"),
            (json!({"ID": "x", "Address": "a/b", "Port": 80}), "address"),
            (
                json!({"ID": "x", "Address": "a", "Port": 80, "Meta": {"mainstay-scheme": "unix"}}),
                "Unix socket",
            ),
            (json!({"ID": "x", "Address": "a", "Port": 80, "Meta": {"mainstay-version": "2"}}), "version"),
            (json!({"ID": "x", "Address": "a", "Port": 80, "Meta": {"mainstay-version": "?"}}), "version"),
            (
                json!({"ID": "x", "Address": "a", "Port": 80, "Weights": {"Passing": 70000, "Warning": 1}}),
                "weight",
            ),
        ];
        for (service, reason) in cases {
            let refused = listed(told(&service)).unwrap_err();
            assert!(refused.contains(reason), "{service}: {refused}");
        }
    }

    #[test]
    fn what_consul_refuses_is_not_sent() {
        let endpoint = Endpoint::tcp("a", 1);
        assert_eq!(misfit(&endpoint.clone().with_metadata("build-id_2", "ü".repeat(256))), None);
        for (key, value) in
            [("", ""), ("a b", ""), ("consul-x", ""), ("mainstay-zone", ""), ("a", &"x".repeat(513))]
        {
            assert!(misfit(&endpoint.clone().with_metadata(key, value)).is_some(), "{key}");
        }
        let many = (0..60).fold(endpoint, |endpoint, n| endpoint.with_metadata(format!("k{n}"), ""));
        assert!(misfit(&many).is_some());
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "\\PC{0,200}", address in "\\PC{0,20}", port: u32) {
            let _ = serde_json::from_str::<Instance>(&text);
            let _ = listed(told(&json!({"ID": text, "Address": address, "Port": port})));
        }
    }
}
