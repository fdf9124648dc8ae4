//! The current context: a value of the thread, set while the future of a request is polled.
//!
//! What is current is swapped with a slot of the future, and back: it costs no clone.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::RequestContext;
use crate::trace::Nothing;

thread_local! {
    static CURRENT: RefCell<Option<RequestContext>> = const { RefCell::new(None) };
    static CALLED: Cell<Option<Instant>> = const { Cell::new(None) };
}

pub(super) fn current() -> Option<RequestContext> {
    peek(RequestContext::clone)
}

/// Looks at the current context, which is cheaper than to have it.
pub(super) fn peek<R>(look: impl FnOnce(&RequestContext) -> R) -> Option<R> {
    // Neither fails but while the thread ends; no foreign code runs while it is borrowed.
    CURRENT.try_with(|current| current.try_borrow().ok()?.as_ref().map(look)).ok()?
}

/// Makes the context in `slot` the current one; dropping it puts it back into `slot`, after a panic too. A guard rather
/// than a closure, which requests and futures would be copied into and out of.
pub(crate) struct Entered<'a> {
    slot: &'a mut Option<RequestContext>,
    /// The span that its caller entered is not its own.
    _span: Nothing,
}

impl<'a> Entered<'a> {
    pub(crate) fn new(slot: &'a mut Option<RequestContext>) -> Self {
        swap(slot);
        Self { slot, _span: Nothing::enter() }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        swap(self.slot);
    }
}

fn swap(slot: &mut Option<RequestContext>) {
    // Where the thread ends there is no current context: the slot keeps its own.
    let _ = CURRENT.try_with(|current| {
        if let Ok(mut current) = current.try_borrow_mut() {
            mem::swap(&mut *current, slot);
        }
    });
}

/// The time, for layers that are called with a request: one look at the clock does for all that are called at once. Not
/// for futures and bodies, in which time passes.
pub(crate) fn called_at() -> Instant {
    CALLED.try_with(Cell::get).ok().flatten().unwrap_or_else(Instant::now)
}

/// While it lives, layers are called at this time.
pub(crate) struct Calling(Option<Instant>);

impl Calling {
    pub(crate) fn at(now: Instant) -> Self {
        Self(CALLED.try_with(|called| called.replace(Some(now))).ok().flatten())
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let _ = CALLED.try_with(|called| called.set(self.0));
    }
}

impl RequestContext {
    /// Runs `future` with this context as the current one, while it is polled and while it is dropped.
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped { inner: Some(future), context: Some(self) }
    }

    /// Runs `work` with this context as the current one.
    pub fn sync_scope<R>(self, work: impl FnOnce() -> R) -> R {
        let mut slot = Some(self);
        let _entered = Entered::new(&mut slot);
        work()
    }
}

pin_project! {
    /// Future of [`RequestContext::scope`].
    #[derive(Debug)]
    pub struct Scoped<F> {
        // Taken at its end, or when this is dropped.
        #[pin]
        inner: Option<F>,
        context: Option<RequestContext>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.inner.is_some() {
                let _entered = Entered::new(this.context);
                this.inner.set(None);
            }
        }
    }
}

impl<F> Scoped<F> {
    /// A future that was made, and is to run, with this context as the current one.
    pub(crate) fn new(inner: F, context: Option<RequestContext>) -> Self {
        Self { inner: Some(inner), context }
    }

    /// The context, until it was taken.
    pub(crate) fn context(&self) -> Option<&RequestContext> {
        self.context.as_ref()
    }

    /// The context, once the future is at its end.
    pub(crate) fn take_context(self: Pin<&mut Self>) -> Option<RequestContext> {
        self.project().context.take()
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Polled again after its end, which no caller may do.
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        let _entered = Entered::new(this.context);
        let polled = inner.poll(cx);
        if polled.is_ready() {
            this.inner.set(None);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};

    use futures_util::FutureExt as _;

    use super::*;

    fn attempt() -> Option<u32> {
        RequestContext::current().map(|context| context.attempt())
    }

    fn context(attempt: u32) -> RequestContext {
        RequestContext::new().with_attempt(attempt)
    }

    #[test]
    fn scopes_nest_and_end_also_by_a_panic() {
        context(1).sync_scope(|| {
            assert_eq!(context(2).sync_scope(attempt), Some(2));
            let panicked =
                panic::catch_unwind(AssertUnwindSafe(|| context(3).sync_scope(|| panic!("on purpose"))));
            assert!(panicked.is_err());
            assert_eq!(attempt(), Some(1));
        });
        assert_eq!(attempt(), None);
    }

    #[test]
    fn two_futures_that_take_turns_see_each_its_own() {
        let ask = || async {
            let before = attempt();
            let mut waited = false;
            std::future::poll_fn(|_| {
                if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            (before, attempt())
        };
        let (mut one, mut two) = (Box::pin(context(1).scope(ask())), Box::pin(context(2).scope(ask())));
        assert!(one.as_mut().now_or_never().is_none() && two.as_mut().now_or_never().is_none());
        assert_eq!(one.now_or_never(), Some((Some(1), Some(1))));
        assert_eq!(two.now_or_never(), Some((Some(2), Some(2))));
        assert_eq!(attempt(), None);
    }

    #[test]
    fn what_a_future_holds_is_dropped_in_its_context() {
        struct Tell<'a>(&'a mut Option<u32>);

        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                *self.0 = attempt();
            }
        }

        let mut told = None;
        let held = Tell(&mut told);
        drop(context(7).scope(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }));
        assert_eq!(told, Some(7));
    }
}
