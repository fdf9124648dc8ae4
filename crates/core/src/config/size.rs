//! Sizes written as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number of bytes, written `2MiB`, `64KiB`, `1MB`, or as a plain number of bytes.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `kB` (or `KB`), `MB`, `GB` and `TB` powers of 1000; `B` is a byte.
///
/// ```
/// use mainstay_core::config::ByteSize;
///
/// let limit: ByteSize = "2MiB".parse()?;
/// assert_eq!(limit.get(), 2 * 1024 * 1024);
/// assert_eq!(limit.to_string(), "2MiB");
/// # Ok::<(), mainstay_core::config::InvalidByteSize>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const EXPECTED: &str = "a size such as `64KiB`, `2MiB` or a number of bytes";

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes; as many as fit where that is too many.
    #[must_use]
    pub const fn from_kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// So many times 1024 × 1024 bytes; as many as fit where that is too many.
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index; as many as the platform can address where it is more.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The unit that leaves the smallest whole number; a size such as 1500 stays a number of bytes.
        let unit = UNITS
            .iter()
            .filter(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .max_by_key(|unit| unit.1);
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, InvalidByteSize> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(InvalidByteSize::Malformed);
        }
        let unit = unit.trim_start();
        let size = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, size)) => *size,
            None if unit.is_empty() => 1,
            None => return Err(InvalidByteSize::Unit),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(size))
            .map(Self)
            .ok_or(InvalidByteSize::TooLarge)
    }
}

/// Why a text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidByteSize {
    /// No such unit.
    #[error("the unit is none of `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB`, `TB`")]
    Unit,
    /// More than 16 EiB.
    #[error("too large")]
    TooLarge,
    /// Not a whole number with or without a unit.
    #[error("not a whole number with a unit")]
    Malformed,
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Text is asked for; a number that comes instead is taken too.
        deserializer.deserialize_str(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size is never negative"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(ByteSize::get);
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert_eq!(bytes("64 KiB"), Ok(64 << 10));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        assert_eq!(bytes("1500"), Ok(1500));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("7B"), Ok(7));
        for wrong in ["1mb", "1M", "1mib", "1.5MiB", "1 2"] {
            assert_eq!(bytes(wrong), Err(InvalidByteSize::Unit), "{wrong:?}");
        }
        for wrong in ["", "MiB", "-1"] {
            assert_eq!(bytes(wrong), Err(InvalidByteSize::Malformed), "{wrong:?}");
        }
        for large in ["99999999999999999999", "17179869184GiB"] {
            assert_eq!(bytes(large), Err(InvalidByteSize::TooLarge), "{large:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_size_reads_the_same(bytes: u64, scale in 0u32..40) {
            let size = ByteSize::from_bytes(bytes.checked_shl(scale).unwrap_or(bytes));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}|[0-9KMGTiB ]{0,30}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
