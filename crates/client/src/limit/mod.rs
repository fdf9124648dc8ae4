//! How many requests an endpoint is sent at once.
//!
//! The limit of one client is no protection for a service: it does not know of the other clients. It keeps one slow
//! endpoint from holding all that this process has to give: memory, connections, callers who wait. Nothing waits for
//! room: other endpoints are asked, and where all are full the call ends with
//! [`Overloaded`](crate::error::Overloaded).
//!
//! **When not to use it.** To protect a service: that does it itself, for all of its callers. Where callers should wait their
//! turn: `tower::limit` makes them.
//!
//! **Where it stands.** One for each endpoint, inside of the choice among them. The client does that itself
//! (`client.limit`); [`LimitLayer`] is for other stacks:
//!
//! ```
//! use mainstay_client::limit::{Config, LimitLayer};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # async fn example() {
//! let lookup = service_fn(async |name: String| Ok::<_, std::io::Error>(name.len()));
//! let mut config = Config::default();
//! config.max_in_flight = 100;
//! let limited = LimitLayer::new(config).layer(lookup);
//! assert_eq!(limited.oneshot("inventory".to_owned()).await.unwrap(), 9);
//! # }
//! ```
//!
//! **On drop.** A call that is dropped gives its room back.

mod layer;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use arc_swap::ArcSwapOption;
use mainstay_core::{
    config::{Findings, Section},
    context::Criticality,
    middleware::shed::{self, Limiter, Permit},
};

pub use layer::{LimitLayer, Limited, ResponseFuture};

use crate::config::layered::layered;

layered! {
    /// The table `client.limit`: how many requests an endpoint is sent at once.
    values {
        /// At most, bodies of answers that are being read included; 0: without a limit. Default 0.
        max_in_flight: u32 = 0,
        /// Whether the limit is found by the time that answers take, up to `max_in_flight`, as
        /// [shedding](mainstay_core::middleware::shed) finds that of a server. Heads of answers are waited for then, and
        /// not their bodies. Default false.
        adaptive: bool = false,
    }
}

impl Section for Config {
    fn check(&self, _: &mut Findings) {}
}

/// The limit of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    in_flight: Arc<AtomicU32>,
    /// With the most that it may find.
    adaptive: ArcSwapOption<(u32, Limiter)>,
}

/// Room for one request, given back on drop.
#[derive(Debug)]
pub(crate) enum Slot {
    Fixed { _room: Counted },
    Adaptive(Permit),
}

#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicU32>);

impl Limit {
    /// `Ok(None)` where there is no limit; an error where there is no room.
    pub(crate) fn acquire(&self, config: &Config) -> Result<Option<Slot>, Full> {
        let max = config.max_in_flight;
        if config.adaptive {
            // The class is for the service to judge, not for its callers.
            let permit = self.limiter(max).acquire(Criticality::CriticalPlus);
            return permit.map(|permit| Some(Slot::Adaptive(permit))).map_err(|_| Full);
        }
        if max == 0 {
            return Ok(None);
        }
        let entered = |in_flight: u32| (in_flight < max).then_some(in_flight + 1);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, entered) {
            Ok(_) => Ok(Some(Slot::Fixed { _room: Counted(self.in_flight.clone()) })),
            Err(_) => Err(Full),
        }
    }

    fn limiter(&self, max: u32) -> Limiter {
        if let Some(known) = &*self.adaptive.load()
            && known.0 == max
        {
            return known.1.clone();
        }
        let mut config = shed::Config::default();
        if max > 0 {
            config.max = max;
            config.initial = config.initial.min(max);
            config.min = config.min.min(max);
        }
        let limiter = Limiter::new(config);
        self.adaptive.store(Some(Arc::new((max, limiter.clone()))));
        limiter
    }
}

/// There is no room: the call was refused, and not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many calls are under way as the limit allows")]
#[non_exhaustive]
pub struct Full;

impl Slot {
    /// The head of the answer is here; what is to be held until its body is read.
    pub(crate) fn answered(self, failed: bool) -> Option<Self> {
        match self {
            Self::Fixed { .. } => Some(self),
            Self::Adaptive(permit) => permit.head(failed, false).map(Self::Adaptive),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn room_is_given_back_when_it_is_dropped() {
        let limit = Limit::default();
        let config = Config { max_in_flight: 2, adaptive: false };
        let first = limit.acquire(&config).unwrap();
        let second = limit.acquire(&config).unwrap().and_then(|slot| slot.answered(false));
        assert!(limit.acquire(&config).is_err());
        drop(first);
        assert!(limit.acquire(&config).unwrap().is_some());
        drop(second);
        // What changes holds for the next request.
        assert!(limit.acquire(&Config { max_in_flight: 0, adaptive: false }).unwrap().is_none());
        assert_eq!(limit.in_flight.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_adaptive_limit_falls_where_answers_get_slow() {
        let limit = Limit::default();
        let config = Config { max_in_flight: 100, adaptive: true };
        let round = async |millis: u64| {
            let mut slots = Vec::new();
            while let Ok(slot) = limit.acquire(&config) {
                slots.push(slot.unwrap());
            }
            tokio::time::advance(Duration::from_millis(millis)).await;
            let room = slots.len();
            slots.into_iter().for_each(|slot| assert!(slot.answered(false).is_none()));
            room
        };
        assert_eq!(round(10).await, 100);
        for _ in 0..20 {
            round(10).await;
        }
        for _ in 0..20 {
            round(2000).await;
        }
        let room = round(2000).await;
        assert!((1..50).contains(&room), "{room}");
    }
}
