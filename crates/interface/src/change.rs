//! What differs between two descriptions, and which of it breaks callers.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::document::shown;

/// One difference between the old description and the new one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Which part of which operation: `PUT /payments/{id}, request body`. Empty for what belongs to none.
    pub place: String,
    /// Where it stands (RFC 6901): in the new description, or in the old one where the new one has nothing.
    pub pointer: String,
    /// What the old description has there.
    pub old: Option<Value>,
    /// What the new one has there.
    pub new: Option<Value>,
    /// What it means for callers.
    pub why: String,
}

/// Every difference between two descriptions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// What breaks callers that keep to the old description.
    pub breaking: Vec<Change>,
    /// What such callers don't notice either, but those who generate code from the new description: names, mostly.
    /// Told of protobuf only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Change>,
    /// What such callers don't notice.
    pub compatible: Vec<Change>,
}

impl Comparison {
    /// Whether callers that keep to the old description can call the new one.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        self.breaking.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        writeln!(f, "{}", self.why)?;
        write!(f, "    at  {}", self.pointer)?;
        for (name, value) in [("old", &self.old), ("new", &self.new)] {
            if let Some(value) = value {
                write!(f, "\n    {name} {}", shown(value))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.breaking {
            writeln!(f, "BREAKING  {change}")?;
        }
        for change in &self.source {
            writeln!(f, "SOURCE  {change}")?;
        }
        for change in &self.compatible {
            writeln!(f, "ok  {change}")?;
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (breaking, compatible) = (self.breaking.len(), self.compatible.len());
        write!(f, "{breaking} breaking change{}, ", plural(breaking))?;
        if !self.source.is_empty() {
            write!(f, "{} of generated code only, ", self.source.len())?;
        }
        write!(f, "{compatible} compatible")
    }
}
