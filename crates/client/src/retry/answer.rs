//! What an answer says about the next request.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{Config, details};
use crate::outgoing;

/// How gRPC servers say when to come back, in milliseconds; a negative number, or none, is "don't" (gRFC A6).
pub(crate) const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

pub(crate) const UNKNOWN: u8 = 2;

/// Whoever asks for longer is not believed.
const LONGEST: Duration = Duration::from_secs(300);
/// What is told to callers of a `Retry-After` at most, which may be about hours.
const LONGEST_TOLD: Duration = Duration::from_secs(86_400);

/// Whether the service could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// It was refused for now: too many requests.
    Refused,
    Failure,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// As the client likes.
    Unsaid,
    After(Duration),
    Never,
}

/// Of a head, or of the trailers of gRPC in the place of `headers`.
pub(crate) fn outcome(status: StatusCode, headers: &HeaderMap) -> Outcome {
    if let Some(code) = grpc_code(headers) {
        return match code {
            // RESOURCE_EXHAUSTED
            8 => Outcome::Refused,
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS
            2 | 4 | 13 | 14 | 15 => Outcome::Failure,
            _ => Outcome::Success,
        };
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Refused,
        StatusCode::NOT_IMPLEMENTED => Outcome::Success,
        status if status.is_server_error() => Outcome::Failure,
        _ => Outcome::Success,
    }
}

/// Whether the answer of gRPC that has this head says in its trailers how it went.
pub(crate) fn says_later(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::OK && outgoing::is_grpc(headers) && !headers.contains_key(GRPC_STATUS)
}

/// Whether an answer of gRPC that ends so is a failure; without a status it is UNKNOWN.
pub(crate) fn ends_badly(trailers: &HeaderMap) -> bool {
    grpc_code(trailers).is_none() || outcome(StatusCode::OK, trailers) == Outcome::Failure
}

/// Whether requests that got such an answer are to be sent again.
pub(crate) fn is_listed(config: &Config, status: StatusCode, headers: &HeaderMap) -> bool {
    match grpc_code(headers) {
        Some(code) => config.codes.iter().any(|listed| listed.number() == code),
        None => config.statuses.contains(&status.as_u16()),
    }
}

/// Of the server itself first, then of its application: gRPC's pushback, `google.rpc.RetryInfo`, `Retry-After`.
pub(crate) fn pushback(headers: &HeaderMap) -> Pushback {
    if let Some(value) = headers.get(PUSHBACK) {
        let millis = value.to_str().ok().and_then(|text| text.trim().parse::<i64>().ok());
        return match millis.map(u64::try_from) {
            Some(Ok(millis)) => Pushback::After(Duration::from_millis(millis).min(LONGEST)),
            _ => Pushback::Never,
        };
    }
    let details = headers.get(GRPC_DETAILS).and_then(|value| details::retry_delay(value.as_bytes()));
    match details.or_else(|| retry_after(headers)) {
        Some(delay) => Pushback::After(delay.min(LONGEST)),
        None => Pushback::Unsaid,
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3), in seconds or as a date. What that means is found by the clock of who says it,
/// where the answer has a `Date`: clocks differ.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    let delay = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            let told = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
            #[expect(clippy::disallowed_methods, reason = "a date is wall time")]
            let now = told.unwrap_or_else(SystemTime::now);
            // A date that has passed: now.
            at.duration_since(now).unwrap_or_default()
        }
    };
    Some(delay.min(LONGEST_TOLD))
}

/// The code in `grpc-status`, of a head or of trailers; one that is none is UNKNOWN, as gRPC says.
pub(crate) fn grpc_code(headers: &HeaderMap) -> Option<u8> {
    Some(match headers.get(GRPC_STATUS)?.as_bytes() {
        [one] if one.is_ascii_digit() => one - b'0',
        // More than two digits are none that is defined.
        [ten, one] if ten.is_ascii_digit() && one.is_ascii_digit() => (ten - b'0') * 10 + (one - b'0'),
        _ => UNKNOWN,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::retry::Code;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn pushback_is_read_as_grpc_says_and_retry_after_in_seconds_and_as_a_date() {
        let cases = [
            (("grpc-retry-pushback-ms", "20"), Pushback::After(Duration::from_millis(20))),
            (("grpc-retry-pushback-ms", "0"), Pushback::After(Duration::ZERO)),
            (("grpc-retry-pushback-ms", "-1"), Pushback::Never),
            (("grpc-retry-pushback-ms", "soon"), Pushback::Never),
            (("grpc-retry-pushback-ms", "99999999999999999999"), Pushback::Never),
            (("retry-after", "7"), Pushback::After(Duration::from_secs(7))),
            (("retry-after", "99999999999"), Pushback::After(LONGEST)),
            (("retry-after", "-1"), Pushback::Unsaid),
            (("retry-after", "Sun, 22 Nov 2026 08:00:20 GMT"), Pushback::After(Duration::from_secs(20))),
            (("retry-after", "Sun, 22 Nov 2026 07:00:00 GMT"), Pushback::After(Duration::ZERO)),
            (("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), Pushback::After(LONGEST)),
            (("retry-after", "Sun, 99 Nov 2026 08:00:00 GMT"), Pushback::Unsaid),
        ];
        for (pair, expected) in cases {
            let date = ("date", "Sun, 22 Nov 2026 08:00:00 GMT");
            assert_eq!(pushback(&headers(&[pair, date])), expected, "{pair:?}");
        }
        let past = headers(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO), "by the clock of this side");
        let mut told = headers(&[("retry-after", "9")]);
        // RetryInfo of 1.5 s, as tonic writes it.
        let details = "GjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gE";
        told.insert(GRPC_DETAILS, HeaderValue::from_static(details));
        assert_eq!(pushback(&told), Pushback::After(Duration::from_millis(1500)));
        told.insert(PUSHBACK, HeaderValue::from_static("7"));
        assert_eq!(pushback(&told), Pushback::After(Duration::from_millis(7)));
    }

    #[test]
    fn the_code_of_grpc_goes_before_the_status_of_http() {
        let unavailable = headers(&[("grpc-status", "14")]);
        let not_found = headers(&[("grpc-status", "5")]);
        let none = HeaderMap::new();
        assert_eq!(outcome(StatusCode::OK, &unavailable), Outcome::Failure);
        assert_eq!(outcome(StatusCode::OK, &not_found), Outcome::Success);
        assert_eq!(outcome(StatusCode::OK, &headers(&[("grpc-status", "8")])), Outcome::Refused);
        assert_eq!(outcome(StatusCode::OK, &headers(&[("grpc-status", "x")])), Outcome::Failure);
        assert_eq!(outcome(StatusCode::TOO_MANY_REQUESTS, &none), Outcome::Refused);
        assert_eq!(outcome(StatusCode::BAD_GATEWAY, &none), Outcome::Failure);
        assert_eq!(outcome(StatusCode::NOT_FOUND, &none), Outcome::Success);

        let mut config = Config::default();
        for (status, headers) in [(503, &none), (200, &unavailable)] {
            assert!(
                !is_listed(&config, StatusCode::from_u16(status).unwrap(), headers),
                "nothing is by default"
            );
        }
        config.statuses = vec![503];
        config.codes = vec![Code::Unavailable];
        assert!(is_listed(&config, StatusCode::SERVICE_UNAVAILABLE, &none));
        assert!(is_listed(&config, StatusCode::OK, &unavailable));
        assert!(!is_listed(&config, StatusCode::SERVICE_UNAVAILABLE, &not_found));
    }
}
