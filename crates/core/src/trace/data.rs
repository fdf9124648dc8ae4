//! A span that has ended.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use http::HeaderValue;

use crate::{
    clock,
    context::{SpanId, TraceContext},
};

/// What a span is to the one that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Work within a process.
    #[default]
    Internal,
    /// A request that is answered.
    Server,
    /// A request that is sent.
    Client,
    /// A message that is sent, and whose work happens later.
    Producer,
    /// A message that is worked on.
    Consumer,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Somebody said that it went well.
    Ok,
    /// It failed, and why.
    Error(Cow<'static, str>),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl Value {
    /// At most `most` bytes of text.
    pub(super) fn cut(self, most: usize) -> Self {
        match self {
            Self::Text(text) if text.len() > most => Self::Text(beginning(&text, most).to_owned().into()),
            other => other,
        }
    }
}

/// As much of `text` as fits into `most` bytes.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

macro_rules! from {
    ($($from:ty => $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                $to(value)
            }
        }
    )*};
}

from! {
    &'static str => |text| Self::Text(Cow::Borrowed(text)),
    String => |text| Self::Text(Cow::Owned(text)),
    Cow<'static, str> => Self::Text,
    Arc<str> => |text: Arc<str>| Self::Text(Cow::Owned((*text).to_owned())),
    i64 => Self::Int,
    i32 => |number| Self::Int(i64::from(number)),
    u32 => |number| Self::Int(i64::from(number)),
    u16 => |number| Self::Int(i64::from(number)),
    u64 => |number| Self::Int(i64::try_from(number).unwrap_or(i64::MAX)),
    usize => |number| Self::Int(i64::try_from(number).unwrap_or(i64::MAX)),
    f64 => Self::Float,
    bool => Self::Bool,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub name: Cow<'static, str>,
    /// When.
    pub at: SystemTime,
    /// More about it.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SpanData {
    /// Its trace, its own id, that of its parent, the flags.
    pub trace: TraceContext,
    /// Whether the parent is in another process, or in another service of this one.
    pub is_parent_remote: bool,
    /// What came with the trace.
    pub tracestate: Option<HeaderValue>,
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// What was done.
    pub name: Cow<'static, str>,
    /// What it is to its parent.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it. Each name is there once.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// How many attributes were too many.
    pub dropped_attributes: u32,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// How many events were too many.
    pub dropped_events: u32,
    /// How it went.
    pub status: Status,
}

impl SpanData {
    /// A span that begins and ends now.
    #[must_use]
    pub fn new(
        service: Arc<str>,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        trace: TraceContext,
    ) -> Self {
        let now = clock::wall();
        Self {
            trace,
            is_parent_remote: false,
            tracestate: None,
            service,
            name: name.into(),
            kind,
            start: now,
            end: now,
            attributes: Vec::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            status: Status::Unset,
        }
    }

    /// The id of its parent.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.trace.parent()
    }

    /// The value of this attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}
