//! A pause for who does not answer: nobody is asked for a while, then more and more seldom.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mainstay_core::error::Kind;
use tokio::time::Instant;

use super::Failed;

/// After a failure nobody is asked for so long, after the next ones for longer.
const BACKOFF: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// While who is asked is away.
#[derive(Debug, Default)]
pub(crate) struct Pause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<(Instant, Failed)>,
}

impl Pause {
    /// Fails while nobody is to be asked, as the last one who asked did.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.until {
            Some((until, failed)) if Instant::now() < *until => Err(failed.clone()),
            _ => Ok(()),
        }
    }

    /// An answer, whatever it says, ends the pause.
    pub(crate) fn note(&self, failed: Option<&Failed>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failed {
            Some(failed) if failed.kind != Kind::PermissionDenied => {
                let until = Instant::now() + backoff(state.failures);
                state.failures = state.failures.saturating_add(1);
                state.until = Some((until, failed.clone()));
            }
            _ => *state = State::default(),
        }
    }
}

/// How long nobody is asked after so many failures and another one.
pub(crate) fn backoff(failures: u32) -> Duration {
    let factor = 1 << failures.min(10);
    (BACKOFF * factor).min(LONGEST).mul_f64(0.75 + 0.5 * fastrand::f64())
}
