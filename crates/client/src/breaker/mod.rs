//! A service that keeps failing is left alone for a while.
//!
//! Closed, it lets calls through and watches them: when too large a share of those in the window failed it opens. Open,
//! it refuses at once, which costs neither side anything. After a while it is half open: a few calls probe, and if they
//! succeed it closes; if one fails it opens again.
//!
//! **When not to use it.** A breaker makes a partial failure a whole one: the tenth of the requests that failed for a
//! reason of their own (one shard, one route) take the others with them. Endpoints that fail are avoided one by one
//! without it. It is for services whose callers can do without them, and better know at once. So it is off by default.
//!
//! **Where it stands.** Around a whole call, its attempts included. The client does that itself (`client.breaker`);
//! [`BreakerLayer`] is for other stacks:
//!
//! ```
//! use mainstay_client::breaker::{BreakerLayer, Circuit, Config};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # async fn example() {
//! let lookup = service_fn(async |name: String| Ok::<_, std::io::Error>(name.len()));
//! let circuit = Circuit::new(Config::default());
//! let guarded = BreakerLayer::new(circuit, Result::is_err).layer(lookup);
//! assert_eq!(guarded.oneshot("inventory".to_owned()).await.unwrap(), 9);
//! # }
//! ```
//!
//! **On drop.** A call that is dropped counts neither as a success nor as a failure.

mod circuit;
mod layer;
mod window;

use mainstay_core::config::{Duration, Findings, Section};

pub use circuit::{Circuit, Open, Permit, State};
pub use layer::{Breaker, BreakerLayer, ResponseFuture};

use crate::config::layered::layered;

layered! {
    /// The table `client.breaker`: when a service is left alone.
    values {
        /// Whether there is one. Default false.
        enabled: bool = false,
        /// The share of the calls in the window that have to fail for it to open, above 0 and up to 1. Default 0.5.
        failure_rate: f64 = 0.5,
        /// How far back calls count. Default `10s`.
        window: Duration = Duration::from_secs(10),
        /// With fewer calls in the window it does not open. Default 20.
        min_calls: u32 = 20,
        /// How long it stays open, less up to a quarter, so that callers do not come back in step. Default `5s`.
        open_for: Duration = Duration::from_secs(5),
        /// How many calls probe at once when it is half open, and have to succeed for it to close. Default 3.
        probes: u32 = 3,
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            findings.reject("failure_rate", "a share above 0 and up to 1");
        }
        if self.window.get() < std::time::Duration::from_millis(100) {
            findings.reject("window", "at least `100ms`");
        }
        if self.open_for.is_zero() {
            findings.reject("open_for", "a duration above zero");
        }
        for (key, _) in
            [("min_calls", self.min_calls), ("probes", self.probes)].into_iter().filter(|(_, n)| *n == 0)
        {
            findings.reject(key, "at least 1");
        }
    }
}
