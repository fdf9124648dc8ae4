//! The signal that the process is on its way out.

use tokio::sync::watch;

use crate::context::RequestContext;

/// How far the drain is (contract LIFE 3). Ordered: a process only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Not draining.
    #[default]
    Running,
    /// The drain is announced: not ready any more, registrations are withdrawn, the listener still accepts so that
    /// balancers can notice (`drain.delay`). Streams are told by this.
    Announced,
    /// The listener is closed: idle connections are closed, the others finish what they have.
    Closing,
    /// `drain.timeout` is over: what is left is cut.
    Cut,
}

/// Watches the drain. The default one never drains. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Drain(Option<watch::Receiver<Phase>>);

/// Moves the drain forward.
#[derive(Debug)]
pub struct Drainer(watch::Sender<Phase>);

impl Drain {
    /// A drain that nobody has started.
    #[must_use]
    pub fn channel() -> (Drainer, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (Drainer(sender), Self(Some(receiver)))
    }

    /// How far the drain is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.as_ref().map_or(Phase::Running, |receiver| *receiver.borrow())
    }

    /// Whether the drain was announced.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.phase() >= Phase::Announced
    }

    /// Waits until the drain is announced: the moment for a stream to say good-bye.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn begun(&self) {
        self.reached(Phase::Announced).await;
    }

    /// Waits until the drain is at `phase` or beyond; for ever if it never is.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn reached(&self, phase: Phase) {
        if let Some(receiver) = &self.0 {
            // An error says that the drainer is gone: then nobody can drain any more.
            if receiver.clone().wait_for(|now| *now >= phase).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drainer {
    /// Moves forward to `phase`; moving backward does nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }

    /// A watcher of this drain.
    #[must_use]
    pub fn subscribe(&self) -> Drain {
        Drain(Some(self.0.subscribe()))
    }
}

/// The drain of the process, in axum handlers; one that never begins where no host runs the service.
impl<S: Sync> axum::extract::FromRequestParts<S> for Drain {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let given = parts.extensions.get::<RequestContext>().map(RequestContext::drain);
        Ok(given.or_else(|| RequestContext::peek(RequestContext::drain)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_only_moves_forward() {
        let (drainer, drain) = Drain::channel();
        assert!(!drain.has_begun());
        drainer.advance(Phase::Closing);
        drainer.advance(Phase::Announced);
        assert_eq!(drain.phase(), Phase::Closing);
        drain.begun().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_without_a_drainer_never_begins() {
        let (drainer, drain) = Drain::channel();
        drop(drainer);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(3600), drain.begun()).await;
        assert!(waited.is_err());
    }
}
