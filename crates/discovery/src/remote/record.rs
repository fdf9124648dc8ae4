//! What stands in a registry under a key: one endpoint, as JSON.
//!
//! ```json
//! {"version":1,"address":"http://10.0.0.7:8080","weight":1,"zone":"a","health":"serving",
//!  "metadata":{"build":"7"},"registered":1763769600000}
//! ```
//!
//! Whoever can write to the registry can write anything here, so nothing is believed that is not bounded. Unknown keys
//! are ignored, so that newer versions can add some; a `version` that is not known is not read.

use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{Address, Endpoint, Health};

/// Raised only for a change that older readers would misread.
const VERSION: u32 = 1;

/// The longest value, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// How much metadata an endpoint may have, and the longest key and value, in bytes.
const METADATA: (usize, usize, usize) = (64, 128, 1024);

/// The longest name of a zone, in bytes.
const ZONE: usize = 128;

/// The largest weight: larger ones would starve the rest.
const WEIGHT: u32 = 65_535;

/// One entry of a registry that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listed {
    pub(crate) endpoint: Endpoint,
    /// When it was registered, in milliseconds since 1970 by the registrant's clock. Tells the newer of two entries
    /// for one place.
    pub(crate) registered: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Record<'a> {
    version: u32,
    address: Cow<'a, str>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    registered: u64,
}

fn one() -> u32 {
    1
}

impl Listed {
    /// `endpoint`, registered now.
    pub(crate) fn now(endpoint: Endpoint) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "compared between processes, which share only wall time"
        )]
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let registered = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Self { endpoint, registered }
    }

    /// As it is written.
    ///
    /// # Errors
    /// Why other hosts could not use it.
    pub(super) fn write(&self) -> Result<String, &'static str> {
        let endpoint = &self.endpoint;
        let record = Record {
            version: VERSION,
            address: endpoint.place().to_string().into(),
            weight: endpoint.weight(),
            zone: endpoint.zone().map(Into::into),
            health: Some(health_as_text(endpoint.health()).into()),
            metadata: endpoint.all_metadata().map(|(key, value)| (key.into(), value.into())).collect(),
            registered: self.registered,
        };
        let text = serde_json::to_string(&record).map_err(|_| "it can't be written as JSON")?;
        // What we would not read we do not write.
        Self::read(text.as_bytes())?;
        Ok(text)
    }

    /// What was written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(value: &[u8]) -> Result<Self, &'static str> {
        if value.len() > LONGEST {
            return Err("it is longer than 16 KiB");
        }
        let record: Record<'_> = serde_json::from_slice(value)
            .map_err(|_| "it is not a JSON record with `version` and `address`")?;
        if record.version != VERSION {
            return Err("its `version` is not 1");
        }
        let endpoint: Endpoint =
            record.address.parse().map_err(|_| "its `address` is not that of an endpoint")?;
        reachable(endpoint.address())?;
        if !(1..=WEIGHT).contains(&record.weight) {
            return Err("its `weight` is not between 1 and 65535");
        }
        let mut endpoint =
            endpoint.with_weight(record.weight).with_health(health_from_text(record.health.as_deref()));
        if let Some(zone) = record.zone {
            if !is_text(&zone, ZONE) {
                return Err("its `zone` is empty, longer than 128 bytes or not printable");
            }
            endpoint = endpoint.with_zone(zone.as_ref());
        }
        let (entries, longest_key, longest_value) = METADATA;
        if record.metadata.len() > entries {
            return Err("its `metadata` has more than 64 entries");
        }
        for (key, value) in record.metadata {
            if !is_text(&key, longest_key) || !(value.is_empty() || is_text(&value, longest_value)) {
                return Err(
                    "its `metadata` is not printable, or longer than 128 bytes a key or 1024 a value",
                );
            }
            endpoint = endpoint.with_metadata(key, value);
        }
        Ok(Self { endpoint, registered: record.registered })
    }
}

/// Only TCP: a path from the registry would let whoever writes there choose the Unix socket that is spoken to, such as
/// that of a container engine.
fn reachable(address: &Address) -> Result<(), &'static str> {
    match address {
        Address::Tcp(host, _) => match host.parse::<std::net::IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Err("0.0.0.0 and [::] are no addresses to connect to"),
            Ok(ip) if ip.is_multicast() => Err("a multicast address is none to connect to"),
            _ => Ok(()),
        },
        Address::Unix(_) => Err("other hosts can't reach a Unix socket"),
        Address::InProcess => Err("other processes can't call into this one"),
    }
}

