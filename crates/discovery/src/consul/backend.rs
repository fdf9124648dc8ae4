//! Registrations as services of an agent, each with a TTL check.
//!
//! By "Blocking Queries" in the documentation of Consul's API: an index that goes backwards begins the query anew, one
//! of zero counts as one, and a query that returns at once again and again is slowed down.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use mainstay_core::{config::Secret, task::Tasks};
use serde_json::{json, value::RawValue};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    config::Config,
    instance::{self, Instance},
};
use crate::{
    Endpoint, ServiceName,
    api::{self, Answer, Api, encoded, sensitive},
    remote::{
        History,
        backend::{Backend, Entry, Failure, Timing},
        changes::Changes,
        record::Listed,
    },
};

/// The largest answer, in bytes.
const LARGEST: usize = 64 << 20;

/// The most entries of a service that are read.
const MOST: usize = 100_000;

/// Requests that are not kept waiting, at once: an agent takes 200 connections of one address if nobody says otherwise.
const MOST_AT_ONCE: usize = 16;

/// Between two answers to a query, in the long run: what changes faster is looked at this often.
const PACE: Duration = Duration::from_millis(200);

/// How many answers may come faster.
const BURST: u32 = 5;

pub(crate) struct Consul {
    api: Api,
    token: Option<Secret>,
    /// What every request says of the namespace: nothing, or `&ns=...`.
    namespace: String,
    /// What every look-up says of the data centre: nothing, or `&dc=...`.
    datacenter: String,
    deregister_after: Duration,
    timing: Timing,
    at_once: Semaphore,
    /// How often following has begun.
    begun: AtomicU64,
}

/// What a query has found.
enum Found {
    /// What is there at this index, each with its id.
    Instances(u64, Vec<(String, Seen)>),
    /// Nothing has changed.
    Same,
    /// The index has gone backwards.
    Restart,
}

enum Seen {
    Record(Vec<u8>),
    Critical,
}

impl Consul {
    pub(crate) fn new(config: &Config, tasks: &Tasks) -> (Self, Timing) {
        let timing = Timing { ttl: config.ttl.get(), timeout: config.timeout.get() };
        let parameter = |key: &str, value: &Option<String>| {
            value.as_ref().map_or_else(String::new, |value| format!("&{key}={}", encoded(value)))
        };
        let api = Api {
            origin: config.address.clone(),
            tls: config.tls.clone(),
            timeout: timing.timeout,
            tasks: tasks.clone(),
        };
        let consul = Self {
            api,
            token: config.token.clone(),
            namespace: parameter("ns", &config.namespace),
            datacenter: parameter("dc", &config.datacenter),
            deregister_after: config.deregister_after.get(),
            timing,
            at_once: Semaphore::new(MOST_AT_ONCE),
            begun: AtomicU64::new(0),
        };
        (consul, timing)
    }

    async fn try_follow(&self, service: &ServiceName, changes: &Changes) -> Result<(), Failure> {
        loop {
            self.follow_from_anew(service, changes).await?;
        }
    }

    /// Follows until the index goes backwards.
    async fn follow_from_anew(&self, service: &ServiceName, changes: &Changes) -> Result<(), Failure> {
        // An agent that was away can come back with less than it had: registrations that it lost, checks that are
        // critical until they are renewed. So each beginning is as one of another history.
        let history = History { id: self.begun.fetch_add(1, Ordering::Relaxed), position: 0 };
        let mut index = 0;
        let mut known: Option<HashSet<String>> = None;
        let mut pace = Pace::new();
        loop {
            pace.wait().await;
            let (at, instances) = match self.query(service, index).await? {
                Found::Restart => return Ok(()),
                Found::Same => {
                    changes.heard();
                    continue;
                }
                Found::Instances(at, instances) => (at, instances),
            };
            index = at;
            let ids: HashSet<String> = instances.iter().map(|(id, _)| id.clone()).collect();
            match known.replace(ids) {
                None => {
                    let listing: Vec<_> = instances
                        .into_iter()
                        .filter_map(|(id, seen)| match seen {
                            Seen::Record(record) => Some((id, record)),
                            Seen::Critical => None,
                        })
                        .collect();
                    changes.listed(history, &listing);
                }
                // Who saw the whole way can tell: what is gone was withdrawn, what is critical was not renewed.
                Some(before) => {
                    let now: HashSet<&str> = instances.iter().map(|(id, _)| id.as_str()).collect();
                    for id in before.iter().filter(|id| !now.contains(id.as_str())) {
                        changes.deleted(id);
                    }
                    for (id, seen) in &instances {
                        match seen {
                            Seen::Record(record) => changes.put(id, record),
                            Seen::Critical => changes.ran_out(id),
                        }
                    }
                    changes.heard();
                }
            }
        }
    }

