//! Tokens for a target in exchange for those of callers (RFC 8693), remembered by what they were exchanged for.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use mainstay_core::{
    context::{Deadline, RequestContext},
    error::Kind,
    task::Tasks,
};
use tokio::sync::Semaphore;

use super::{
    Credential,
    config::Target,
    issued::{Wanted, token, wanted},
    own::Own,
};
use crate::{
    cache::{Cache, Remembered},
    client::{Endpoint, Failed, Pause},
    clock::Clock,
    fetch::Post,
    flights::{Flights, Missed},
};

/// So many exchanges are under way at once.
const AT_ONCE: usize = 32;
/// And so many wait or are under way.
const MOST: usize = 1024;
/// So long an exchange waits for its turn at most.
const QUEUE: Duration = Duration::from_secs(5);
/// What is younger is not forgotten because a callee refuses it: another one would be refused too.
const COOL_DOWN: f64 = 5.0;
/// So long it is remembered that a token is not exchanged.
const REFUSED: Duration = Duration::from_secs(5);

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Exchanges for one target.
pub(super) struct Exchange<P>(Arc<Inner<P>>);

struct Inner<P> {
    endpoint: Arc<Endpoint<P>>,
    /// In the name of which client it acts, where that is said.
    actor: Option<Arc<Own>>,
    wanted: Wanted,
    cache: Option<Cache<Exchanged>>,
    max_age: Duration,
    flights: Arc<Flights<Result<HeaderValue, Failed>>>,
    slots: Arc<Semaphore>,
    pause: Pause,
    clock: Clock,
}

/// What a token was exchanged for.
struct Exchanged {
    outcome: Result<HeaderValue, Failed>,
    /// In seconds since 1970.
    since: f64,
    until: f64,
}

impl Remembered for Exchanged {
    fn holds(&self, now: f64) -> bool {
        now < self.until
    }
}

impl<P: Post> Exchange<P> {
    pub(super) fn new(
        endpoint: Arc<Endpoint<P>>,
        actor: Option<Arc<Own>>,
        target: &Target,
        tasks: &Tasks,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            endpoint,
            actor,
            wanted: wanted(target),
            cache: Cache::new(target.cache),
            max_age: target.max_age.get(),
            flights: Flights::new(MOST, tasks),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            pause: Pause::default(),
            clock,
        }))
    }

    /// What is shown by a call that is made for the request which is being handled: nothing outside of one.
    pub(super) fn credential(&self, _: Deadline) -> Credential {
        let Some(context) = RequestContext::current() else { return Credential::None };
        let Some(subject) = context.authorization().and_then(bearer) else { return Credential::None };
        match self.0.known(subject) {
            Some(Ok(authorization)) => Credential::Ready(authorization),
            Some(Err(failed)) => super::failing(failed),
            None => {
                let (inner, subject) = (self.0.clone(), subject.to_owned());
                super::awaited(inner.exchanged(subject))
            }
        }
    }

    /// Forgets `authorization`, which was refused. Whether another one may be had.
    pub(super) fn refused(&self, authorization: &HeaderValue) -> bool {
        let (Some(cache), Some(context)) = (&self.0.cache, RequestContext::current()) else { return false };
        let Some(subject) = context.authorization().and_then(bearer) else { return false };
        let now = self.0.clock.now().as_secs_f64();
        let known = cache.get(subject, now, |exchanged| {
            let is_it = exchanged.outcome.as_ref() == Ok(authorization);
            (is_it, now - exchanged.since >= COOL_DOWN)
        });
        match known {
            Some((true, false)) => return false,
            Some((true, true)) => cache.remove(subject),
            // It was replaced already.
            Some((false, _)) | None => {}
        }
        true
    }
}

impl<P: Post> Inner<P> {
    fn known(&self, subject: &str) -> Option<Result<HeaderValue, Failed>> {
        let now = self.clock.now().as_secs_f64();
        self.cache.as_ref()?.get(subject, now, |exchanged| exchanged.outcome.clone())
    }

    async fn exchanged(self: Arc<Self>, subject: String) -> Result<HeaderValue, Failed> {
        let work = || self.clone().exchange(subject.clone());
        match self.flights.join(&subject, work).await {
            Ok(outcome) => outcome,
            Err(Missed::Full) => {
                Err(Failed::unavailable(format_args!("{MOST} tokens are being exchanged already")))
            }
            Err(Missed::Ended) => Err(Failed::unavailable("the process ends")),
        }
    }

    async fn exchange(self: Arc<Self>, subject: String) -> Result<HeaderValue, Failed> {
        // Another flight may have landed just before this one began.
        if let Some(known) = self.known(&subject) {
            return known;
        }
        self.pause.check()?;
        // Not the deadline of the call that was first: others wait too, each for as long as it may.
        let deadline = Deadline::after(QUEUE);
        let slot = tokio::time::timeout_at(deadline.at(), self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else { return Err(Failed::unavailable("no exchange was free in time")) };
        self.pause.check()?;
        let actor = match &self.actor {
            None => None,
            Some(own) => Some(match own.current() {
                Some(actor) => actor,
                None => own.fetched(deadline).await?,
            }),
        };
        let mut parameters = vec![
            ("grant_type", GRANT),
            ("subject_token", subject.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        parameters.extend(self.wanted.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(actor) = actor.as_ref().and_then(bearer) {
            parameters.extend([("actor_token", actor), ("actor_token_type", ACCESS_TOKEN)]);
        }
        let begun = self.clock.now().as_secs_f64();
        let (outcome, lifetime) = match token(&self.endpoint, &parameters).await {
            Ok(issued) => {
                let lifetime = issued.lifetime.mul_f64(0.9).min(self.max_age);
                (Ok(issued.authorization), Some(lifetime))
            }
            Err(failed) => {
                tracing::warn!(error = %failed, "a token was not exchanged");
                let is_about_token = failed.kind == Kind::PermissionDenied;
                (Err(failed), is_about_token.then_some(REFUSED))
            }
        };
        self.pause.note(outcome.as_ref().err());
        if let (Some(cache), Some(lifetime)) = (&self.cache, lifetime) {
            let until = begun + lifetime.as_secs_f64();
            let exchanged = Exchanged { outcome: outcome.clone(), since: begun, until };
            cache.insert(&subject, exchanged, begun);
        }
        outcome
    }
}

/// The token in a value of `Authorization`.
fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}
