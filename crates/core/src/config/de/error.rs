//! What a type has against a value, and at which key.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::config::key::{Key, Segment};

/// The first thing that a type has against the values it was given.
#[derive(Debug)]
pub(in crate::config) struct Error {
    /// From the value up to the root.
    path: Vec<Segment>,
    pub(in crate::config) problem: Problem,
    /// What the type said it was expecting, where it was asked before it failed.
    expecting: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Problem {
    UnknownKey {
        name: String,
        known: Vec<String>,
    },
    /// A key that the type does not look at; the table around it turns this into `UnknownKey`.
    Ignored,
    UnknownVariant {
        known: Vec<String>,
    },
    Missing {
        name: String,
    },
    Duplicate {
        name: String,
    },
    Wrong {
        expected: String,
        found: Option<String>,
    },
    Custom {
        message: String,
    },
}

impl Error {
    pub(in crate::config) fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), problem, expecting: None }
    }

    pub(in crate::config) fn below(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    /// Remembers what the visitor expected, unless the error comes from further down.
    pub(super) fn expecting(mut self, text: impl FnOnce() -> String) -> Self {
        if self.path.is_empty() && self.expecting.is_none() {
            self.expecting = Some(text());
        }
        self
    }

    /// An error of the value itself, not of something below it.
    pub(super) fn is_here(&self) -> bool {
        self.path.is_empty()
    }

    pub(in crate::config) fn key(&self) -> Key {
        Key::from_segments(self.path.iter().rev().cloned().collect())
    }

    /// What was expected, in words for people, and what else the type said.
    pub(in crate::config) fn expected(&self) -> (String, Option<String>) {
        match &self.problem {
            Problem::Wrong { expected, .. } => (in_words(expected), None),
            Problem::Custom { message } => match &self.expecting {
                Some(expecting) => (in_words(expecting), Some(message.clone())),
                None => (message.clone(), None),
            },
            Problem::UnknownVariant { known } => (one_of(known), None),
            Problem::UnknownKey { known, .. } if known.is_empty() => ("no key here".to_owned(), None),
            Problem::UnknownKey { known, .. } => (one_of(known), None),
            Problem::Missing { .. } => ("a value".to_owned(), None),
            Problem::Duplicate { name } => (format!("`{name}` once"), None),
            Problem::Ignored => ("no key here".to_owned(), None),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.key(), self.expected().0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Custom { message: message.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Wrong { expected: expected.to_string(), found: literal(found) })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(Problem::Wrong { expected: expected.to_string(), found: None })
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownVariant { known: owned(known) })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { name: name.to_owned(), known: owned(known) })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Problem::Missing { name: name.to_owned() })
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Problem::Duplicate { name: name.to_owned() })
    }
}

/// The value that serde names in its complaint, to find it again where serde lost the path.
fn literal(found: Unexpected<'_>) -> Option<String> {
    match found {
        Unexpected::Bool(value) => Some(value.to_string()),
        Unexpected::Unsigned(value) => Some(value.to_string()),
        Unexpected::Signed(value) => Some(value.to_string()),
        Unexpected::Float(value) => Some(value.to_string()),
        Unexpected::Str(value) => Some(value.to_owned()),
        _ => None,
    }
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn one_of(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [name] => name.clone(),
        [first, second] => format!("{first} or {second}"),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// The names that serde and std give to types, in words.
pub(in crate::config) fn in_words(expecting: &str) -> String {
    let words = match expecting {
        "a boolean" => "`true` or `false`",
        "i8" => "a whole number from -128 to 127",
        "u8" => "a whole number from 0 to 255",
        "i16" => "a whole number from -32768 to 32767",
        "u16" => "a whole number from 0 to 65535",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "u32" => "a whole number from 0 to 4294967295",
        "i64" | "i128" | "isize" => "a whole number",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero u128" | "a nonzero usize" => "a whole number, 1 or more",
        "a character" => "a single character",
        "a string" | "a borrowed string" | "str" | "string" => "a string",
        "path string" => "a path",
        "socket address" => "an address and port such as `127.0.0.1:8080` or `[::1]:8080`",
        "IPv4 socket address" => "an IPv4 address and port such as `127.0.0.1:8080`",
        "IPv6 socket address" => "an IPv6 address and port such as `[::1]:8080`",
        "IP address" => "an IP address",
        "IPv4 address" => "an IPv4 address",
        "IPv6 address" => "an IPv6 address",
        "a sequence" => "a list",
        "a map" => "a table",
        "unit" => "nothing",
        other if other.starts_with("struct ") => "a table",
        other if other.starts_with("enum ") => "one of its variants",
        other => return other.to_owned(),
    };
    words.to_owned()
}
