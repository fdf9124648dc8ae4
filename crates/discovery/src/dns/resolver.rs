//! When to ask: names are followed as long as they are watched.

use std::{convert::Infallible, time::Duration};

use mainstay_core::task::Tasks;
use tokio::time::sleep;

use super::{
    config::{Config, Template},
    round::Round,
    servers::Servers,
};
use crate::{
    ServiceName,
    backoff::Backoff,
    lookup::{Listing, Lookup, Source},
    registry::{Registry, Unusable},
};

/// The registry that `config` describes; its background work belongs to `tasks`, and ends when it is dropped.
///
/// # Errors
/// [`Unusable`] when there is no name to ask for.
pub fn registry(config: &Config, tasks: &Tasks) -> Result<impl Registry + use<>, Unusable> {
    let unusable =
        || Unusable { registry: Dns::NAME, what: "`discovery.dns.name` is not set".to_owned(), source: None };
    let template = config.name.clone().ok_or_else(unusable)?;
    let servers = Servers::new(&config.servers);
    Ok(Lookup::new(Dns { template, servers, config: config.clone() }, tasks))
}

struct Dns {
    template: Template,
    servers: Servers,
    config: Config,
}

impl Source for Dns {
    const NAME: &'static str = "dns";

    async fn follow(&self, service: &ServiceName, listing: &Listing) -> Infallible {
        let mut round = Round::new(self.template.of(service), &self.config);
        let (least, most) = (self.config.min_ttl.get(), self.config.max_ttl.get());
        let mut backoff = Backoff::new();
        loop {
            let servers = self.servers.now().await;
            let found = round.ask(&servers).await;
            let wait = match found.failure {
                None => {
                    listing.listed(found.endpoints.unwrap_or_default());
                    backoff.reset();
                    // Just after the records expire: before that a cache on the way would give the same ones again.
                    jittered(found.ttl.clamp(least, most))
                }
                Some(failure) => {
                    if let Some(endpoints) = found.endpoints {
                        listing.publish(endpoints);
                    }
                    listing.failed(failure);
                    backoff.next().max(least)
                }
            };
            sleep(wait).await;
        }
    }
}

/// Up to a tenth and a second longer, so that processes that started together don't ask together for ever.
fn jittered(wait: Duration) -> Duration {
    wait + (wait / 10).min(Duration::from_secs(1)).mul_f64(fastrand::f64())
}
