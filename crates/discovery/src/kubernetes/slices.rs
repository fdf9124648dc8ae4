//! What the EndpointSlices of a service say (`discovery.k8s.io/v1`).

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use serde::Deserialize;

use crate::{Endpoint, Health, Protocol};

/// The most slices of one service that are kept.
const MOST: usize = 4096;

/// The slices of one service, by name.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Slice>);

/// One slice, as far as it is of use here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Metadata,
    address_type: AddressType,
    endpoints: Option<Vec<Listed>>,
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) resource_version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AddressType {
    IPv4,
    IPv6,
    /// Host names, and what newer servers may add.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    zone: Option<String>,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
struct TargetRef {
    uid: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

impl Slices {
    /// These, and no others.
    pub(super) fn replace(&mut self, slices: impl IntoIterator<Item = Slice>) {
        self.0 = slices.into_iter().take(MOST).map(|slice| (slice.metadata.name.clone(), slice)).collect();
    }

    pub(super) fn put(&mut self, slice: Slice) {
        if self.0.len() < MOST || self.0.contains_key(&slice.metadata.name) {
            self.0.insert(slice.metadata.name.clone(), slice);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The endpoints of all slices, at the port called `wanted`. A pod that stands in slices of both families is taken
    /// once, by its IPv4 address: twice it would get twice the load.
    pub(super) fn endpoints(&self, wanted: Option<&str>) -> Vec<Endpoint> {
        let mut found: Vec<(Option<&str>, IpAddr, Endpoint)> = Vec::new();
        for slice in self.0.values().filter(|slice| slice.address_type != AddressType::Other) {
            let Some((port, number)) = slice.port(wanted) else { continue };
            for listed in slice.endpoints.iter().flatten() {
                // No meaning is defined for addresses beyond the first.
                let Some(Ok(address)) = listed.addresses.first().map(|address| address.parse::<IpAddr>())
                else {
                    continue;
                };
                let Some(health) = listed.conditions.health() else { continue };
                let (protocol, tls) = port.speaks();
                let mut endpoint = Endpoint::tcp(address.to_string(), number)
                    .with_protocol(protocol)
                    .with_tls(tls)
                    .with_health(health);
                if let Some(zone) = &listed.zone {
                    endpoint = endpoint.with_zone(zone.as_str());
                }
                let uid = listed.target_ref.as_ref().and_then(|target| target.uid.as_deref());
                found.push((uid, address, endpoint));
            }
        }
        let with_v4: HashSet<&str> =
            found.iter().filter(|(_, address, _)| address.is_ipv4()).filter_map(|(uid, ..)| *uid).collect();
        let is_second = |uid: &Option<&str>, address: &IpAddr| {
            address.is_ipv6() && uid.is_some_and(|uid| with_v4.contains(uid))
        };
        found
            .iter()
            .filter(|(uid, address, _)| !is_second(uid, address))
            .map(|(.., endpoint)| endpoint.clone())
            .collect()
    }
}

impl Slice {
    /// Each slice has its own ports: the pods of a service may differ in them.
    fn port(&self, wanted: Option<&str>) -> Option<(&Port, u16)> {
        let is_tcp = |port: &&Port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let ports: Vec<&Port> = self.ports.iter().flatten().filter(is_tcp).collect();
        let named = |name: &str| ports.iter().find(|port| port.name.as_deref() == Some(name)).copied();
        let port = match (wanted, ports.as_slice()) {
            (Some(name), _) => named(name),
            (None, [only]) => Some(*only),
            (None, _) => named("http"),
        }?;
        Some((port, port.port.filter(|number| *number != 0)?))
    }
}

impl Port {
    /// See "application protocol" in the documentation of Services.
    fn speaks(&self) -> (Protocol, bool) {
        match self.app_protocol.as_deref() {
            Some("https") => (Protocol::Http1, true),
            Some("kubernetes.io/h2c" | "h2c" | "grpc") => (Protocol::Http2, false),
            _ => (Protocol::Http1, false),
        }
    }
}

impl Conditions {
    /// `None` for one that is gone. What a server leaves out means ready, serving and not terminating.
    fn health(self) -> Option<Health> {
        let is_ready = self.ready.unwrap_or(true);
        let is_serving = self.serving.unwrap_or(is_ready);
        match (self.terminating.unwrap_or(false), is_serving) {
            (true, true) => Some(Health::Draining),
            (true, false) => None,
            (false, _) if is_ready => Some(Health::Serving),
            (false, _) => Some(Health::Failing),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn slices(all: &[serde_json::Value]) -> Slices {
        let mut slices = Slices::default();
        slices.replace(all.iter().map(|slice| serde_json::from_value(slice.clone()).unwrap()));
        slices
    }

    fn places(slices: &Slices, port: Option<&str>) -> Vec<String> {
        slices.endpoints(port).iter().map(|endpoint| endpoint.place().to_string()).collect()
    }

    #[test]
    fn conditions_say_the_health_and_what_is_left_out_means_well() {
        let cases = [
            (json!({}), Some(Health::Serving)),
            (json!({"ready": true, "serving": true, "terminating": false}), Some(Health::Serving)),
            (json!({"ready": false}), Some(Health::Failing)),
            (json!({"ready": false, "serving": false, "terminating": false}), Some(Health::Failing)),
            (json!({"ready": false, "serving": true, "terminating": true}), Some(Health::Draining)),
            (json!({"ready": false, "serving": false, "terminating": true}), None),
            // `publishNotReadyAddresses` keeps it ready.
            (json!({"ready": true, "serving": true, "terminating": true}), Some(Health::Draining)),
            (json!({"ready": null, "serving": null, "terminating": null}), Some(Health::Serving)),
        ];
        for (conditions, health) in cases {
            let read: Conditions = serde_json::from_value(conditions.clone()).unwrap();
            assert_eq!(read.health(), health, "{conditions}");
        }
    }

    #[test]
    fn the_port_is_found_by_name_in_each_slice() {
        let slice = |name: &str, address: &str, ports: serde_json::Value| json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": ports});
        let all = slices(&[
            slice("a", "10.0.0.1", json!([{"name": "", "port": 8080}])),
            slice(
                "b",
                "10.0.0.2",
                json!([{"name": "http", "port": 81, "protocol": "TCP"}, {"name": "grpc", "port": 9000, "appProtocol": "kubernetes.io/h2c"}]),
            ),
            slice(
                "c",
                "10.0.0.3",
                json!([{"name": "grpc", "port": 9001, "appProtocol": "grpc"}, {"name": "dns", "port": 53, "protocol": "UDP"}]),
            ),
            slice("d", "10.0.0.4", json!([{"name": "https", "port": 8443, "appProtocol": "https"}])),
            slice("e", "10.0.0.5", json!(null)),
            slice("f", "10.0.0.6", json!([{"name": "http", "port": null}])),
        ]);
        let expected =
            ["http://10.0.0.1:8080", "http://10.0.0.2:81", "h2c://10.0.0.3:9001", "https://10.0.0.4:8443"];
        assert_eq!(places(&all, None), expected);
        assert_eq!(places(&all, Some("grpc")), ["h2c://10.0.0.2:9000", "h2c://10.0.0.3:9001"]);
    }

    #[test]
    fn a_pod_of_both_families_is_taken_once_and_host_names_are_left_out() {
        let slice = |name: &str, kind: &str, endpoints: serde_json::Value| json!({"metadata": {"name": name}, "addressType": kind, "endpoints": endpoints, "ports": [{"port": 80}]});
        let all = slices(&[
            slice(
                "four",
                "IPv4",
                json!([{"addresses": ["10.0.0.1", "10.0.0.99"], "targetRef": {"uid": "u1"}}]),
            ),
            slice(
                "six",
                "IPv6",
                json!([
                    {"addresses": ["fd00::1"], "targetRef": {"uid": "u1"}},
                    {"addresses": ["fd00::2"], "targetRef": {"uid": "u2"}},
                    {"addresses": ["fd00::3"]},
                ]),
            ),
            slice("names", "FQDN", json!([{"addresses": ["example.com"]}])),
            slice("none", "IPv4", json!(null)),
            slice("wrong", "IPv4", json!([{"addresses": []}, {"addresses": ["nonsense"]}])),
        ]);
        assert_eq!(places(&all, None), ["http://10.0.0.1:80", "http://[fd00::2]:80", "http://[fd00::3]:80"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = serde_json::from_str::<Slice>(&text);
        }
    }
}
