//! Values that stand in for a missing or wrong one, so that the checking can go on after it.
//!
//! They never reach the program: where one was needed there is an error, and the whole is refused.

use serde::de::{Error as _, Visitor};

use super::Hint;
use super::error::Error;

/// How many stand-ins are tried before a type is given up.
pub(in crate::config) const CANDIDATES: usize = TEXTS.len() + 4;

const TEXTS: [&str; 16] = [
    "1s",
    "1",
    "127.0.0.1:1",
    "127.0.0.1",
    "http://localhost/",
    "a",
    "/",
    "info",
    "",
    "GET",
    "10.0.0.0/8",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00000000-0000-0000-0000-000000000000",
    "a=b",
    "true",
];

const INTEGERS: [i64; 6] = [1, 0, 2, 1024, 100, -1];

/// Gives the visitor the stand-in `candidate` for what the type hints at.
pub(in crate::config) fn visit<'de, V: Visitor<'de>>(
    candidate: usize,
    hint: Hint,
    visitor: V,
) -> Result<V::Value, Error> {
    let text = TEXTS.get(candidate).copied();
    match hint {
        Hint::Bool => visitor.visit_bool(!candidate.is_multiple_of(2)),
        Hint::Integer => visitor.visit_i64(INTEGERS.get(candidate).copied().unwrap_or(1)),
        Hint::Float => visitor.visit_f64(if candidate == 0 { 1.0 } else { 0.5 }),
        Hint::Char => visitor.visit_char('a'),
        Hint::Bytes => visitor.visit_bytes(b"a"),
        Hint::Unit => visitor.visit_unit(),
        Hint::Text => visitor.visit_str(text.unwrap_or("a")),
        Hint::Any => match text {
            Some(text) => visitor.visit_str(text),
            None if candidate == TEXTS.len() => visitor.visit_i64(1),
            None if candidate == TEXTS.len() + 1 => visitor.visit_bool(true),
            None => Err(Error::custom("no stand-in fits")),
        },
    }
}
