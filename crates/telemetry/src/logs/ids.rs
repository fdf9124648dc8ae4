//! The ids of the request that a line belongs to.

use std::fmt::{self, Write};

use mainstay_core::{
    context::{RequestContext, TraceContext},
    trace::Span,
};

/// What a line says of the request.
#[derive(Default)]
pub(super) struct Ids {
    trace_id: Option<Id>,
    span_id: Option<Id>,
    request_id: Option<Id>,
    #[cfg(feature = "otlp")]
    is_sampled: bool,
}

/// Short ones, as all of ours are, take no memory of their own.
enum Id {
    Short([u8; 32], usize),
    Long(String),
}

impl Id {
    fn new(value: &dyn fmt::Display) -> Self {
        let mut id = Self::Short([0; 32], 0);
        // Nothing here fails to be written to.
        let _ = write!(id, "{value}");
        id
    }

    fn hex(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Self::Short(text, (2 * bytes.len()).min(32))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Short(text, length) => std::str::from_utf8(&text[..*length]).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

impl Write for Id {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        match self {
            Self::Short(text, length) if *length + more.len() <= text.len() => {
                text[*length..*length + more.len()].copy_from_slice(more.as_bytes());
                *length += more.len();
            }
            Self::Short(..) => *self = Self::Long(self.as_str().to_owned() + more),
            Self::Long(text) => text.push_str(more),
        }
        Ok(())
    }
}

impl Ids {
    /// Fills what the event did not say from what is current: the innermost span that is recorded, else the request.
    pub(super) fn or_current(mut self) -> Self {
        let context = RequestContext::current();
        let span = Span::current();
        if let Some(trace) = span.trace().or(context.as_ref().map(RequestContext::trace)) {
            let own = Id::hex(&trace.trace_id().to_bytes());
            // One that says another trace says nothing of this one's span.
            if self.trace_id.as_ref().is_none_or(|said| said.as_str() == own.as_str()) {
                self.of(trace, own);
            }
        }
        if let Some(context) = &context {
            self.request_id.get_or_insert_with(|| Id::new(&context.request_id()));
        }
        self
    }

    fn of(&mut self, trace: &TraceContext, trace_id: Id) {
        self.trace_id = Some(trace_id);
        self.span_id.get_or_insert_with(|| Id::hex(&trace.span_id().to_bytes()));
        #[cfg(feature = "otlp")]
        {
            self.is_sampled = trace.is_sampled();
        }
    }

    /// Whether the trace that is current is recorded by those who are called.
    #[cfg(feature = "otlp")]
    pub(super) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Takes a field of the event over, if it is one of the ids.
    pub(super) fn take(&mut self, field: &str, value: &dyn fmt::Display) -> bool {
        let id = match field {
            "trace_id" => &mut self.trace_id,
            "span_id" => &mut self.span_id,
            "request_id" => &mut self.request_id,
            _ => return false,
        };
        *id = Some(Id::new(value));
        true
    }

    /// Those that are known, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let ids =
            [("trace_id", &self.trace_id), ("span_id", &self.span_id), ("request_id", &self.request_id)];
        ids.into_iter().filter_map(|(name, id)| Some((name, id.as_ref()?.as_str())))
    }
}
