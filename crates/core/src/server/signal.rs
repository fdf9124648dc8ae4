//! The drain as the connections of one worker see it.
//!
//! A request must not take a lock to learn the phase, and a connection must be woken when it changes: the phase is an
//! atomic that is written first, then a token wakes who waits.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::lifecycle::{Drain, Phase};

#[derive(Debug, Default)]
pub(super) struct Signal {
    phase: AtomicU8,
    reached: [CancellationToken; 3],
}

const ORDER: [Phase; 3] = [Phase::Announced, Phase::Closing, Phase::Cut];

impl Signal {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Announced,
            2 => Phase::Closing,
            _ => Phase::Cut,
        }
    }

    /// Moves forward to `phase`, through the ones before it.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        for (step, token) in ORDER.into_iter().zip(&self.reached) {
            if step <= phase {
                token.cancel();
            }
        }
    }

    /// Ends when `phase` is reached.
    pub(super) fn reached(&self, phase: Phase) -> WaitForCancellationFutureOwned {
        let index = ORDER.iter().position(|step| *step >= phase).unwrap_or(0);
        self.reached[index].clone().cancelled_owned()
    }

    /// Ends at the next change; never after the last one.
    pub(super) fn after(&self, phase: Phase) -> WaitForCancellationFutureOwned {
        self.reached(match phase {
            Phase::Running => Phase::Announced,
            Phase::Announced => Phase::Closing,
            Phase::Closing | Phase::Cut => Phase::Cut,
        })
    }

    /// Follows `drain` up to `phase`.
    pub(super) async fn follow(&self, drain: &Drain, phase: Phase) {
        for step in ORDER.into_iter().filter(|step| *step <= phase) {
            drain.reached(step).await;
            self.advance(step);
        }
    }
}
