//! Durations written as people write them.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A span of time, written `30s`, `250ms`, `1m30s`, `2h`.
///
/// Units are `d`, `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`, whole numbers each, from the largest to the smallest.
/// A number without a unit is refused, since nobody can tell seconds from milliseconds; only `0` needs none.
///
/// ```
/// use mainstay_core::config::Duration;
///
/// let timeout: Duration = "1m30s".parse()?;
/// assert_eq!(timeout.get(), std::time::Duration::from_secs(90));
/// assert_eq!(timeout.to_string(), "1m30s");
/// # Ok::<(), mainstay_core::config::InvalidDuration>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const EXPECTED: &str = "a duration such as `30s` or `1m30s`";

const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// The duration as the standard library has it.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            let count = left / size;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
            left %= size;
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(InvalidDuration::Malformed);
        }
        let mut total: u128 = 0;
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                return Err(InvalidDuration::Malformed);
            }
            if after.is_empty() {
                return Err(InvalidDuration::NoUnit);
            }
            let number: u128 = number.parse().map_err(|_| InvalidDuration::TooLong)?;
            let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (name, after) = after.split_at(letters);
            let name = if name == "µs" { "us" } else { name };
            // Each unit once and in order: `5s1m` and `1s1s` are slips, not durations.
            let Some((_, size)) = units.by_ref().find(|(unit, _)| *unit == name) else {
                return Err(if UNITS.iter().any(|(unit, _)| *unit == name) {
                    InvalidDuration::Order
                } else {
                    InvalidDuration::Malformed
                });
            };
            total = number
                .checked_mul(*size)
                .and_then(|part| total.checked_add(part))
                .ok_or(InvalidDuration::TooLong)?;
            rest = after;
        }
        let total = u64::try_from(total).map_err(|_| InvalidDuration::TooLong)?;
        Ok(Self(std::time::Duration::from_nanos(total)))
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDuration {
    /// A number, but seconds or milliseconds?
    #[error("a unit is missing: add `ms`, `s`, `m` or `h`")]
    NoUnit,
    /// A unit twice, or a larger one after a smaller.
    #[error("write each unit once, the largest first")]
    Order,
    /// More than 584 years.
    #[error("too long")]
    TooLong,
    /// Not numbers with units.
    #[error("not a number with a unit")]
    Malformed,
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Duration, E> {
        if number == 0 { Ok(Duration::ZERO) } else { Err(E::custom(InvalidDuration::NoUnit)) }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Duration, E> {
        if number == 0 { Ok(Duration::ZERO) } else { Err(E::custom(InvalidDuration::NoUnit)) }
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Duration, E> {
        Err(E::custom(InvalidDuration::NoUnit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let millis = |text: &str| text.parse::<Duration>().map(|duration| duration.as_millis());
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis(" 250ms "), Ok(250));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("1d2h"), Ok(93_600_000));
        assert_eq!(millis("1500µs"), Ok(1));
        assert_eq!(millis("0"), Ok(0));
        assert_eq!(millis("30"), Err(InvalidDuration::NoUnit));
        assert_eq!(millis("1m30"), Err(InvalidDuration::NoUnit));
        assert_eq!(millis("30s1m"), Err(InvalidDuration::Order));
        assert_eq!(millis("1s1s"), Err(InvalidDuration::Order));
        for wrong in ["", "s", "1x", "-1s", "1.5s", "1 s", "1s 2ms", "٣s"] {
            assert_eq!(millis(wrong), Err(InvalidDuration::Malformed), "{wrong:?}");
        }
        for long in
            ["99999999999h", "99999999999999999999999999999999999999999999s", "18446744073709551616ns"]
        {
            assert_eq!(millis(long), Err(InvalidDuration::TooLong), "{long:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_the_same(nanos: u64) {
            let duration = Duration::from(std::time::Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}|[0-9dhmsunµ ]{0,40}") {
            let _ = text.parse::<Duration>();
        }
    }
}
