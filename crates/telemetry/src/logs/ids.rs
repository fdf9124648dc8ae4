//! The ids of the request that a line belongs to.

use mainstay_core::context::RequestContext;

/// What a line says of the request.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) trace_id: Option<String>,
    pub(super) request_id: Option<String>,
}

impl Ids {
    /// Fills what the event did not say from the current request, if there is one.
    pub(super) fn or_current(mut self) -> Self {
        if self.trace_id.is_some() && self.request_id.is_some() {
            return self;
        }
        if let Some(context) = RequestContext::current() {
            self.trace_id.get_or_insert_with(|| context.trace().trace_id().to_string());
            self.request_id.get_or_insert_with(|| context.request_id().to_string());
        }
        self
    }

    /// Takes a field of the event over, if it is one of the ids.
    pub(super) fn take(&mut self, field: &str, value: impl FnOnce() -> String) -> bool {
        let id = match field {
            "trace_id" => &mut self.trace_id,
            "request_id" => &mut self.request_id,
            _ => return false,
        };
        *id = Some(value());
        true
    }
}
