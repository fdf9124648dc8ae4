//! Durations and sizes as people write them: `250ms`, `5s`, `2m`; `64KiB`, `2MiB`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A span of time, written as a whole number and a unit: `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of bytes, written as a whole number and a unit: `B`, `KiB`, `MiB`, `kB` or `MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a duration: expected one like `250ms`, `5s`, `2m`, `1h`");
        let (number, unit) = split(text).ok_or_else(expected)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(expected()),
        };
        number.checked_mul(milliseconds).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(expected)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a size: expected one like `512B`, `64KiB`, `2MiB`");
        let (number, unit) = split(text).ok_or_else(expected)?;
        let bytes = match unit {
            "" | "B" => 1,
            "kB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            _ => return Err(expected()),
        };
        let bytes = number.checked_mul(bytes).ok_or_else(expected)?;
        usize::try_from(bytes).map(Self).map_err(|_| expected())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Size, Span};

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("5 s".parse(), Ok(Span(Duration::from_secs(5))));
        assert_eq!("2MiB".parse(), Ok(Size(2 << 20)));
        assert_eq!("100".parse(), Ok(Size(100)));
    }

    #[test]
    fn a_wrong_one_is_quoted_with_what_was_expected() {
        for wrong in ["", "5", "s", "5 parsecs", "-1s", "99999999999999999999s", "9999999999999999999h"] {
            let error = wrong.parse::<Span>().expect_err(wrong);
            assert!(error.contains(&format!("`{wrong}`")) && error.contains("`5s`"), "{error}");
        }
        assert!("2 bushels".parse::<Size>().expect_err("no unit").contains("`64KiB`"));
    }
}
