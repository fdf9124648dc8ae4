//! A second request where the first takes longer than most.
//!
//! One of a hundred requests is slow for reasons that have nothing to do with it: a queue, a pause, a page fault. Asking
//! another endpoint once the first has taken longer than 95 % do costs a few more requests and cuts the tail (Dean and
//! Barroso, "The Tail at Scale", 2013). The time is measured: a live percentile of the last ten to twenty seconds. The
//! answer that is first is taken, the other request is dropped.
//!
//! **When not to use it.** Where requests are not idempotent, and where all of them are slow for the same reason: an
//! overloaded service is not helped by more of them. The budget bounds that.
//!
//! **Where it stands.** Inside of deadlines, outside of balancing, so that the second request goes elsewhere. Retries and
//! hedges are paid for by the same [`Budget`](crate::retry::Budget). The client does all of this itself
//! (`client.hedge`); [`HedgeLayer`] is for other stacks:
//!
//! ```
//! use mainstay_client::{hedge::{Config, HedgeLayer}, retry::Budget};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # async fn example() {
//! let lookup = service_fn(async |name: String| Ok::<_, std::io::Error>(name.len()));
//! let hedged = HedgeLayer::new(Config::default(), 0.2, Budget::new()).layer(lookup);
//! assert_eq!(hedged.oneshot("inventory".to_owned()).await.unwrap(), 9);
//! # }
//! ```
//!
//! **On drop.** Both requests are dropped.

mod layer;

use std::{pin::pin, time::Duration};

use mainstay_core::config::{Findings, Section};

pub use layer::{Hedge, HedgeLayer, ResponseFuture};

use crate::config::layered::layered;

layered! {
    /// The table `client.hedge`: a second request where the first takes longer than most.
    values {
        /// Whether idempotent requests are hedged. Default false.
        enabled: bool = false,
        /// The share of requests that end before a second one is sent, above 0 and below 1. Default 0.95.
        percentile: f64 = 0.95,
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if !(self.percentile > 0.0 && self.percentile < 1.0) {
            findings.reject("percentile", "a share above 0 and below 1, such as 0.95");
        }
    }
}

/// Runs `first`, and what `second` makes if that has not ended after `delay`. Gives the outcome that is good first, else
/// the one that is last; the other one is dropped.
pub(crate) async fn race<T, F>(
    first: F,
    delay: Duration,
    second: impl FnOnce() -> Option<F>,
    is_good: impl Fn(&T) -> bool,
) -> T
where
    F: Future<Output = T>,
{
    let mut first = pin!(first);
    if let Ok(outcome) = tokio::time::timeout(delay, first.as_mut()).await {
        return outcome;
    }
    let Some(second) = second() else { return first.await };
    let mut second = pin!(second);
    tokio::select! {
        outcome = first.as_mut() => if is_good(&outcome) { outcome } else { second.await },
        outcome = second.as_mut() => if is_good(&outcome) { outcome } else { first.await },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Ends after so many milliseconds with that number; odd ones are good.
    async fn after(millis: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_good_outcome_is_taken_and_the_last_if_none_is() {
        for (first, second, expected) in [
            (5, 1, (5, false)),   // in time
            (11, 21, (11, true)), // still the first
            (101, 21, (21, true)),
            (20, 31, (31, true)), // the first one fails
            (101, 20, (101, true)),
            (40, 20, (40, true)), // both fail
        ] {
            let made = Cell::new(false);
            let delay = Duration::from_millis(10);
            let hedge = || {
                made.set(true);
                Some(after(second))
            };
            let outcome = race(after(first), delay, hedge, |outcome| outcome % 2 == 1).await;
            assert_eq!((outcome, made.get()), expected);
        }
        let none = race(after(50), Duration::from_millis(10), || None, |_| true);
        assert_eq!(none.await, 50);
    }
}
