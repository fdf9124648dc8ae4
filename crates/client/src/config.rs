//! The section `client` of the configuration.

use std::time::Duration;

use serde::Deserialize;

/// How calls are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// Until the head of the answer, for calls made where no deadline holds. Default `10s`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
    /// To open one connection. Default `2s`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub connect_timeout: Duration,
    /// How long an HTTP/1.1 connection is kept without a request. To be less than the servers keep theirs, so that
    /// it is this side that closes. Default `30s`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections kept without a request, for each endpoint and runtime. Default 128.
    pub max_idle: usize,
    /// How often a call is tried at most, the first time included; 1 turns retries off. Default 3.
    pub max_attempts: u32,
    /// Retries as a share of the calls to a service, between 0 and 1. Default 0.2.
    #[serde(deserialize_with = "share")]
    pub retry_budget: f64,
    /// What [`Response::bytes`](crate::Response::bytes) and its like read at most, in bytes. Default 2097152 (2 MiB).
    pub max_body: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            max_idle: 128,
            max_attempts: 3,
            retry_budget: 0.2,
            max_body: 2 * 1024 * 1024,
        }
    }
}

fn share<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(serde::de::Error::custom(format_args!("expected a share between 0 and 1, found {share}")))
}

mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => 0,
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
            Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
            _ => Err(de::Error::custom(format_args!(
                "expected a duration such as `250ms` or `30s`, found `{text}`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        let read = |text| serde_json::from_str::<Config>(text);
        let config = read(r#"{"timeout": "250ms", "retry_budget": 0}"#).unwrap();
        assert_eq!((config.timeout, config.retry_budget), (Duration::from_millis(250), 0.0));
        assert!(
            read(r#"{"timeout": "0s"}"#).unwrap_err().to_string().contains("expected a duration such as")
        );
        assert!(read(r#"{"retry_budget": 2}"#).unwrap_err().to_string().contains("expected a share"));
        assert!(read(r#"{"time_out": "1s"}"#).unwrap_err().to_string().contains("unknown field `time_out`"));
    }
}
