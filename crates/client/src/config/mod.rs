//! The section `client` of the configuration: for all services, and what is different for single ones.

pub(crate) mod layered;

use std::collections::BTreeMap;

use mainstay_core::config::{ByteSize, Duration, Findings, Keys, Section};
use mainstay_discovery::ServiceName;

layered::layered! {
    /// How calls are made.
    ///
    /// ```toml
    /// [client]
    /// timeout = "5s"
    ///
    /// [client.services.payments]
    /// timeout = "30s"
    /// retry.max_attempts = 1
    /// ```
    values {
        /// Until the head of the answer, for calls made where no deadline holds; and again for
        /// [`Response::bytes`](crate::Response::bytes) and its like to read the body. Default `10s`.
        timeout: Duration = Duration::from_secs(10),
        /// What [`Response::bytes`](crate::Response::bytes) and its like read at most. Default `2MiB`.
        max_body: ByteSize = ByteSize::from_mib(2),
    }
    areas {
        /// What is sent again, and how often.
        retry: retry,
        /// A second request where the first takes longer than most.
        hedge: hedge,
        /// When a service that keeps failing is left alone.
        breaker: breaker,
        /// How many requests an endpoint is sent at once.
        limit: limit,
        /// Which endpoint gets a request.
        balance: balance,
        /// When an endpoint that fails gets no requests for a while.
        ejection: balance::ejection,
        /// Connections.
        pool: pool,
        /// TLS to endpoints that speak it.
        tls: tls,
    }
    alone {
        /// What is different for single services, by name. Default: nothing.
        services: BTreeMap<ServiceName, Overrides>,
    }
}

impl Config {
    /// What holds for one service: this, with what is different for it.
    #[must_use]
    pub fn for_service(&self, service: &ServiceName) -> Self {
        match self.services.get(service) {
            Some(overrides) => self.with(overrides),
            None => self.clone(),
        }
    }

    fn check_policy(&self, findings: &mut Findings) {
        if self.timeout.is_zero() {
            findings.reject("timeout", "a duration above zero");
        }
        self.check_areas(findings);
    }
}

impl Section for Config {
    fn check(&self, findings: &mut Findings) {
        self.check_policy(findings);
        let mut of_all = Findings::default();
        self.check_policy(&mut of_all);
        // What is wrong for all is said once, and not again for each service.
        let defaults = Self::default();
        let base = if of_all.is_empty() { self } else { &defaults };
        findings.within("services", |findings| {
            for (service, overrides) in &self.services {
                findings.within(service.as_str(), |findings| base.with(overrides).check_policy(findings));
            }
        });
    }

    /// All of it: calls that begin after the change are made as it says.
    fn reloadable(keys: &mut Keys) {
        keys.add("");
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::config::Loader;

    use super::*;

    fn load(values: &[&str]) -> Result<std::sync::Arc<Config>, Vec<String>> {
        let loader = values.iter().fold(Loader::new(), |loader, value| loader.set(format!("client.{value}")));
        let loaded = loader.tree::<Config>("client").load().map_err(|errors| {
            let mut keys: Vec<_> = errors.findings().iter().map(|finding| finding.key.to_string()).collect();
            keys.sort();
            keys
        })?;
        Ok(loaded.get::<Config>("client"))
    }

    #[test]
    fn every_wrong_value_is_named_by_its_key() {
        let refused = load(&[
            "timeout=0s",
            "pool.connect_timeout=5",
            "retry.max_attempts=0",
            "time=1s",
            "max_attempts=3",
            "services.stock.retry.attempts=3",
            "services.Stock.timeout=3s",
        ]);
        // What the values mean together is looked at once each of them can be read.
        let keys = [
            "client.max_attempts",
            "client.pool.connect_timeout",
            "client.services.Stock",
            "client.services.stock.retry.attempts",
            "client.time",
        ];
        assert_eq!(refused.unwrap_err(), keys);

        let refused = load(&[
            "timeout=0s",
            "retry.max_attempts=0",
            "retry.budget=2",
            "pool.idle_timeout=250ms",
            "services.stock.retry.max_attempts=0",
            "services.stock.timeout=1s",
            "services.orders.pool.connect_timeout=0s",
            "services.orders.pool.min_idle=129",
        ]);
        let keys = [
            "client.retry.budget",
            "client.retry.max_attempts",
            "client.services.orders.pool.connect_timeout",
            "client.services.orders.pool.min_idle",
            "client.services.stock.retry.max_attempts",
            "client.timeout",
        ];
        assert_eq!(refused.unwrap_err(), keys);
    }

    #[test]
    fn a_service_has_what_holds_for_all_save_for_what_it_says_itself() {
        let config = load(&[
            "timeout=3s",
            "retry.max_attempts=5",
            "services.stock.retry.budget=0.1",
            "services.stock.pool.max_idle=2",
        ])
        .unwrap();
        let stock = config.for_service(&"stock".parse().unwrap());
        assert_eq!(stock.timeout, Duration::from_secs(3));
        assert_eq!((stock.retry.max_attempts, stock.retry.budget), (5, 0.1));
        assert_eq!((stock.pool.max_idle, stock.pool.idle_timeout), (2, config.pool.idle_timeout));
        let other = config.for_service(&"orders".parse().unwrap());
        assert_eq!(other, *config);
    }

    #[test]
    fn only_what_was_said_of_a_service_is_shown() {
        let config = load(&["services.stock.retry.budget=0.1"]).unwrap();
        let shown = serde_json::to_value(&*config).unwrap();
        assert_eq!(shown["services"], serde_json::json!({ "stock": { "retry": { "budget": 0.1 } } }));
    }
}
