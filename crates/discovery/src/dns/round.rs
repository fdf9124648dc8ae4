//! All questions for one name, and what is remembered of them.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use futures_util::stream::{self, StreamExt};
use hickory_proto::rr::{Name, RecordType};

use super::{
    answer::{Answer, MOST, Srv, What},
    config::Config,
    exchange,
};
use crate::{Endpoint, Health};

/// The longest chain of aliases that is followed over several questions.
const MOST_HOPS: usize = 8;

/// The most targets of SRV records that are asked for.
const MOST_TARGETS: usize = 128;

/// Questions for targets that are under way at once.
const AT_ONCE: usize = 8;

/// Asks what a name has, again and again, and remembers the last answer to each question for when one fails.
#[derive(Debug)]
pub(super) struct Round<'a> {
    name: Name,
    config: &'a Config,
    services: Option<Vec<Srv>>,
    addresses: HashMap<(Name, RecordType), Vec<IpAddr>>,
}

/// What a round has found.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` where too little is known to say.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    /// How long all answers hold.
    pub(super) ttl: Duration,
    /// What was not answered; what was known of it is among the endpoints.
    pub(super) failure: Option<String>,
}

impl<'a> Round<'a> {
    /// For the absolute `name`.
    pub(super) fn new(name: String, config: &'a Config) -> Self {
        // A template and the name of a service make a domain name: both were checked.
        let name = Name::from_ascii(name).unwrap_or_default();
        Self { name, config, services: None, addresses: HashMap::new() }
    }

    pub(super) async fn ask(&mut self, servers: &[SocketAddr]) -> Found {
        let is_service = self.name.iter().next().is_some_and(|label| label.starts_with(b"_"));
        if is_service { self.ask_services(servers).await } else { self.ask_addresses(servers).await }
    }

    async fn ask_addresses(&mut self, servers: &[SocketAddr]) -> Found {
        let port = self.config.port.map_or(if self.config.tls { 443 } else { 80 }, NonZeroU16::get);
        let mut found = Found::new();
        let name = self.name.clone();
        let answers = both(servers, &name, self.config).await;
        let addresses = self.remember(&name, answers, &mut found);
        let endpoints: Vec<_> = addresses.into_iter().map(|address| self.endpoint(address, port)).collect();
        found.with(endpoints)
    }

    async fn ask_services(&mut self, servers: &[SocketAddr]) -> Found {
        let mut found = Found::new();
        match answered(servers, &self.name, RecordType::SRV, self.config).await {
            Ok(answer) => {
                found.ttl = answer.ttl;
                self.services = match answer.what {
                    What::Services(services) => Some(services),
                    _ => Some(Vec::new()),
                };
            }
            Err(failure) => found.failure = Some(failure),
        }
        let Some(services) = self.services.clone() else { return found };

        // By target: several ports of one host are one question.
        let mut targets: Vec<Name> = services.iter().map(|service| service.target.clone()).collect();
        targets.sort();
        targets.dedup();
        targets.truncate(MOST_TARGETS);
        let config = self.config;
        let asked = targets.into_iter().map(async |target| {
            let answers = both(servers, &target, config).await;
            (target, answers)
        });
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        let mut by_target = BTreeMap::new();
        for (target, answers) in answers {
            let addresses = self.remember(&target, answers, &mut found);
            by_target.insert(target, addresses);
        }
        self.addresses.retain(|(target, _), _| by_target.contains_key(target));

        // RFC 2782: the lowest priority first, the others only where none of it can be reached.
        let first = services.iter().map(|service| service.priority).min().unwrap_or_default();
        let mut endpoints = Vec::new();
        for Srv { priority, weight, port, target } in &services {
            let health = if *priority == first { Health::Serving } else { Health::Draining };
            for address in by_target.get(target).into_iter().flatten() {
                let endpoint = self.endpoint(*address, *port);
                endpoints.push(endpoint.with_weight(u32::from(*weight)).with_health(health));
            }
        }
        found.with(endpoints)
    }

    /// The addresses of `name`: those of the answers, and those known of old where a question has none.
    fn remember(
        &mut self,
        name: &Name,
        answers: [Result<Answer, String>; 2],
        found: &mut Found,
    ) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for (kind, answer) in [RecordType::A, RecordType::AAAA].into_iter().zip(answers) {
            let key = (name.clone(), kind);
            match answer {
                Ok(Answer { what, ttl }) => {
                    found.ttl = found.ttl.min(ttl);
                    let addresses =
                        if let What::Addresses(addresses) = what { addresses } else { Vec::new() };
                    all.extend(&addresses);
                    self.addresses.insert(key, addresses);
                }
                Err(failure) => {
                    found.failure = Some(failure);
                    all.extend(self.addresses.get(&key).into_iter().flatten());
                }
            }
        }
        all
    }

    fn endpoint(&self, address: IpAddr, port: u16) -> Endpoint {
        let endpoint = Endpoint::from(SocketAddr::new(address, port));
        endpoint.with_protocol(self.config.protocol).with_tls(self.config.tls)
    }
}

impl Found {
    fn new() -> Self {
        Self { endpoints: None, ttl: Duration::MAX, failure: None }
    }

    /// None at all are believed only where every question was answered.
    fn with(mut self, mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.truncate(MOST);
        self.endpoints = (self.failure.is_none() || !endpoints.is_empty()).then_some(endpoints);
        self
    }
}

async fn both(servers: &[SocketAddr], name: &Name, config: &Config) -> [Result<Answer, String>; 2] {
    let (one, other) = tokio::join!(
        answered(servers, name, RecordType::A, config),
        answered(servers, name, RecordType::AAAA, config),
    );
    [one, other]
}

/// The answer, through aliases that lead out of it: a server that does not recurse knows its own zones only.
async fn answered(
    servers: &[SocketAddr],
    name: &Name,
    kind: RecordType,
    config: &Config,
) -> Result<Answer, String> {
    let (mut name, mut ttl) = (name.clone(), Duration::MAX);
    for _ in 0..MOST_HOPS {
        let mut answer =
            exchange::ask(servers, &name, kind, config.timeout.get(), config.attempts.get()).await?;
        answer.ttl = answer.ttl.min(ttl);
        match answer.what {
            What::Alias(target) => (name, ttl) = (target, answer.ttl),
            _ => return Ok(answer),
        }
    }
    Err(format!("more than {MOST_HOPS} aliases, or a circle of them"))
}
