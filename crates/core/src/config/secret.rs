//! Values that must not be seen.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::de::SECRET;

/// What is printed in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A value that is redacted wherever it might be shown: in `Debug`, when serialised, in errors and in printed
/// configuration. It has no `Display`.
///
/// It is read like the plain value; keep it out of files with the `_FILE` form of an environment variable.
#[derive(Clone, Default)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Search for this word to find all the places that see secrets.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> Secret<T> {
    /// Whether the secret is `other`, in a time that depends on the lengths only.
    ///
    /// ```
    /// use mainstay_core::config::Secret;
    ///
    /// let token = Secret::new("s3cret".to_owned());
    /// assert!(token.equals("s3cret"));
    /// assert!(!token.equals("s3creT"));
    /// ```
    #[must_use]
    pub fn equals(&self, other: impl AsRef<[u8]>) -> bool {
        let (own, other) = (self.0.as_ref(), other.as_ref());
        let mut difference = u8::from(own.len() != other.len());
        for (own, other) in own.iter().zip(other) {
            difference |= std::hint::black_box(own ^ other);
        }
        std::hint::black_box(difference) == 0
    }
}

impl<T: AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.equals(&other.0)
    }
}

impl<T: AsRef<[u8]>> Eq for Secret<T> {}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The name tells the loader that this key is secret; every other format sees a plain newtype.
        deserializer.deserialize_newtype_struct(SECRET, SecretVisitor(PhantomData))
    }
}

struct SecretVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SecretVisitor<T> {
    type Value = Secret<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret<T>, D::Error> {
        T::deserialize(deserializer).map(Secret)
    }
}
