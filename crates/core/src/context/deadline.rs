//! When an answer is of no more use, and how that is written in a header.
//!
//! `grpc-timeout` and `x-request-timeout` have one format ("Timeout" in the gRPC over HTTP/2 specification): at most
//! eight digits and a unit, `H`, `M`, `S`, `m`, `u` or `n`. What is sent is the time left, never a wall-clock time.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

/// gRPC's timeout header.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The same for HTTP, in the same format.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");

/// The longest timeout that is taken from a header: more is of no use, and can't overflow an instant.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A point in time; after it the answer is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    explicit: bool,
}

impl Deadline {
    /// `timeout` from now, as the caller said.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self::after_from(Instant::now(), timeout)
    }

    /// `timeout` from now, because nobody said anything: the configured default.
    #[must_use]
    pub fn by_default(timeout: Duration) -> Self {
        Self::by_default_from(Instant::now(), timeout)
    }

    pub(crate) fn after_from(now: Instant, timeout: Duration) -> Self {
        Self { at: now + timeout.min(LONGEST), explicit: true }
    }

    pub(crate) fn by_default_from(now: Instant, timeout: Duration) -> Self {
        Self { explicit: false, ..Self::after_from(now, timeout) }
    }

    /// The point in time.
    #[must_use]
    pub fn at(self) -> Instant {
        self.at
    }

    /// Whether the caller asked for it. A default bounds the handler; one that was asked for also bounds the body of
    /// the answer, so that a stream opened without a timeout may stay open.
    #[must_use]
    pub fn is_explicit(self) -> bool {
        self.explicit
    }

    /// What is left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.at
    }

    /// The earlier of the two.
    #[must_use]
    pub fn earliest(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// A timeout header that isn't one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one to eight digits and one of the units H, M, S, m, u, n, such as `250m` for 250 milliseconds"
)]
#[non_exhaustive]
pub struct InvalidTimeout;

/// Reads a timeout header.
///
/// # Errors
/// [`InvalidTimeout`] when it is not one to eight digits and a unit.
///
/// ```
/// use std::time::Duration;
/// use mainstay_core::context::parse_timeout;
///
/// assert_eq!(parse_timeout(b"250m"), Ok(Duration::from_millis(250)));
/// assert!(parse_timeout(b"250ms").is_err());
/// ```
pub fn parse_timeout(text: &[u8]) -> Result<Duration, InvalidTimeout> {
    let (unit, digits) = text.split_last().ok_or(InvalidTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidTimeout);
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(InvalidTimeout),
    }
}

/// Writes a timeout header: the finest unit that eight digits hold, rounded down so that a budget never grows.
#[must_use]
pub fn format_timeout(timeout: Duration) -> HeaderValue {
    const MOST: u64 = 99_999_999;
    const UNITS: [(u64, u8); 6] = [
        (1, b'n'),
        (1_000, b'u'),
        (1_000_000, b'm'),
        (1_000_000_000, b'S'),
        (60_000_000_000, b'M'),
        (3_600_000_000_000, b'H'),
    ];
    // More than five centuries are cut to them.
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let (mut number, unit) = UNITS
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(number, _)| *number <= MOST)
        .unwrap_or((MOST, b'H'));

    // Eight digits and the unit, written from their end.
    let mut text = [b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', unit];
    let mut begin = 8;
    for (index, digit) in text.iter_mut().enumerate().take(8).rev() {
        *digit += (number % 10) as u8;
        number /= 10;
        begin = index;
        if number == 0 {
            break;
        }
    }
    let text = text.get(begin..).unwrap_or(b"0n");
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_finest_unit_that_eight_digits_hold_is_written() {
        let hour = Duration::from_secs(3600);
        for (timeout, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(7), "7n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (Duration::from_millis(2_990), "2990000u"),
            (hour, "3600000m"),
            (hour * 1_000_000, "60000000M"),
            (hour * 5_000_000, "5000000H"),
            (Duration::MAX, "5124095H"),
        ] {
            assert_eq!(format_timeout(timeout), text, "{timeout:?}");
        }
    }

    #[test]
    fn what_is_not_a_timeout_is_refused() {
        for text in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", " 1S", "1S ", "1 S", "٣S"] {
            assert_eq!(parse_timeout(text.as_bytes()), Err(InvalidTimeout), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_never_longer(nanos in 0u64..) {
            let timeout = Duration::from_nanos(nanos);
            let read = parse_timeout(format_timeout(timeout).as_bytes()).unwrap();
            prop_assert!(read <= timeout);
            // Eight digits: the loss is below one part in ten million.
            prop_assert!(timeout - read <= timeout / 1_000_000);
        }
    }
}
