//! Requests that wait for a connection: first come, first served by whatever is free first, be it one that another
//! request has done with or one that was opened for somebody else.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use mainstay_core::BoxError;
use tokio::{sync::oneshot, time::Instant};

/// After a connection could not be opened, how long none is opened that no request has to wait for; doubled with each
/// failure in a row.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<oneshot::Sender<Result<T, NotConnected>>>,
    /// Connections that are being opened.
    opening: usize,
    /// How many could not be, in a row, and when the last one failed.
    failures: u32,
    failed_at: Option<Instant>,
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

    /// Another connection is being opened; its end is told by one of the two below.
    pub(super) fn begin(&mut self) {
        self.opening += 1;
    }

    pub(super) fn opened(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        (self.failures, self.failed_at) = (0, None);
    }

    pub(super) fn not_opened(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(Instant::now());
    }

    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    /// Whether one that nobody needs at once had better not be opened now.
    pub(super) fn is_pausing(&self) -> bool {
        let pause = PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(5)).min(LONGEST_PAUSE);
        self.failed_at.is_some_and(|at| at.elapsed() < pause)
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
        Self { waiting: VecDeque::new(), opening: 0, failures: 0, failed_at: None }
    }
}

/// A connection that is being opened. Who waits for it hears of its end, whatever that is.
pub(super) struct Opening<P: Opens>(Option<Weak<P>>);

/// Where connections are opened.
pub(super) trait Opens {
    /// One that was to be opened was not.
    fn not_opened(&self, reason: &NotConnected);
}

impl<P: Opens> Opening<P> {
    pub(super) fn new(pool: &Arc<P>) -> Self {
        Self(Some(Arc::downgrade(pool)))
    }

    /// It has ended, and the pool is to be told how, if that is still there.
    pub(super) fn end(&mut self) -> Option<Arc<P>> {
        self.0.take()?.upgrade()
    }
}

impl<P: Opens> Drop for Opening<P> {
    fn drop(&mut self) {
        if let Some(pool) = self.end() {
            pool.not_opened(&NotConnected::new("the runtime that opened the connection has ended"));
        }
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

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_tried_less_often_while_it_fails() {
        let mut queue = Queue::<()>::default();
        for seconds in [1, 2, 4, 5, 5] {
            queue.begin();
            queue.not_opened();
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(queue.is_pausing(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!queue.is_pausing(), "{seconds} s");
        }
        queue.begin();
        queue.not_opened();
        queue.begin();
        queue.opened();
        assert!(!queue.is_pausing());
        assert_eq!(queue.opening(), 0);
    }
}
