//! A config-rs configuration as a source.

use std::collections::BTreeMap;

use config::{ConfigError, Map as ForeignMap, Source as _, Value as Foreign, ValueKind};
use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::key::Key;
use super::layers;

/// A [`config::Config`] as a source: `loader.source(ConfigRs::new(&config)?)`. Each value keeps the origin that
/// config-rs gave it.
///
/// It is read as it was built; a reload does not read its files again.
#[derive(Debug, Clone)]
pub struct ConfigRs(Figment);

impl ConfigRs {
    /// Takes the values of `config`.
    ///
    /// # Errors
    /// What config-rs has against its own values.
    pub fn new(config: &config::Config) -> Result<Self, ConfigError> {
        let mut by_origin = BTreeMap::new();
        sort(config.collect()?, &Key::root(), &mut by_origin);
        let figment = by_origin
            .into_iter()
            .fold(Figment::new(), |figment, (origin, values)| figment.merge(FromOrigin { origin, values }));
        Ok(Self(figment))
    }
}

impl Provider for ConfigRs {
    fn metadata(&self) -> Metadata {
        Metadata::named("config-rs")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.0.data()
    }

    fn __metadata_map(&self) -> Option<Map<Tag, Metadata>> {
        self.0.__metadata_map()
    }
}

struct FromOrigin {
    origin: Option<String>,
    values: Dict,
}

impl Provider for FromOrigin {
    fn metadata(&self) -> Metadata {
        match &self.origin {
            Some(origin) => Metadata::named(format!("config-rs ({origin})")),
            None => Metadata::named("config-rs"),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Sorts the values by origin.
fn sort(entries: ForeignMap<String, Foreign>, at: &Key, by_origin: &mut BTreeMap<Option<String>, Dict>) {
    for (name, value) in entries {
        let key = at.child(&name);
        let origin = value.origin().map(str::to_owned);
        match value.kind {
            ValueKind::Table(entries) if !entries.is_empty() => sort(entries, &key, by_origin),
            kind => {
                // Only tables are on the way, so nothing is in the way.
                let _ = layers::insert(by_origin.entry(origin).or_default(), &key, converted(kind));
            }
        }
    }
}

fn converted(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Nil => Value::Empty(Tag::Default, Empty::None),
        ValueKind::Boolean(value) => value.into(),
        ValueKind::I64(number) => number.into(),
        ValueKind::I128(number) => number.into(),
        ValueKind::U64(number) => number.into(),
        ValueKind::U128(number) => number.into(),
        ValueKind::Float(number) => number.into(),
        ValueKind::String(text) => text.into(),
        ValueKind::Table(entries) => Value::Dict(
            Tag::Default,
            entries.into_iter().map(|(name, value)| (name, converted(value.kind))).collect(),
        ),
        ValueKind::Array(elements) => {
            Value::Array(Tag::Default, elements.into_iter().map(|value| converted(value.kind)).collect())
        }
    }
}
