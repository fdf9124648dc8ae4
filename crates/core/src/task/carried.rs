//! The subscriber of a test, in what it spawns.

use std::{
    cell::RefCell,
    mem,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use tracing::{Dispatch, subscriber::DefaultGuard};

/// Outside of tests nobody has one, and nobody looks further.
static USED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CURRENT: RefCell<Option<Dispatch>> = const { RefCell::new(None) };
}

/// While it lives, a thread has a subscriber of its own ([`carry`]).
#[derive(Debug)]
#[must_use]
pub struct Carried {
    before: Option<Dispatch>,
    _default: DefaultGuard,
}

/// `subscriber` is that of this thread until what this gives is dropped, and that of what [`Tasks`](super::Tasks) spawn
/// meanwhile, and of what that spawns, on whatever threads. For tests that run beside each other in one process: it costs
/// at each poll. A process has one subscriber, set by `tracing::subscriber::set_global_default`.
pub fn carry(subscriber: Dispatch) -> Carried {
    USED.store(true, Relaxed);
    let default = tracing::dispatcher::set_default(&subscriber);
    Carried { before: replace(Some(subscriber)), _default: default }
}

/// That of this thread.
pub(crate) fn carried() -> Option<Dispatch> {
    if !USED.load(Relaxed) {
        return None;
    }
    CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()?
}

fn replace(subscriber: Option<Dispatch>) -> Option<Dispatch> {
    let replaced = CURRENT.try_with(|current| {
        let mut current = current.try_borrow_mut().ok()?;
        mem::replace(&mut *current, subscriber)
    });
    replaced.ok().flatten()
}

impl Drop for Carried {
    fn drop(&mut self) {
        drop(replace(self.before.take()));
    }
}
