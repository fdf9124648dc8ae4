//! The logical name of a service.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name: that of a DNS label (RFC 1035 section 2.3.4), so that every registry can hold it.
const LONGEST: usize = 63;

/// The name by which services call each other, such as `orders`: 1 to 63 of `a-z`, `0-9` and `-`, starting with a
/// letter, not ending with `-`. That is what DNS labels and Kubernetes names share. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`InvalidName`] when it is not as described above.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        let name = name.as_ref();
        let invalid = |reason| Err(InvalidName { name: name.chars().take(LONGEST + 1).collect(), reason });
        if name.is_empty() || name.len() > LONGEST {
            return invalid("it must have 1 to 63 characters");
        }
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return invalid("only a-z, 0-9 and `-` are allowed");
        }
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return invalid("it must start with a letter");
        }
        if name.ends_with('-') {
            return invalid("it must not end with `-`");
        }
        Ok(Self(name.into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not the name of a service: {reason}")]
#[non_exhaustive]
pub struct InvalidName {
    /// What was given, cut to 64 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<&str> for ServiceName {
    type Error = InvalidName;

    fn try_from(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(name).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "orders", "orders-2", &"a".repeat(63)] {
            assert_eq!(ServiceName::new(good).unwrap().as_str(), good);
        }
        let bad =
            ["", "Orders", "orders.shop", "127.0.0.1", "-a", "a-", "2a", "a_b", "a b", "ä", &"a".repeat(64)];
        for bad in bad {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
    }
}