    /// Asks for the instances; after `index`, if that is not 0, as soon as something changes.
    async fn query(&self, service: &ServiceName, index: u64) -> Result<Found, Failure> {
        const WHAT: &str = "following a name";
        // The server adds a sixteenth by chance.
        let wait = if index == 0 { Duration::ZERO } else { self.timing.probe().mul_f64(15.0 / 16.0) };
        let mut path = format!("/v1/health/service/{service}?{}{}", self.namespace, self.datacenter);
        if index > 0 {
            path += &format!("&index={index}&wait={}ms", wait.as_millis());
        }
        let mut answer = self.send(WHAT, Method::GET, &path, None, self.timing.probe()).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(WHAT, answer).await);
        }
        let at = index_of(&answer.headers).ok_or_else(|| {
            Failure::new(format_args!("{WHAT}: the answer has no X-Consul-Index: expected Consul's HTTP API"))
        })?;
        if at < index {
            return Ok(Found::Restart);
        }
        if at == index {
            return Ok(Found::Same);
        }
        let body =
            answer.body.whole(LARGEST, self.timing.timeout).await.map_err(|error| told(WHAT, &error))?;
        let instances: Vec<Box<RawValue>> =
            serde_json::from_slice(&body).map_err(|error| Failure::of("the list of instances", &error))?;
        if instances.is_empty() && is_filtered(&answer.headers) {
            return Err(Failure::new(format_args!(
                "{WHAT}: the token may not see any instance: expected one with `service:read` for `{service}` and \
                 `node:read` for its nodes (`discovery.consul.token`)"
            )));
        }
        // One that can't be read must not hide the others.
        let readable = instances.iter().take(MOST).enumerate().map(|(place, instance)| {
            match serde_json::from_str::<Instance>(instance.get()) {
                Ok(instance) if instance.is_critical() => (instance.id(), Seen::Critical),
                Ok(instance) => (instance.id(), Seen::Record(instance.record())),
                // It is counted and logged as a record that can't be read.
                Err(_) => (format!("?{place}"), Seen::Record(Vec::new())),
            }
        });
        Ok(Found::Instances(at, readable.collect()))
    }

    async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<String>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.token {
            let token = sensitive(token.expose().clone()).map_err(|error| told(what, &error))?;
            request = request.header("x-consul-token", token);
        }
        let request = request.body(Full::from(body.unwrap_or_default()));
        let request = request.map_err(|error| Failure::of(what, &error))?;
        self.api.ask(request, patience).await.map_err(|error| told(what, &error))
    }

    /// A request to the agent that is answered at once; the status of the answer and, unless all is well, what it says.
    async fn put_to_agent(
        &self,
        what: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, String), Failure> {
        // It is never closed.
        let _one = self.at_once.acquire().await;
        let path = format!("{path}{}", self.namespace);
        let mut answer = self.send(what, Method::PUT, &path, body, Duration::ZERO).await?;
        let status = answer.status;
        if status.is_success() {
            return Ok((status, String::new()));
        }
        if status == StatusCode::NOT_FOUND || status == StatusCode::INTERNAL_SERVER_ERROR {
            let said = answer.body.whole(4096, self.timing.timeout).await.unwrap_or_default();
            return Ok((status, String::from_utf8_lossy(&said).trim().to_owned()));
        }
        Err(self.refused(what, answer).await)
    }

    async fn refused(&self, what: &str, answer: Answer) -> Failure {
        let hint = match answer.status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                "; expected a token with `service:write` for what is registered, and `service:read` and `node:read` \
                 for what is called (`discovery.consul.token`)"
            }
            _ => "",
        };
        let refused = answer.refused(self.timing.timeout).await;
        Failure::new(format_args!("{what}: {refused}{hint}"))
    }
}

impl Backend for Consul {
    const NAME: &'static str = "consul";

