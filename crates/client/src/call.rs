//! One call: attempts, until one is answered, none is left, or the deadline passes.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use mainstay_core::{
    Body,
    context::{Deadline, RequestContext},
};
use mainstay_discovery::{Address, Protocol};
use tokio::time::Instant;

use crate::{
    balance::health::Claim,
    body,
    client::Inner,
    error::Error,
    outgoing,
    pool::{Answer, Failed, Step, Version},
    retry::{self, Failure, payload::Payload},
    target::{Member, Place, Policy, Target},
};

/// The wait before an endpoint is tried that this call has tried already; doubled each time.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Call<'a> {
    client: &'a Inner,
    target: &'a Target,
    policy: &'a Policy,
    deadline: Deadline,
    started: Instant,
    /// How often the request was tried before it came here.
    before: u32,
    last: Option<Address>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        client: &'a Inner,
        target: &'a Target,
        policy: &'a Policy,
        context: Option<&RequestContext>,
        deadline: Deadline,
    ) -> Self {
        let before = context.map_or(0, RequestContext::attempt);
        Self { client, target, policy, deadline, started: Instant::now(), before, last: None }
    }

    /// # Cancel safety
    /// Dropping it ends the attempt: an HTTP/1.1 connection is closed, an HTTP/2 stream reset, a call in process
    /// dropped.
    pub(crate) async fn run(mut self, parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        if self.deadline.has_passed() {
            return Err(self.elapsed());
        }
        self.target.budget.deposit(self.policy.config.retry.budget);
        let until = self.deadline.at();
        let (member, claim) = self.target.choose(&[]).ok_or_else(|| self.no_endpoint())?;
        let outcome = if *member.endpoint.address() == Address::InProcess {
            tokio::time::timeout_at(until, self.in_process(parts, body)).await
        } else {
            // In a box: it is large, and a call in process should not pay for moving it.
            tokio::time::timeout_at(until, Box::pin(self.attempts(member, claim, parts, body))).await
        };
        outcome.unwrap_or_else(|_| Err(self.elapsed()))
    }

    async fn attempts(
        &mut self,
        mut member: Member,
        mut claim: Claim,
        parts: Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let mut payload = Payload::new(body);
        let mut tried: Vec<Arc<Place>> = Vec::new();
        let mut attempt = 0;
        loop {
            let Some(body) = payload.take() else {
                // Unreachable: an attempt is only made again while the body is left.
                return Err(self.no_endpoint());
            };
            let address = member.endpoint.address();
            self.last = Some(address.clone());
            let request = self.request(&parts, body, attempt, member.endpoint.protocol());
            let version = version(&parts, member.endpoint.protocol());

            let mut in_flight = member.place.load.start();
            let sent =
                member.place.pools.send(member.endpoint.place(), version, &self.policy.pool, request).await;
            let failed = match sent {
                Ok(Answer { response, lease, leaving }) => {
                    in_flight.answered();
                    member.place.health.answered(leaving);
                    let (head, incoming) = response.into_parts();
                    let body = body::from_wire(incoming, lease, in_flight, self.deadline);
                    return Ok(Response::from_parts(head, body));
                }
                Err(failed) => failed,
            };
            in_flight.failed();
            drop(in_flight);
            if failed.at != Step::GoAway && failed.failure != Failure::Request {
                member.place.health.failed(claim);
            }
            let Failed { at, failure, cause, body } = failed;
            if let Some(body) = body {
                payload.put_back(body);
            }
            let error = match at {
                Step::Connect => Error::connect(&self.target.service, address, cause),
                _ if failure == Failure::Request => Error::request_body(&self.target.service, cause),
                Step::GoAway | Step::Exchange => Error::reset(&self.target.service, address, cause),
            };
            attempt += 1;
            let retry = &self.policy.config.retry;
            let again = attempt < retry.max_attempts
                && retry.budget > 0.0
                && payload.is_left()
                && retry::is_safe(failure, &parts.method)
                && !self.deadline.has_passed()
                && self.target.budget.withdraw();
            tracing::debug!(
                service = %self.target.service, endpoint = %address, attempt, again,
                error = %mainstay_core::error::Report::new(&error), "attempt failed",
            );
            if !again {
                return Err(error);
            }
            tried.push(member.place);
            (member, claim) = self.target.choose(&tried).ok_or_else(|| self.no_endpoint())?;
            if tried.iter().any(|place| Arc::ptr_eq(place, &member.place)) {
                let pause = PAUSE * (1 << attempt.min(6));
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            }
            if *member.endpoint.address() == Address::InProcess {
                // The service came up in this process meanwhile.
                let body = payload.take().unwrap_or_default();
                return self.in_process(parts, body).await;
            }
        }
    }

    async fn in_process(&mut self, mut parts: Parts, body: Body) -> Result<Response<Body>, Error> {
        self.last = Some(Address::InProcess);
        outgoing::stamp(&mut parts.headers, self.before, self.deadline);
        if outgoing::is_grpc(&parts.headers) {
            outgoing::authority_form(&mut parts, self.target.service.as_str());
        } else {
            outgoing::origin_form(&mut parts, self.target.service.as_str());
        }
        let request = Request::from_parts(parts, body);
        let response = self.client.locals.call(&self.target.service, request, &self.client.tasks).await?;
        Ok(response.map(|body| body::from_process(body, self.deadline)))
    }

    fn request(&self, parts: &Parts, body: Body, attempt: u32, protocol: Protocol) -> Request<Body> {
        let mut parts = parts.clone();
        outgoing::stamp(&mut parts.headers, self.before.saturating_add(attempt), self.deadline);
        match version(&parts, protocol) {
            Version::Http1 => outgoing::origin_form(&mut parts, self.target.service.as_str()),
            Version::Http2 => outgoing::authority_form(&mut parts, self.target.service.as_str()),
        }
        Request::from_parts(parts, body)
    }

    fn no_endpoint(&self) -> Error {
        Error::no_endpoint(&self.target.service, self.client.resolver.known())
    }

    fn elapsed(&self) -> Error {
        Error::elapsed(&self.target.service, self.last.clone(), self.started.elapsed())
    }
}

/// gRPC needs HTTP/2; an upgrade (WebSocket) is one of HTTP/1.1.
fn version(parts: &Parts, protocol: Protocol) -> Version {
    if outgoing::is_grpc(&parts.headers) {
        return Version::Http2;
    }
    match protocol {
        Protocol::Http2 if !parts.headers.contains_key(http::header::UPGRADE) => Version::Http2,
        _ => Version::Http1,
    }
}
