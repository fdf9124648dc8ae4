//! Requests that wait for a connection: first come, first served by whatever is free first, be it one that another
//! request has done with or one that was opened for somebody else.

use std::{collections::VecDeque, fmt, sync::Arc};

use mainstay_core::BoxError;
use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<oneshot::Sender<Result<T, NotConnected>>>,
    /// Connections that are being opened.
    pub(super) opening: usize,
}

/// What a request that waits holds on to.
pub(super) type Turn<T> = oneshot::Receiver<Result<T, NotConnected>>;

/// Why there is no connection, for each request that waited for it.
#[derive(Debug, Clone)]
pub(super) struct NotConnected(Arc<BoxError>);

impl<T> Queue<T> {
    pub(super) fn join(&mut self) -> Turn<T> {
        self.forget_leavers();
        let (sender, turn) = oneshot::channel();
        self.waiting.push_back(sender);
        turn
    }

    /// How many wait; some may have left unnoticed.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Gives `item` to the first; it comes back if nobody waits.
    pub(super) fn serve(&mut self, mut item: T) -> Result<(), T> {
        while let Some(first) = self.waiting.pop_front() {
            match first.send(Ok(item)) {
                Ok(()) => return Ok(()),
                Err(Ok(back)) => item = back,
                // Unreachable: what comes back is what was sent.
                Err(Err(_)) => return Ok(()),
            }
        }
        Err(item)
    }

    /// Tells the first that there is none to come.
    pub(super) fn refuse(&mut self, reason: &NotConnected) {
        self.forget_leavers();
        if let Some(first) = self.waiting.pop_front() {
            // Who has just left needs no answer.
            let _ = first.send(Err(reason.clone()));
        }
    }

    /// Whether somebody waits, at the front at least.
    pub(super) fn is_wanted(&mut self) -> bool {
        self.forget_leavers();
        !self.waiting.is_empty()
    }

    fn forget_leavers(&mut self) {
        while self.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            self.waiting.pop_front();
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), opening: 0 }
    }
}

impl NotConnected {
    pub(super) fn new(cause: impl Into<BoxError>) -> Self {
        Self(Arc::new(cause.into()))
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Stands for the cause: it is shown in its place and has its source.
impl std::error::Error for NotConnected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_still_waits_is_served() {
        let mut queue = Queue::default();
        let (gone, mut first, mut second) = (queue.join(), queue.join(), queue.join());
        drop(gone);
        assert_eq!(queue.serve(1), Ok(()));
        assert_eq!(first.try_recv().unwrap().unwrap(), 1);
        queue.refuse(&NotConnected::new("refused"));
        assert_eq!(second.try_recv().unwrap().unwrap_err().to_string(), "refused");
        assert!(!queue.is_wanted());
        assert_eq!(queue.serve(2), Err(2));
    }
}