fn is_text(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

pub(crate) fn health_as_text(health: Health) -> &'static str {
    match health {
        Health::Serving => "serving",
        Health::Draining => "draining",
        Health::Failing => "failing",
    }
}

/// A word of a newer version says at least that there is something to say: not the first choice.
fn health_from_text(text: Option<&str>) -> Health {
    match text {
        None | Some("serving") => Health::Serving,
        Some("failing") => Health::Failing,
        Some(_) => Health::Draining,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Protocol;

    fn read(text: &str) -> Result<Endpoint, &'static str> {
        Listed::read(text.as_bytes()).map(|listed| listed.endpoint)
    }

    #[test]
    fn an_endpoint_is_read_as_it_was_written() {
        for health in [Health::Serving, Health::Draining, Health::Failing] {
            let endpoint = Endpoint::tcp("::1", 8443)
                .with_tls(true)
                .with_protocol(Protocol::Http2)
                .with_weight(7)
                .with_zone("north")
                .with_health(health)
                .with_metadata("build", "a \"quoted\" one")
                .with_metadata("empty", "");
            let listed = Listed::now(endpoint);
            assert!(listed.registered > 0);
            assert_eq!(Listed::read(listed.write().unwrap().as_bytes()).unwrap(), listed);
        }
    }

    #[test]
    fn defaults_hold_and_what_newer_versions_add_is_ignored() {
        let expected = Endpoint::tcp("a", 1);
        assert_eq!(read(r#"{"version":1,"address":"http://a:1"}"#).unwrap(), expected);
        let newer = r#"{"version":1,"address":"http://a:1","health":"resting","colour":{"a":[1]}}"#;
        assert_eq!(read(newer).unwrap(), expected.with_health(Health::Draining));
    }

    #[test]
    fn what_nobody_should_believe_is_refused_with_its_reason() {
        let long = |length| "a".repeat(length);
        let many: String = (0..65).map(|n| format!("\"{n}\":\"\",")).collect();
        let cases = [
            (String::new(), "JSON record"),
            ("[]".into(), "JSON record"),
            ("\u{0}\u{1}".into(), "JSON record"),
            (r#"{"version":1}"#.into(), "JSON record"),
            (r#"{"version":2,"address":"http://a:1"}"#.into(), "version"),
            (r#"{"version":1,"address":"ftp://a:1"}"#.into(), "address"),
            (r#"{"version":1,"address":"unix:/var/run/engine.sock"}"#.into(), "Unix socket"),
            (r#"{"version":1,"address":"http://0.0.0.0:80"}"#.into(), "0.0.0.0"),
            (r#"{"version":1,"address":"http://[::]:80"}"#.into(), "0.0.0.0"),
            (r#"{"version":1,"address":"http://224.0.0.1:80"}"#.into(), "multicast"),
            (r#"{"version":1,"address":"http://a:1","weight":0}"#.into(), "weight"),
            (r#"{"version":1,"address":"http://a:1","weight":4294967295}"#.into(), "weight"),
            (r#"{"version":1,"address":"http://a:1","weight":-1}"#.into(), "JSON record"),
            (r#"{"version":1,"address":"http://a:1","zone":"a\nb"}"#.into(), "zone"),
            (format!(r#"{{"version":1,"address":"http://a:1","zone":"{}"}}"#, long(129)), "zone"),
            (format!(r#"{{"version":1,"address":"http://a:1","metadata":{{{many}"a":"b"}}}}"#), "64 entries"),
            (
                format!(r#"{{"version":1,"address":"http://a:1","metadata":{{"a":"{}"}}}}"#, long(1025)),
                "1024",
            ),
            (format!(r#"{{"version":1,"address":"http://a:1","x":"{}"}}"#, long(LONGEST)), "16 KiB"),
        ];
        for (text, reason) in cases {
            let refused = read(&text).expect_err(&text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn what_other_hosts_cannot_use_is_not_written() {
        for endpoint in [Endpoint::in_process(), Endpoint::unix("/run/x"), Endpoint::tcp("0.0.0.0", 1)] {
            assert!(Listed::now(endpoint).write().is_err());
        }
        assert!(Listed::now(Endpoint::tcp("a", 1).with_weight(u32::MAX)).write().is_err());
        assert!(Listed::now(Endpoint::tcp("a", 1).with_zone("a\u{7}")).write().is_err());
    }

    proptest! {
        #[test]
        fn no_value_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
            let _ = Listed::read(&bytes);
            let _ = Listed::read(format!(r#"{{"version":1,"address":"{text}"}}"#).as_bytes());
        }
    }
}
