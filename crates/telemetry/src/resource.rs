//! What the process is: the attributes that all of its telemetry shares.

use std::collections::BTreeMap;

/// The resource of OpenTelemetry: names and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource(BTreeMap<String, String>);

impl Resource {
    /// With this attribute; an empty value is as if it were not there.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(name.into(), value);
        }
        self
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
