//! The span of a thread, within that of the request.

use std::{cell::RefCell, marker::PhantomData, mem};

use super::Span;

thread_local! {
    static CURRENT: RefCell<Option<Span>> = const { RefCell::new(None) };
}

/// One that was left although it has ended, by a guard that outlives it, is nobody's parent.
pub(super) fn get() -> Option<Span> {
    let entered = CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()?;
    entered.filter(Span::is_open)
}

pub(super) fn is_open() -> bool {
    let is_open = |span: &Option<Span>| span.as_ref().is_some_and(Span::is_open);
    CURRENT.try_with(|current| current.try_borrow().is_ok_and(|current| is_open(&current))).unwrap_or(false)
}

fn replace(span: Option<Span>) -> Option<Span> {
    let replaced = CURRENT.try_with(|current| {
        let mut current = current.try_borrow_mut().ok()?;
        mem::replace(&mut *current, span)
    });
    replaced.ok().flatten()
}

/// While it lives, a span is the current one of this thread ([`Span::enter`]).
#[derive(Debug)]
#[must_use]
pub struct Entered {
    before: Option<Span>,
    is_one: bool,
    /// It belongs to the thread.
    _thread: PhantomData<*const ()>,
}

impl Entered {
    pub(super) fn new(span: &Span) -> Self {
        let is_one = span.is_recording();
        // What is not recorded changes nothing: so is nothing within it.
        let before = if is_one { replace(Some(span.clone())) } else { None };
        Self { before, is_one, _thread: PhantomData }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.is_one {
            replace(self.before.take());
        }
    }
}

/// While it lives, no span of a thread is current: another request begins.
pub(crate) struct Nothing(Option<Span>);

impl Nothing {
    pub(crate) fn enter() -> Self {
        Self(if is_set() { replace(None) } else { None })
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        if self.0.is_some() || is_set() {
            replace(self.0.take());
        }
    }
}

fn is_set() -> bool {
    CURRENT.try_with(|current| current.try_borrow().is_ok_and(|current| current.is_some())).unwrap_or(false)
}
