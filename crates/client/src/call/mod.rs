//! One call: attempts, until one is answered, none is left, or the deadline passes.

mod attempt;

use std::{sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use mainstay_core::{Body, context::Deadline, observe};
use mainstay_discovery::Address;
use tokio::time::Instant;

use crate::{
    balance::Key,
    body,
    client::Inner,
    error::Error,
    hedge,
    limit::Full,
    outgoing,
    pool::Version,
    retry::{
        Failure, Repeat, Undone,
        answer::{self, Outcome, Pushback},
        backoff, is_safe,
        payload::Payload,
        refusal::discard,
    },
    state::Extra,
    target::{Place, Policy, Target},
};
use attempt::{Chosen, Ended, Scene, version};

pub(crate) struct Call<'a> {
    scene: Scene<'a>,
    started: Instant,
    last: Option<Address>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        client: &'a Inner,
        target: &'a Target,
        policy: &'a Policy,
        before: u32,
        deadline: Deadline,
        repeat: Option<Repeat>,
        key: Option<Key>,
    ) -> Self {
        let scene = Scene { client, target, policy, deadline, before, repeat, key };
        Self { scene, started: Instant::now(), last: None }
    }

    /// # Cancel safety
    /// Dropping it ends the attempt: an HTTP/1.1 connection is closed, an HTTP/2 stream reset, a call in process
    /// dropped.
    pub(crate) async fn run(mut self, parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        if self.scene.deadline.has_passed() {
            return Err(self.elapsed());
        }
        let Scene { target, policy, deadline, .. } = self.scene;
        let permit = match policy.config.breaker.enabled {
            false => None,
            true => Some(target.circuit.admit().map_err(|open| Error::breaker_open(&target.service, open))?),
        };
        let outcome = self.bounded(deadline, parts, body).await;
        let Some(permit) = permit else { return outcome };
        match outcome {
            Ok(response) if answer::says_later(response.status(), response.headers()) => {
                Ok(response.map(|body| body::judged(body, permit)))
            }
            Ok(response) => {
                let outcome = answer::outcome(response.status(), response.headers());
                permit.ended(outcome == Outcome::Failure);
                Ok(response)
            }
            Err(error) => {
                // Else the call was at fault, or nobody: it says nothing about the service.
                if error.blames_service() {
                    permit.ended(true);
                }
                Err(error)
            }
        }
    }

    async fn bounded(
        &mut self,
        deadline: Deadline,
        parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let until = deadline.at();
        let chosen = self.find(&[], false).map_err(|missing| match missing {
            Missing::Endpoint => self.no_endpoint(),
            Missing::Room => Error::overloaded(&self.scene.target.service),
        })?;
        let outcome = if *chosen.member.endpoint.address() == Address::InProcess {
            tokio::time::timeout_at(until, self.in_process(parts, body)).await
        } else {
            // In a box: it is large, and a call in process should not pay for moving it.
            tokio::time::timeout_at(until, Box::pin(self.attempts(chosen, parts, body))).await
        };
        outcome.unwrap_or_else(|_| Err(self.elapsed()))
    }

    async fn attempts(
        &mut self,
        mut chosen: Chosen,
        mut parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let scene = self.scene;
        let retry = &scene.policy.config.retry;
        let mut payload = Payload::new(body, retry.max_body.as_usize());
        let mut tried: Vec<Arc<Place>> = Vec::new();
        let mut made = 0;
        let mut undone = Undone::default();
        loop {
            let Some(body) = payload.take() else {
                // Unreachable: an attempt is only made again while the body is left.
                return Err(self.no_endpoint());
            };
            self.last = Some(chosen.member.endpoint.address().clone());
            let version = version(&parts, chosen.member.endpoint.protocol());
            let head = if scene.is_last(made, &undone) {
                std::mem::replace(&mut parts, Request::new(()).into_parts().0)
            } else {
                parts.clone()
            };
            let request = scene.request(head, body, made, version);
            made += 1;
            let delay =
                if made < retry.max_attempts && payload.is_left() { scene.hedge_after() } else { None };
            let ended = match delay {
                None => scene.attempt(chosen, request, version).await,
                Some(delay) => {
                    tried.push(chosen.member.place.clone());
                    let attempt = scene.attempt(chosen, request, version);
                    let second = || {
                        let (chosen, request, version) =
                            self.second(&parts, &mut payload, &mut tried, &mut made)?;
                        Some(scene.attempt(chosen, request, version))
                    };
                    hedge::race(attempt, delay, second, Ended::is_good).await
                }
            };

            let (outcome, place, is_safe, why) = match ended {
                Ended::Answered(response) => return Ok(response),
                Ended::Refused { response, pushback, place } => {
                    (Ok(response), place, pushback != Pushback::Never, Why::Refused(pushback))
                }
                Ended::Failed { error, place, failure, body } => {
                    if let Some(body) = body {
                        payload.put_back(body);
                    }
                    (Err(error), place, is_safe(failure, scene.repeat), Why::Failed(failure))
                }
            };
            if !is_among(&tried, &place) {
                tried.push(place);
            }
            let may = is_safe
                && retry.max_attempts > 1
                && retry.budget > 0.0
                && payload.is_left()
                && scene.has_time_for_another(Duration::ZERO);
            let again = if may { self.again(&tried, &mut made, &mut undone, why) } else { None };
            self.log(made, again.is_some(), &outcome);
            let Some((next, pause)) = again else { return outcome };
            if let Ok(refusal) = outcome {
                discard(refusal).await;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if *next.member.endpoint.address() == Address::InProcess {
                // The service came up in this process meanwhile.
                let body = payload.take().unwrap_or_default();
                return self.in_process(parts, body).await;
            }
            chosen = next;
        }
    }

    /// Where the request is sent again, and after what time: for nothing if nothing of it was done, else within attempts
    /// and budget.
    fn again(
        &self,
        tried: &[Arc<Place>],
        made: &mut u32,
        undone: &mut Undone,
        why: Why,
    ) -> Option<(Chosen, Duration)> {
        let scene = self.scene;
        let retry = &scene.policy.config.retry;
        if let Why::Failed(failure) = why
            && undone.is_left(failure)
        {
            // Where no other is well, what is not paid for would only add to it.
            let only_available = failure == Failure::Unsent;
            if let Ok(chosen) = self.find(tried, only_available) {
                undone.count(failure);
                scene.target.counts.sent(Extra::Undone);
                *made = made.saturating_sub(1);
                return Some((chosen, Duration::ZERO));
            }
        }
        if *made >= retry.max_attempts || !scene.is_paid_for() {
            return None;
        }
        let planned = self.find(tried, false).ok().and_then(|chosen| {
            let is_other = !is_among(tried, &chosen.member.place);
            let pause = backoff::pause(*made, retry.backoff.get(), retry.max_backoff.get());
            let pause = match why {
                Why::Failed(Failure::Unsent | Failure::NotProcessed) if is_other => Duration::ZERO,
                // Who asked is left alone; others may be asked.
                Why::Refused(Pushback::After(delay)) if !is_other => pause.max(delay),
                _ => pause,
            };
            scene.has_time_for_another(pause).then_some((chosen, pause))
        });
        match &planned {
            Some(_) => scene.target.counts.sent(Extra::Repeat),
            None => scene.target.budget.put_back(),
        }
        planned
    }

    async fn in_process(&mut self, mut parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        let Scene { client, target, deadline, before, .. } = self.scene;
        self.last = Some(Address::InProcess);
        outgoing::stamp(&mut parts.headers, before, deadline);
        if outgoing::is_grpc(&parts.headers) {
            outgoing::authority_form(&mut parts, target.service.as_str());
        } else {
            outgoing::origin_form(&mut parts, target.service.as_str());
        }
        let mut request = Request::from_parts(parts, body);
        let mut seen = target.peer.as_ref().map(|peer| peer.begin(&mut request));
        let response = client.locals.call(&target.service, request, &client.tasks).await;
        if let Some(seen) = &mut seen {
            match &response {
                Ok(response) => seen.answered(response.status(), response.headers(), response.version()),
                Err(_) => seen.failed(observe::Failure::Reset),
            }
        }
        Ok(response?.map(|body| body::from_process(body, seen, deadline)))
    }

    /// A second request beside one that takes long: at another endpoint, if there is one, and within the budget.
    fn second(
        &mut self,
        parts: &Parts,
        payload: &mut Payload,
        tried: &mut Vec<Arc<Place>>,
        made: &mut u32,
    ) -> Option<(Chosen, Request<Body>, Version)> {
        let scene = self.scene;
        if !scene.has_time_for_another(Duration::ZERO) || !scene.is_paid_for() {
            return None;
        }
        let chosen = self.find(tried, false).ok().filter(|chosen| {
            let is_other = !is_among(tried, &chosen.member.place);
            is_other && *chosen.member.endpoint.address() != Address::InProcess
        });
        let (Some(chosen), Some(body)) = (chosen, payload.take()) else {
            scene.target.budget.put_back();
            return None;
        };
        scene.target.counts.sent(Extra::Hedge);
        tracing::debug!(service = %scene.target.service, endpoint = %chosen.member.endpoint.address(), "hedged");
        self.last = Some(chosen.member.endpoint.address().clone());
        let version = version(parts, chosen.member.endpoint.protocol());
        let request = scene.request(parts.clone(), body, *made, version);
        *made += 1;
        tried.push(chosen.member.place.clone());
        Some((chosen, request, version))
    }

    /// An endpoint that has room, not one of `tried` while there are others; or only one that should get requests now.
    fn find(&self, tried: &[Arc<Place>], only_available: bool) -> Result<Chosen, Missing> {
        /// How many full ones are met before all are taken for full.
        const LOOKS: usize = 4;
        let Scene { target, policy, key, .. } = self.scene;
        let mut full: Vec<Arc<Place>> = Vec::new();
        for _ in 0..LOOKS {
            let seen;
            let passed_over = if full.is_empty() {
                tried
            } else {
                seen = [tried, &full].concat();
                &seen
            };
            let found = if only_available {
                target.choose_available(passed_over, key)
            } else {
                target.choose(passed_over, key)
            };
            let member = found.ok_or(Missing::Endpoint)?;
            match member.place.limit.acquire(&policy.config.limit) {
                Ok(slot) => return Ok(Chosen { member, slot }),
                Err(Full) => full.push(member.place),
            }
        }
        Err(Missing::Room)
    }

    fn log(&self, attempts: u32, again: bool, outcome: &Result<Response<Body>, Error>) {
        let (service, endpoint) = (&self.scene.target.service, self.last.as_ref().map(ToString::to_string));
        match outcome {
            Ok(refusal) => {
                let status = refusal.status().as_u16();
                tracing::debug!(%service, endpoint, attempts, again, status, "attempt refused");
            }
            Err(error) => {
                let error = mainstay_core::error::Report::new(error);
                tracing::debug!(%service, endpoint, attempts, again, %error, "attempt failed");
            }
        }
    }

    fn no_endpoint(&self) -> Error {
        Error::no_endpoint(&self.scene.target.service, self.scene.client.resolver.known())
    }

    fn elapsed(&self) -> Error {
        Error::elapsed(&self.scene.target.service, self.last.clone(), self.started.elapsed())
    }
}

/// What there is none of.
enum Missing {
    Endpoint,
    Room,
}

/// Why a request is sent again.
#[derive(Clone, Copy)]
enum Why {
    Refused(Pushback),
    Failed(Failure),
}

fn is_among(places: &[Arc<Place>], place: &Arc<Place>) -> bool {
    places.iter().any(|one| Arc::ptr_eq(one, place))
}
