//! Tokens that their issuer is asked about (RFC 7662): one request a token, answers remembered for a while.

mod answer;
mod config;

use std::{pin::Pin, sync::Arc, time::Duration};

use http::StatusCode;
use mainstay_core::{context::RequestContext, task::Tasks};
use tokio::{sync::Semaphore, time::Instant};

use self::answer::{Expected, Unreadable};
pub use self::config::{Config, Tokens};
use crate::{
    Principal, Refusal,
    cache::{Cache, Remembered},
    client::{Endpoint, Failed, Pause},
    clock::Clock,
    config::Issuer,
    fetch::Post,
    flights::Flights,
};

/// So many requests are under way at once.
const AT_ONCE: usize = 32;
/// And so many wait or are under way.
const MOST: usize = 1024;
/// So long it is remembered that a token is not good.
const DENIED: Duration = Duration::from_secs(5);
/// Of so many tokens.
const MOST_DENIED: usize = 1024;

/// Asks an issuer about tokens.
pub(crate) trait Ask: Send + Sync {
    /// Who sent `token`, and until when that is known (seconds since 1970).
    fn ask(self: Arc<Self>, token: String) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

type Answer = Result<(Principal, f64), Refusal>;

/// How one issuer is asked.
pub(crate) struct Introspection<P> {
    /// Its name in the configuration.
    name: String,
    expected: Expected,
    endpoint: Endpoint<P>,
    max_age: f64,
    /// For one request, and as long again for its turn.
    timeout: Duration,
    flights: Arc<Flights<Answer>>,
    slots: Semaphore,
    pause: Pause,
    denied: Option<Cache<Denied>>,
    clock: Clock,
}

struct Denied {
    refusal: Refusal,
    until: f64,
}

impl Remembered for Denied {
    fn holds(&self, now: f64) -> bool {
        now < self.until
    }
}

impl<P: Post> Introspection<P> {
    /// # Errors
    /// The key of `config` that can't be used.
    pub(crate) fn new(
        name: &str,
        issuer: &Issuer,
        config: &Config,
        audience: &[String],
        leeway: f64,
        tasks: &Tasks,
        (fetch, clock): (P, Clock),
    ) -> Result<Self, &'static str> {
        let registration = config.registration(issuer);
        let expected = Expected {
            issuer: issuer.issuer.clone(),
            audience: audience.to_vec(),
            audience_optional: config.audience_optional,
            relax: issuer.relax.clone(),
            roles: issuer.roles.clone(),
            leeway,
        };
        Ok(Self {
            name: name.to_owned(),
            expected,
            endpoint: Endpoint::new(&registration, "introspection_endpoint", fetch, clock)?,
            max_age: config.max_age.get().as_secs_f64(),
            timeout: issuer.timeout.get(),
            flights: Flights::new(MOST, tasks),
            slots: Semaphore::new(AT_ONCE),
            pause: Pause::default(),
            denied: Cache::new(MOST_DENIED),
            clock,
        })
    }

    async fn answer(self: Arc<Self>, token: String) -> Answer {
        let now = self.clock.now().as_secs_f64();
        let denied = self.denied.as_ref().and_then(|denied| denied.get(&token, now, |denied| denied.refusal));
        if let Some(refusal) = denied {
            return Err(refusal);
        }
        let own = Instant::now() + self.timeout * 2;
        let deadline = RequestContext::current().and_then(|context| context.deadline());
        let until = deadline.map_or(own, |deadline| deadline.at().min(own));
        let work = || self.clone().fetched(token.clone());
        match tokio::time::timeout_at(until, self.flights.join(&token, work)).await {
            Ok(Ok(answer)) => answer,
            // Too many are under way, or it takes too long.
            Ok(Err(_)) | Err(_) => Err(Refusal::IssuerUnavailable),
        }
    }

    async fn fetched(self: Arc<Self>, token: String) -> Answer {
        let unavailable = |failed: &Failed| {
            tracing::warn!(issuer = self.name, error = %failed, "the issuer can't be asked about a token");
            Refusal::IssuerUnavailable
        };
        self.pause.check().map_err(|_| Refusal::IssuerUnavailable)?;
        let slot = tokio::time::timeout(self.timeout, self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else { return Err(Refusal::IssuerUnavailable) };
        self.pause.check().map_err(|_| Refusal::IssuerUnavailable)?;
        let asked = self.clock.now().as_secs_f64();
        let parameters = [("token", token.as_str()), ("token_type_hint", "access_token")];
        let (url, reply) = match self.endpoint.ask(&parameters).await {
            Ok(answered) => answered,
            Err(failed) => {
                self.pause.note(Some(&failed));
                return Err(unavailable(&failed));
            }
        };
        let is_overloaded =
            matches!(reply.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let failed = (reply.status != StatusCode::OK).then(|| Failed::refused(&url, &reply));
        // Other statuses may be about this token: nobody shall be able to keep us from asking about those of others.
        self.pause.note(failed.as_ref().filter(|_| is_overloaded));
        let answer = match failed {
            Some(failed) => Err(unavailable(&failed)),
            None => match self.expected.read(&reply.body, asked, asked + self.max_age) {
                Ok(answer) => answer,
                Err(Unreadable(what)) => {
                    Err(unavailable(&Failed::unavailable(format_args!("{url}: {what}"))))
                }
            },
        };
        if let (Err(refusal), Some(denied)) = (&answer, &self.denied)
            && !is_overloaded
        {
            let until = asked + DENIED.as_secs_f64();
            denied.insert(&token, Denied { refusal: *refusal, until }, asked);
        }
        answer
    }
}

impl<P: Post> Ask for Introspection<P> {
    fn ask(self: Arc<Self>, token: String) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(self.answer(token))
    }
}

/// Whether `token` is one that may be asked about (RFC 6750 section 2.1, `b64token`).
pub(crate) fn is_token(token: &str) -> bool {
    let is_good = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    !token.is_empty() && token.bytes().all(is_good)
}
