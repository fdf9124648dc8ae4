//! Fields whose values are told to nobody.

use std::fmt;

use mainstay_core::trace::SpanData;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};

/// What stands for a value.
const REDACTED: &str = "[redacted]";

/// Names of fields whose values are left out of log lines and spans. A field is meant by its name, or by what follows its
/// last dot (`http.request.header.authorization`); capitals don't count, and `-` is `_`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Redact {
    names: Vec<String>,
}

impl Redact {
    /// The fields of these names.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self { names: Vec::new() }
    }

    /// Whether the field of this name is meant.
    #[must_use]
    pub fn hides(&self, field: &str) -> bool {
        let last = field.rsplit('.').next().unwrap_or(field);
        let same = |name: &str, field: &str| {
            let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
            name.len() == field.len() && name.bytes().map(plain).eq(field.bytes().map(plain))
        };
        self.names.iter().any(|name| same(name, last) || (last.len() < field.len() && same(name, field)))
    }

    /// Names that can't be one of a field.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = (usize, &str)> {
        let names = self.names.iter().map(String::as_str).enumerate();
        names.filter(|(_, name)| name.is_empty() || name.contains(char::is_whitespace))
    }

    /// Leaves the values of attributes of these names out of a span and its events.
    pub fn span(&self, span: &mut SpanData) {
        let events = span.events.iter_mut().map(|event| &mut event.attributes);
        for attributes in events.chain([&mut span.attributes]) {
            for (_, value) in attributes.iter_mut().filter(|(name, _)| self.hides(name)) {
                *value = REDACTED.into();
            }
        }
    }

    /// `inner`, which does not see what is redacted.
    pub(crate) fn visitor<'a, V: Visit>(&'a self, inner: &'a mut V) -> Visitor<'a, V> {
        Visitor { redact: self, inner }
    }
}

/// What is a secret by its name, wherever it stands.
impl Default for Redact {
    fn default() -> Self {
        Self::new([
            "access_token",
            "api_key",
            "authorization",
            "client_secret",
            "cookie",
            "passwd",
            "password",
            "private_key",
            "proxy_authorization",
            "refresh_token",
            "secret",
            "set_cookie",
            "token",
            "x_api_key",
        ])
    }
}

pub(crate) struct Visitor<'a, V> {
    redact: &'a Redact,
    inner: &'a mut V,
}

macro_rules! redacted {
    ($($record:ident: $value:ty),*) => {$(
        fn $record(&mut self, field: &Field, value: $value) {
            if self.redact.hides(field.name()) {
                self.inner.record_debug(field, &format_args!("{REDACTED}"));
            } else {
                self.inner.$record(field, value);
            }
        }
    )*};
}

impl<V: Visit> Visit for Visitor<'_, V> {
    redacted! {
        record_debug: &dyn fmt::Debug,
        record_str: &str,
        record_bool: bool,
        record_i64: i64,
        record_u64: u64,
        record_i128: i128,
        record_u128: u128,
        record_f64: f64,
        record_bytes: &[u8],
        record_error: &(dyn std::error::Error + 'static)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_meant_by_its_name_or_the_end_of_it() {
        let redact = Redact::default();
        for field in ["password", "user.Password", "http.request.header.set-cookie", "x-api-key"] {
            assert!(redact.hides(field), "{field}");
        }
        for field in ["passwords", "password.length", "tokens", "", "."] {
            assert!(!redact.hides(field), "{field}");
        }
        assert!(Redact::new(["user.iban"]).hides("user.IBAN") && !Redact::new(["user.iban"]).hides("iban"));
        assert!(!Redact::none().hides("password"));
    }

    #[test]
    fn attributes_of_spans_and_their_events_are_meant_too() {
        let capture = crate::test::Capture::with(
            &crate::logs::Config::default().with_redact(Redact::new(["client.address", "iban"])),
        );
        let request = capture.request("pay");
        request.span().set("client.address", "10.0.0.7");
        request.span().set("server.address", "shop.example");
        request.span().event("paid", [("user.iban", "DE02"), ("amount", "7")]);
        drop(request);
        let span = capture.span("pay");
        let shown = |name: &str| format!("{:?}", span.get(name).unwrap());
        assert!(
            shown("client.address").contains("[redacted]")
                && shown("server.address").contains("shop.example")
        );
        let event = format!("{:?}", span.events);
        assert!(event.contains("[redacted]") && !event.contains("DE02") && event.contains('7'), "{event}");
    }
}
