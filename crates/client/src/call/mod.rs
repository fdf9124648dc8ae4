//! One call: attempts, until one is answered, none is left, or the deadline passes.

mod attempt;

use std::{sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use mainstay_core::{
    Body,
    context::{Deadline, RequestContext},
};
use mainstay_discovery::Address;
use tokio::time::Instant;

use crate::{
    body,
    client::Inner,
    error::Error,
    outgoing,
    retry::{self, Failure, Repeat, answer::Pushback, backoff, payload::Payload},
    target::{Place, Policy, Target},
};
use attempt::{Chosen, Ended, Scene, discard, version};

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
        context: Option<&RequestContext>,
        deadline: Deadline,
        repeat: Option<Repeat>,
    ) -> Self {
        let before = context.map_or(0, RequestContext::attempt);
        let scene = Scene { client, target, policy, deadline, before, repeat };
        Self { scene, started: Instant::now(), last: None }
    }

    /// # Cancel safety
    /// Dropping it ends the attempt: an HTTP/1.1 connection is closed, an HTTP/2 stream reset, a call in process
    /// dropped.
    pub(crate) async fn run(mut self, parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        if self.scene.deadline.has_passed() {
            return Err(self.elapsed());
        }
        let until = self.scene.deadline.at();
        let chosen = self.choose(&[])?;
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
        parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let scene = self.scene;
        let retry = &scene.policy.config.retry;
        let mut payload = Payload::new(body, retry.max_body.as_usize());
        let mut tried: Vec<Arc<Place>> = Vec::new();
        let mut made = 0;
        loop {
            let Some(body) = payload.take() else {
                // Unreachable: an attempt is only made again while the body is left.
                return Err(self.no_endpoint());
            };
            self.last = Some(chosen.member.endpoint.address().clone());
            let version = version(&parts, chosen.member.endpoint.protocol());
            let request = scene.request(&parts, body, made, version);
            let ended = scene.attempt(&chosen, request, version).await;
            made += 1;
            tried.push(chosen.member.place);

            let (outcome, is_safe, pushback, is_untouched) = match ended {
                Ended::Answered(response) => return Ok(response),
                Ended::Refused(response, pushback) => {
                    (Ok(response), pushback != Pushback::Never, pushback, false)
                }
                Ended::Failed { error, failure, body } => {
                    if let Some(body) = body {
                        payload.put_back(body);
                    }
                    let untouched = failure == Failure::NotProcessed;
                    (Err(error), retry::is_safe(failure, scene.repeat), Pushback::Unsaid, untouched)
                }
            };
            let again = is_safe
                && made < retry.max_attempts
                && retry.budget > 0.0
                && payload.is_left()
                && scene.has_time_for_another(Duration::ZERO)
                && scene.target.budget.withdraw();
            self.log(made, again, &outcome);
            if !again {
                return outcome;
            }
            let next = self.choose(&tried)?;
            let is_other = !tried.iter().any(|place| Arc::ptr_eq(place, &next.member.place));
            let pause = if is_untouched && is_other {
                Duration::ZERO
            } else {
                let pause = backoff::pause(made, retry.backoff.get(), retry.max_backoff.get());
                match pushback {
                    // Who asked is left alone; others may be asked.
                    Pushback::After(delay) if !is_other => pause.max(delay),
                    _ => pause,
                }
            };
            if !scene.has_time_for_another(pause) {
                scene.target.budget.put_back();
                return outcome;
            }
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

    async fn in_process(&mut self, mut parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        let Scene { client, target, deadline, before, .. } = self.scene;
        self.last = Some(Address::InProcess);
        outgoing::stamp(&mut parts.headers, before, deadline);
        if outgoing::is_grpc(&parts.headers) {
            outgoing::authority_form(&mut parts, target.service.as_str());
        } else {
            outgoing::origin_form(&mut parts, target.service.as_str());
        }
        let request = Request::from_parts(parts, body);
        let response = client.locals.call(&target.service, request, &client.tasks).await?;
        Ok(response.map(|body| body::from_process(body, deadline)))
    }

    /// An endpoint, not one of `tried` while there are others.
    fn choose(&self, tried: &[Arc<Place>]) -> Result<Chosen, Error> {
        let chosen = self.scene.target.choose(tried);
        chosen.map(|(member, claim)| Chosen { member, claim }).ok_or_else(|| self.no_endpoint())
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
