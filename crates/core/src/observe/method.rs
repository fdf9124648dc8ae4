//! Methods as label values.

use http::Method;

/// A method that the conventions know, or `_OTHER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known(u8);

/// RFC 9110 section 9.3, PATCH of RFC 5789; the last one is what a method is that is none of them.
const NAMES: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "_OTHER"];

impl Known {
    pub(super) const COUNT: usize = NAMES.len();

    pub(super) fn of(method: &Method) -> Self {
        Self(match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::CONNECT => 5,
            Method::OPTIONS => 6,
            Method::TRACE => 7,
            Method::PATCH => 8,
            _ => 9,
        })
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(super) fn name(self) -> &'static str {
        NAMES.get(self.index()).copied().unwrap_or("_OTHER")
    }

    /// In the name of a span, a method that is none is `HTTP`.
    pub(super) fn span_name(self) -> &'static str {
        match self.name() {
            "_OTHER" => "HTTP",
            name => name,
        }
    }
}