    fn misfit(&self, endpoint: &Endpoint) -> Option<&'static str> {
        instance::misfit(endpoint)
    }

    async fn follow(&self, service: &ServiceName, changes: &Changes) -> Failure {
        let ended = self.try_follow(service, changes).await;
        ended.err().unwrap_or_else(|| Failure::new("following ended"))
    }

    async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        const WHAT: &str = "registering";
        let listed = Listed::read(entry.value.as_bytes()).map_err(Failure::new)?;
        let mut registration = instance::registration(&entry.service, &id(entry), &listed);
        registration["Check"] = json!({
            "CheckID": check(entry),
            "Name": "renewed by the process",
            "TTL": milliseconds(self.timing.ttl),
            "Status": "passing",
            "DeregisterCriticalServiceAfter": milliseconds(self.deregister_after),
        });
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        match self.put_to_agent(WHAT, path, Some(registration.to_string())).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, said) => Err(unexpected(WHAT, status, &said)),
        }
    }

    async fn renew(&self, entry: &Entry) -> Result<bool, Failure> {
        const WHAT: &str = "renewing";
        let path = format!("/v1/agent/check/pass/{}?", encoded(&check(entry)));
        match self.put_to_agent(WHAT, &path, None).await? {
            (status, _) if status.is_success() => Ok(true),
            (StatusCode::NOT_FOUND, _) => Ok(false),
            // Versions before 1.11 say it so.
            (_, said) if said.contains("does not have associated TTL") => Ok(false),
            (status, said) => Err(unexpected(WHAT, status, &said)),
        }
    }

    async fn delete(&self, entry: &Entry) -> Result<(), Failure> {
        const WHAT: &str = "withdrawing";
        let path = format!("/v1/agent/service/deregister/{}?", encoded(&id(entry)));
        match self.put_to_agent(WHAT, &path, None).await? {
            (status, _) if status.is_success() => Ok(()),
            (StatusCode::NOT_FOUND, _) => Ok(()),
            (_, said) if said.contains("Unknown service") => Ok(()),
            (status, said) => Err(unexpected(WHAT, status, &said)),
        }
    }

    async fn names(&self, at_most: usize) -> Result<Vec<String>, Failure> {
        const WHAT: &str = "listing names";
        let path = format!("/v1/catalog/services?{}{}", self.namespace, self.datacenter);
        let mut answer = self.send(WHAT, Method::GET, &path, None, Duration::ZERO).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(WHAT, answer).await);
        }
        let body =
            answer.body.whole(LARGEST, self.timing.timeout).await.map_err(|error| told(WHAT, &error))?;
        let names: BTreeMap<String, serde::de::IgnoredAny> =
            serde_json::from_slice(&body).map_err(|error| Failure::of(WHAT, &error))?;
        // The servers of Consul are a service of it.
        Ok(names.into_keys().filter(|name| name != "consul").take(at_most).collect())
    }
}

impl std::fmt::Debug for Consul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consul").field("address", &self.api.origin).finish_non_exhaustive()
    }
}

/// Lets a burst of answers pass, and then one every [`PACE`].
struct Pace {
    /// When the allowance is full again.
    full: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { full: Instant::now() }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        self.full = self.full.max(now) + PACE;
        if let Some(due) = self.full.checked_sub(PACE * BURST)
            && due > now
        {
            sleep_until(due).await;
        }
    }
}

/// The id of the service, unlike any other of the agent.
fn id(entry: &Entry) -> String {
    format!("{}-{}", entry.service, entry.id)
}

fn check(entry: &Entry) -> String {
    format!("service:{}", id(entry))
}

/// As Go reads it.
fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// `None` without one. Zero is a fault of older versions, which would make queries return at once for ever.
fn index_of(headers: &HeaderMap) -> Option<u64> {
    let index: u64 = headers.get("x-consul-index")?.to_str().ok()?.parse().ok()?;
    Some(index.max(1))
}

/// Whether something was left out because the token may not see it.
fn is_filtered(headers: &HeaderMap) -> bool {
    headers.get("x-consul-results-filtered-by-acls").is_some_and(|value| value.as_bytes() == b"true")
}

fn unexpected(what: &str, status: StatusCode, said: &str) -> Failure {
    Failure::new(format_args!("{what}: the server says {status}: {said}"))
}

fn told(what: &str, error: &api::Failure) -> Failure {
    Failure::new(format_args!("{what}: {error}")).explained(Consul::NAME, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_answers_pass_at_once_and_a_storm_of_them_is_slowed_down() {
        let began = Instant::now();
        let mut pace = Pace::new();
        for _ in 0..BURST {
            pace.wait().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            pace.wait().await;
        }
        assert_eq!(began.elapsed(), PACE * 100);
        tokio::time::sleep(PACE * BURST).await;
        let later = Instant::now();
        for _ in 0..BURST {
            pace.wait().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }
}
