//! Dates as people write them into configurations (RFC 3339, in UTC).

/// The seconds since 1970 of `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ssZ`; `None` for what is neither.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin in March: the leap day is the last one of its year.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    // From the first of March of the year 0 to the first of January 1970.
    let days = days - 719_468;
    Some(f64::from(days) * 86_400.0 + f64::from(hour * 3600 + minute * 60 + second))
}

fn numbers(text: &str, separator: char, lengths: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        // date -u -d … +%s
        for (text, expected) in [
            ("1970-01-01", 0.0),
            ("1970-01-01T00:00:01Z", 1.0),
            ("2000-02-29", 951_782_400.0),
            ("2000-03-01", 951_868_800.0),
            ("2027-01-31T12:34:56Z", 1_801_398_896.0),
            ("2100-12-31T23:59:59Z", 4_133_980_799.0),
            ("9999-12-31", 253_402_214_400.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2027",
            "2027-1-31",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027-04-31",
            "1969-12-31",
            "2027-01-31T24:00:00Z",
            "2027-01-31T12:00:00",
            "2027-01-31T12:00:00+01:00",
            "2027-01-31T",
            "2027-01-31 12:00:00Z",
            "+027-01-31",
            "2027-01-31-1",
            "tomorrow",
            "2027-01-3é",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
