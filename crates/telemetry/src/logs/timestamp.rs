//! The time of a line, RFC 3339 in UTC to the microsecond.

use std::time::{Duration, SystemTime};

/// Now.
#[expect(clippy::disallowed_methods, reason = "the time of day that a line tells")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Now, as text.
pub(super) fn write(to: &mut String) {
    let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    to.push_str(std::str::from_utf8(&format(since)).unwrap_or_default());
}

/// So long after 1970.
fn format(since: Duration) -> [u8; 27] {
    let seconds = since.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..26], u64::from(since.subsec_micros()));
    text
}

fn digits(to: &mut [u8], mut number: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day so many days after 1970-01-01, in the Gregorian calendar. Years are counted from March, so that the
/// leap day is the last of one.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01, in the 400 years after which the calendar repeats.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_leap_years_and_others() {
        let text = |seconds, micros| {
            let since = Duration::from_secs(seconds) + Duration::from_micros(micros);
            String::from_utf8(format(since).to_vec()).unwrap()
        };
        for (seconds, micros, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
            (1_709_164_800, 7, "2024-02-29T00:00:00.000007Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(text(seconds, micros), expected);
        }
    }
}
