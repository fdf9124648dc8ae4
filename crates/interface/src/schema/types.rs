//! The types of JSON values, with numbers in two: those without a fraction and those with one.

use std::fmt;

use serde_json::Value;

use super::number;
use crate::document::{Node, Unreadable};

/// One type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Integer,
    /// A number with a fraction.
    Fraction,
    String,
    Array,
    Object,
}

impl Type {
    pub(super) const ALL: [Self; 7] =
        [Self::Null, Self::Boolean, Self::Integer, Self::Fraction, Self::String, Self::Array, Self::Object];

    /// The type of a value.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number::is_integer(number) => Self::Integer,
            Value::Number(_) => Self::Fraction,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Fraction)
    }

    /// Whether the plain schema `node` allows values of this type.
    pub(super) fn is_allowed_by(self, node: &Node<'_>) -> Result<bool, Unreadable> {
        let malformed = || node.malformed("a schema whose `type` is the name of a type, or several");
        match node.value.get("type") {
            None => Ok(true),
            Some(Value::String(name)) => {
                let nullable = self == Self::Null && node.is_3_0() && node.is_set("nullable");
                Ok(nullable || self.is_called(name).ok_or_else(malformed)?)
            }
            Some(Value::Array(names)) => {
                let mut allowed = false;
                for name in names {
                    allowed |= name.as_str().and_then(|name| self.is_called(name)).ok_or_else(malformed)?;
                }
                Ok(allowed)
            }
            Some(_) => Err(malformed()),
        }
    }

    /// Whether the schema type `name` takes it; `None` where there is no such type.
    fn is_called(self, name: &str) -> Option<bool> {
        Some(match name {
            "null" => self == Self::Null,
            "boolean" => self == Self::Boolean,
            "integer" => self == Self::Integer,
            "number" => self.is_number(),
            "string" => self == Self::String,
            "array" => self == Self::Array,
            "object" => self == Self::Object,
            _ => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Fraction => "a number with a fraction",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}
