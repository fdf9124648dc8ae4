//! Endpoints from the configuration.
//!
//! ```toml
//! [discovery.static]
//! orders = ["http://127.0.0.1:8081", "unix:/run/orders.sock"]
//! inventory = [{ address = "h2c://10.0.0.7:9000", weight = 2 }]
//! ```
//!
//! When not to use it: where copies come and go. A listed endpoint that does not answer is avoided by the client, and
//! tried again; it stays listed.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, value::MapAccessDeserializer},
};

use crate::{
    Endpoint, Protocol, Resolve, ServiceName, Watch, endpoint::InvalidEndpoint, name::InvalidName,
    watch::Publisher,
};

/// The table `[discovery.static]`: the endpoints of services by name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Config {
    services: BTreeMap<ServiceName, Vec<Entry>>,
}

impl Config {
    /// The names that have an entry.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    pub(crate) fn into_endpoints(self) -> BTreeMap<ServiceName, Vec<Endpoint>> {
        let endpoints = |entries: Vec<Entry>| entries.into_iter().map(|Entry(endpoint)| endpoint).collect();
        self.services.into_iter().map(|(name, entries)| (name, endpoints(entries))).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry(Endpoint);

/// Resolves names to what was configured.
#[derive(Debug, Default)]
pub struct Fixed {
    services: BTreeMap<ServiceName, Publisher>,
}

impl Fixed {
    /// Without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these endpoints under `name`, in the place of those it had.
    ///
    /// # Errors
    /// [`InvalidName`] when `name` is not the name of a service.
    pub fn with(
        mut self,
        name: impl AsRef<str>,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Self, InvalidName> {
        let publisher = self.services.entry(ServiceName::new(name)?).or_default();
        publisher.publish(endpoints.into_iter().collect::<Vec<_>>());
        Ok(self)
    }
}

impl From<&Config> for Fixed {
    fn from(config: &Config) -> Self {
        let services = config.services.iter().map(|(name, entries)| {
            let publisher = Publisher::new();
            publisher.publish(entries.iter().map(|Entry(endpoint)| endpoint.clone()).collect::<Vec<_>>());
            (name.clone(), publisher)
        });
        Self { services: services.collect() }
    }
}

impl Resolve for Fixed {
    fn resolve(&self, service: &ServiceName) -> Watch {
        self.services.get(service).map_or_else(Watch::never, Publisher::watch)
    }

    fn known(&self) -> Vec<ServiceName> {
        let services = self.services.iter().filter(|(_, endpoints)| !endpoints.watch().snapshot().is_empty());
        services.map(|(name, _)| name.clone()).collect()
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an endpoint such as \"http://127.0.0.1:8081\" or \"unix:/run/x.sock\", or a table with \
                     `address` and, where wanted, `protocol`, `weight` and `zone`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                text.parse().map(Entry).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                table.try_into().map(Entry).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// In the long form, so that the defaults are seen.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(endpoint) = self;
        let table = Table {
            address: endpoint.place().to_string(),
            protocol: Some(endpoint.protocol()),
            weight: std::num::NonZeroU32::new(endpoint.weight()),
            zone: endpoint.zone().map(str::to_owned),
        };
        table.serialize(serializer)
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: String,
    protocol: Option<Protocol>,
    weight: Option<std::num::NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

impl TryFrom<Table> for Endpoint {
    type Error = InvalidEndpoint;

    fn try_from(table: Table) -> Result<Self, InvalidEndpoint> {
        let mut endpoint: Self = table.address.parse()?;
        if let Some(protocol) = table.protocol {
            endpoint = endpoint.with_protocol(protocol);
        }
        if let Some(weight) = table.weight {
            endpoint = endpoint.with_weight(weight.get());
        }
        if let Some(zone) = table.zone {
            endpoint = endpoint.with_zone(zone);
        }
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::{
        Errors, Loader,
        figment::providers::{Format as _, Toml},
    };

    use super::*;

    fn read(toml: &str) -> Result<crate::Config, Errors> {
        let loader = Loader::new().source(Toml::string(toml)).tree::<crate::Config>("discovery");
        Ok((*loader.load()?.get::<crate::Config>("discovery")).clone())
    }

    #[test]
    fn endpoints_are_listed_as_text_or_as_tables() {
        let config = read(
            r#"
            [discovery.static]
            orders = ["http://127.0.0.1:8081", "unix:/run/x.sock"]
            stock = [{ address = "http://a:1", protocol = "http2", weight = 3, zone = "north" }]
            "#,
        );
        let config = config.unwrap();
        let fixed = Fixed::from(&config.fixed);
        let names: Vec<_> = fixed.known().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["orders", "stock"]);
        let orders = fixed.resolve(&"orders".parse().unwrap()).snapshot();
        assert_eq!(orders[1], Endpoint::unix("/run/x.sock"));
        let stock = fixed.resolve(&"stock".parse().unwrap()).snapshot();
        let expected = Endpoint::tcp("a", 1).with_protocol(Protocol::Http2).with_weight(3).with_zone("north");
        assert_eq!(*stock, [expected]);
        assert!(fixed.resolve(&"other".parse().unwrap()).snapshot().is_empty());

        let shown = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<crate::Config>(&shown).unwrap(), config, "{shown}");
    }

    #[test]
    fn a_wrong_entry_is_named_by_its_key() {
        let cases = [
            (r#"orders = ["http://a:1", "a:1"]"#, "discovery.static.orders[1]", "the scheme is missing"),
            ("orders = [7]", "discovery.static.orders[0]", "an endpoint such as"),
            (r#"orders = [{ adress = "http://a:1" }]"#, "discovery.static.orders[0].adress", "address"),
            (
                r#"orders = [{ address = "http://a:1", weight = 0 }]"#,
                "discovery.static.orders[0].weight",
                "from 1 to",
            ),
            // Nothing would read it.
            (
                r#"orders = [{ address = "http://a:1", metadata = "a" }]"#,
                "discovery.static.orders[0].metadata",
                "weight",
            ),
            ("Orders = []", "discovery.static.Orders", "is not the name of a service"),
        ];
        for (entry, key, message) in cases {
            let errors = read(&format!("[discovery.static]\n{entry}")).unwrap_err();
            let text = errors.to_string();
            assert!(text.contains(key), "{entry}: {text}");
            assert!(text.contains(message), "{entry}: {text}");
        }
        let errors = read("[discovery.dynamic]").unwrap_err().to_string();
        assert!(errors.contains("discovery.dynamic"), "{errors}");
    }
}
