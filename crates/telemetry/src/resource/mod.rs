//! What the process is: the attributes that all of its telemetry shares.
//!
//! [`Resource::detect`] finds out what can be found out; what the configuration says (`resource`, or
//! `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`) goes before it.
//!
//! ```
//! use mainstay_telemetry::resource::Resource;
//!
//! let resource = Resource::detect().with("deployment.environment.name", "staging");
//! assert!(resource.get("process.pid").is_some());
//! assert_eq!(resource.of_service("orders").get("service.name"), Some("orders"));
//! ```

mod detect;
mod variables;

use std::collections::BTreeMap;

#[cfg(feature = "otlp")]
pub(crate) use variables::pairs;
pub use variables::variables;

/// What a service is called.
const SERVICE_NAME: &str = "service.name";

/// The resource of OpenTelemetry: names and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource(BTreeMap<String, String>);

impl Resource {
    /// What this process is, as far as it can tell: the instance, host, operating system, process, container, and its pod
    /// where it runs under Kubernetes. Reads a few files; none of them has to be there.
    #[must_use]
    pub fn detect() -> Self {
        detect::of_process()
    }

    /// With this attribute; an empty value is as if it were not there.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.insert(name.into(), value);
        }
        self
    }

    /// With these, which go before those that are there.
    #[must_use]
    pub fn with_all<'a>(self, more: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        more.into_iter().fold(self, |resource, (name, value)| resource.with(name, value))
    }

    /// That of this service, in a process that may have several; a `service.name` that is there holds.
    #[must_use]
    pub fn of_service(&self, service: &str) -> Self {
        if self.get(SERVICE_NAME).is_some() { self.clone() } else { self.clone().with(SERVICE_NAME, service) }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of this attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The attributes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
