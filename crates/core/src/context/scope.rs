//! The current context: a task-local value, set while the future of a request is polled.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;

use super::RequestContext;

tokio::task_local! {
    static CURRENT: RequestContext;
}

pub(super) fn current() -> Option<RequestContext> {
    CURRENT.try_with(RequestContext::clone).ok()
}

impl RequestContext {
    /// Runs `future` with this context as the current one.
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped { inner: CURRENT.scope(self, future) }
    }

    /// Runs `work` with this context as the current one.
    pub fn sync_scope<R>(self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, work)
    }
}

pin_project! {
    /// Future of [`RequestContext::scope`].
    #[derive(Debug)]
    pub struct Scoped<F> {
        #[pin]
        inner: TaskLocalFuture<RequestContext, F>,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}
