//! Where the process spends its time: a CPU profile in the format of
//! [pprof](https://github.com/google/pprof/blob/main/proto/profile.proto).
//!
//! The kernel interrupts whatever thread runs, 99 times for each second of processor time that the process uses, and the stack
//! there is noted. A thread that waits is not seen: what it waits for is no matter of the processor.
//!
//! **When not to use it.** Where `perf` is at hand it sees more, the kernel too, and asks nothing of the process. The stack is
//! unwound within a signal handler: a feature, not a default.
//!
//! **On drop** of the future the profile is given up, and the next one can begin.

mod encode;

use std::{
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

use mainstay_core::{BoxError, task::Tasks};
use pprof::ProfilerGuardBuilder;
use tokio::sync::Semaphore;

/// Samples for each second of processor time; no multiple of what timers tick at, so that their work is not seen too often.
const FREQUENCY: i32 = 99;
/// What can't be unwound from within a signal: the unwinder itself, and what holds its locks.
const PASSED_OVER: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The longest profile.
pub const LONGEST: Duration = Duration::from_secs(60);

/// There is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is one timer for the process: one at a time.
    #[error("another profile is being taken")]
    Busy,
    /// It could not be begun, or not be read.
    #[error("the profile failed")]
    Failed(#[source] BoxError),
}

/// Profiles the process for this time, at most for [`LONGEST`]. The stacks are resolved and written on a thread of `tasks` for
/// work that blocks.
///
/// # Errors
/// [`Error`].
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Cancel safety
/// The profile ends, and nothing is left of it.
pub async fn cpu(time: Duration, tasks: &Tasks) -> Result<Vec<u8>, Error> {
    static ONE: Semaphore = Semaphore::const_new(1);
    let permit = ONE.try_acquire().map_err(|_| Error::Busy)?;
    // Dropped with this future.
    let (_wanted, is_wanted) = sync_channel::<()>(0);
    let work = move || {
        let _permit = permit;
        let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&PASSED_OVER).build();
        let guard = guard.map_err(|error| Error::Failed(error.into()))?;
        if is_wanted.recv_timeout(time.min(LONGEST)) == Err(RecvTimeoutError::Disconnected) {
            return Ok(Vec::new());
        }
        let report = guard.report().build().map_err(|error| Error::Failed(error.into()))?;
        Ok(encode::profile(&report))
    };
    tasks.spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Failed(error.into())))
}

#[cfg(test)]
mod tests;
