//! The table `client.pool`.

use mainstay_core::config::{Duration, Findings, Section};

use crate::config::layered::layered;

layered! {
    /// The table `client.pool`: connections. What is said of them here holds for each endpoint and runtime.
    values {
        /// To open one connection: its name resolved, its addresses tried, TLS and HTTP/2 agreed on. Default `2s`.
        connect_timeout: Duration = Duration::from_secs(2),
        /// How long a connection is kept without a request. To be less than the servers keep theirs, so that it is
        /// this side that closes. Default `30s`.
        idle_timeout: Duration = Duration::from_secs(30),
        /// How old a connection may be when it gets a request, less up to a tenth by chance; what is under way then
        /// finishes. So names are resolved anew, and a balancer between can spread connections anew. `0s`: for ever.
        /// Default `30m`.
        max_age: Duration = Duration::from_secs(1800),
        /// Connections that are opened as soon as an endpoint is known, and replaced when they end, so that requests find
        /// them: HTTP/1.1, those without a request; HTTP/2, those that are there, at most `max_connections`. At most
        /// `max_idle`. Default 0.
        min_idle: usize = 0,
        /// HTTP/1.1 connections kept without a request. Default 128.
        max_idle: usize = 128,
        /// HTTP/2 connections; another one is opened when the peer allows no more streams on those that are there.
        /// Default 8.
        max_connections: usize = 8,
        /// HTTP/2: a peer from which nothing came for so long while a request is under way is pinged. `0s`: never.
        /// Default `5s`.
        keep_alive_interval: Duration = Duration::from_secs(5),
        /// HTTP/2: how long it has to answer, with that or anything else. Then the connection is given up. Default
        /// `5s`.
        keep_alive_timeout: Duration = Duration::from_secs(5),
    }
}

impl Config {
    /// How often connections that are kept ahead are looked after.
    pub(crate) fn keep_every(&self) -> std::time::Duration {
        /// A connection that has ended is missed for so long at most.
        const LONGEST: std::time::Duration = std::time::Duration::from_secs(1);
        const SHORTEST: std::time::Duration = std::time::Duration::from_millis(50);
        (self.idle_timeout.get() / 4).clamp(SHORTEST, LONGEST)
    }

    /// How much life a connection has to have left to be counted among those that are kept: what ends before the next
    /// look is replaced at this one.
    pub(super) fn keep_lead(&self) -> std::time::Duration {
        (2 * self.keep_every()).min(self.idle_timeout.get() / 2)
    }

    /// How old a new connection may become.
    pub(super) fn lifetime(&self) -> std::time::Duration {
        match self.max_age.get() {
            // Thirty years, which can be added to any time without overflow.
            age if age.is_zero() => std::time::Duration::from_secs(86_400 * 365 * 30),
            // Connections that were opened together are not closed together.
            age => age.mul_f64(1.0 - fastrand::f64() / 10.0),
        }
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
        ];
        for (key, _) in durations.into_iter().filter(|(_, duration)| duration.is_zero()) {
            findings.reject(key, "a duration above zero");
        }
        if self.min_idle > self.max_idle {
            findings.reject("min_idle", format_args!("at most `max_idle` ({})", self.max_idle));
        }
        if self.max_connections == 0 {
            findings.reject("max_connections", "at least 1");
        }
    }
}
