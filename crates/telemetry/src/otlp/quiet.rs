//! What is logged while records are sent is not sent: each request would be the reason of another.

use std::{cell::Cell, future::poll_fn, pin::pin};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread sends.
pub(crate) fn is_quiet() -> bool {
    QUIET.try_with(Cell::get).unwrap_or(true)
}

/// Runs `future`, which sends.
pub(super) async fn quietly<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _quiet = Quiet(QUIET.replace(true));
        future.as_mut().poll(context)
    })
    .await
}

/// Whether it was so before.
struct Quiet(bool);

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}
