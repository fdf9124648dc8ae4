//! The spans that this thread is in.

use std::cell::RefCell;

use mainstay_core::{
    context::{RequestContext, SpanId},
    trace::{Entered, Span},
};
use tracing::span::Id;

thread_local! {
    static STACK: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

struct Frame {
    id: Id,
    span: SpanId,
    entered: Entered,
    /// It was left before one that was entered later.
    is_left: bool,
}

/// Makes `span` the current one.
pub(super) fn push(id: &Id, span: &Span) {
    let Some(trace) = span.trace() else { return };
    // A task that began in another request: its span is nobody's parent here.
    if RequestContext::current().is_some_and(|here| here.trace().trace_id() != trace.trace_id()) {
        return;
    }
    let frame = Frame { id: id.clone(), span: trace.span_id(), entered: span.enter(), is_left: false };
    let _ = STACK.try_with(|stack| stack.try_borrow_mut().map(|mut stack| stack.push(frame)));
}

/// It is no longer the current one.
pub(super) fn pop(id: &Id) {
    let _ = STACK.try_with(|stack| {
        let Ok(mut stack) = stack.try_borrow_mut() else { return };
        // Spans may be left in another order than they were entered in; what they replaced is put back innermost first.
        if let Some(frame) = stack.iter_mut().rev().find(|frame| frame.id == *id && !frame.is_left) {
            frame.is_left = true;
        }
        while stack.last().is_some_and(|frame| frame.is_left) {
            drop(stack.pop().map(|frame| frame.entered));
        }
    });
}

/// Whether `span` is one that was entered here, rather than that of a request or one of the framework.
pub(super) fn is_innermost(span: SpanId) -> bool {
    STACK
        .try_with(|stack| {
            stack.try_borrow().is_ok_and(|stack| stack.last().is_some_and(|top| top.span == span))
        })
        .unwrap_or(false)
}
