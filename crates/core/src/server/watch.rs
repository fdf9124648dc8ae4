//! The one timer of a connection.
//!
//! A deadline that moves away doesn't touch the timer: it fires at the old time, finds that nothing is due, and is set
//! anew. So a busy keep-alive connection sets a timer about once every `keep_alive_idle`, not once a request.

use std::{
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::signal::Signal;
use crate::lifecycle::Phase;

pub(super) struct Watch {
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; none while it isn't set.
    armed: Option<Instant>,
    change: Pin<Box<WaitForCancellationFutureOwned>>,
    seen: Phase,
    waker: Option<Waker>,
}

impl Watch {
    pub(super) fn new(signal: &Signal) -> Self {
        let seen = signal.phase();
        Self {
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            change: Box::pin(signal.after(seen)),
            seen,
            waker: None,
        }
    }

    /// Whether `deadline` has passed, or the phase of the drain is another one than at the last call; if neither, the
    /// task will be woken when it is so.
    pub(super) fn is_due(&mut self, cx: &mut Context<'_>, signal: &Signal, deadline: Option<Instant>) -> Due {
        let moved = !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if moved {
            self.waker = Some(cx.waker().clone());
            let _ = self.change.as_mut().poll(cx);
        }
        // Read after the waker is registered: a change in between is either seen here or wakes.
        let phase = signal.phase();
        if phase != self.seen {
            self.seen = phase;
            self.change.set(signal.after(phase));
            let _ = self.change.as_mut().poll(cx);
            return Due::Phase;
        }
        let Some(deadline) = deadline else { return Due::Nothing };
        let stale = self.armed.is_none_or(|armed| deadline < armed) || self.timer.is_elapsed();
        if stale {
            if deadline <= Instant::now() {
                self.armed = None;
                return Due::Deadline;
            }
            self.timer.as_mut().reset(deadline);
            self.armed = Some(deadline);
        }
        if (stale || moved) && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            // The time between the two looks at the clock; or an earlier deadline that is not this one.
            cx.waker().wake_by_ref();
        }
        Due::Nothing
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Deadline,
    Phase,
}

/// Since when something has been as it is.
pub(super) struct Since<K> {
    key: Option<K>,
    at: Instant,
}

impl<K: PartialEq> Since<K> {
    pub(super) fn new() -> Self {
        Self { key: None, at: Instant::now() }
    }

    /// Reads the clock only when `key` is another one than last time.
    pub(super) fn at(&mut self, key: K) -> Instant {
        if self.key.as_ref() != Some(&key) {
            self.key = Some(key);
            self.at = Instant::now();
        }
        self.at
    }

    /// Begins anew, as if it had just become so.
    pub(super) fn again(&mut self) {
        self.key = None;
    }
}
