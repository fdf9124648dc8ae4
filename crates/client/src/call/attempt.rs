//! One attempt at one endpoint.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use mainstay_core::{Body, context::Deadline, observe};
use mainstay_discovery::Protocol;
use tokio::time::Instant;

use crate::{
    balance::Key,
    body::{self, Hold},
    client::Inner,
    error::Error,
    limit::Slot,
    outgoing,
    pool::{Answer, Failed, Step, Version},
    retry::{
        Failure, Repeat, Undone,
        answer::{self, Outcome, Pushback},
        refusal::refusal,
    },
    target::{Member, Place, Policy, Target},
};

/// What is the same for all attempts of a call.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) client: &'a Inner,
    pub(super) target: &'a Target,
    pub(super) policy: &'a Policy,
    pub(super) deadline: Deadline,
    /// How often the request was tried before it came here.
    pub(super) before: u32,
    pub(super) repeat: Option<Repeat>,
    /// By what an endpoint is chosen, where that is by a key.
    pub(super) key: Option<Key>,
}

/// Where an attempt goes.
pub(super) struct Chosen {
    pub(super) member: Member,
    pub(super) slot: Option<Slot>,
}

/// How an attempt ended.
pub(super) enum Ended {
    /// With an answer to hand on.
    Answered(Response<Body>),
    /// With an answer after which the request may be sent again.
    Refused { response: Response<Body>, pushback: Pushback, place: Arc<Place> },
    /// Without one.
    Failed {
        error: Error,
        place: Arc<Place>,
        failure: Failure,
        /// The body of the request, if nothing was taken from it.
        body: Option<Body>,
    },
}

impl Scene<'_> {
    /// Whether requests are sent again after an answer. Those that came as repeats are not: of a chain of services only
    /// one repeats what another one answered.
    pub(super) fn repeats_answers(self) -> bool {
        let retry = &self.policy.config.retry;
        self.may_repeat() && self.before == 0 && !(retry.statuses.is_empty() && retry.codes.is_empty())
    }

    /// After what time a second request is sent beside the first.
    pub(super) fn hedge_after(self) -> Option<Duration> {
        let hedge = &self.policy.config.hedge;
        if !hedge.enabled || !self.may_repeat() || self.before > 0 {
            return None;
        }
        self.target.latency.recent_percentile(hedge.percentile)
    }

    /// Whether anything that is safe to do twice may be done twice.
    pub(super) fn may_repeat(self) -> bool {
        let retry = &self.policy.config.retry;
        self.repeat == Some(Repeat::Idempotent) && retry.max_attempts > 1 && retry.budget > 0.0
    }

    /// Whether an attempt that begins after `pause` has as much time as half of the answers take. First attempts are made
    /// in any case: if they were not, a service that was slow once would never be found to be fast again.
    pub(super) fn has_time_for_another(self, pause: Duration) -> bool {
        let usual = self.target.latency.percentile(0.5).unwrap_or_default();
        self.deadline.remaining() > pause.saturating_add(usual)
    }

    /// Takes a repeat or a hedge out of the budget, if it is there.
    pub(super) fn is_paid_for(self) -> bool {
        let paid = self.target.budget.withdraw();
        if !paid {
            self.target.counts.unpaid();
        }
        paid
    }

    /// Whether a call that was tried `made` times is not tried again after the next time, whatever comes of it.
    pub(super) fn is_last(self, made: u32, undone: &Undone) -> bool {
        let retry = &self.policy.config.retry;
        let is_spent =
            [Failure::Unsent, Failure::NotProcessed].iter().all(|failure| !undone.is_left(*failure));
        self.repeat == Some(Repeat::Never)
            || retry.max_attempts <= 1
            || retry.budget <= 0.0
            || (made + 1 >= retry.max_attempts && is_spent)
    }

    pub(super) fn request(
        self,
        mut parts: Parts,
        body: Body,
        attempt: u32,
        version: Version,
    ) -> Request<Body> {
        outgoing::stamp(&mut parts.headers, self.before.saturating_add(attempt), self.deadline);
        match version {
            Version::Http1 => outgoing::origin_form(&mut parts, self.target.service.as_str()),
            Version::Http2 => outgoing::authority_form(&mut parts, self.target.service.as_str()),
        }
        Request::from_parts(parts, body)
    }

    /// # Cancel safety
    /// Dropping it ends the attempt at the other side too; it counts as one that took at least so long.
    pub(super) async fn attempt(self, chosen: Chosen, mut request: Request<Body>, version: Version) -> Ended {
        let Chosen { member, slot } = chosen;
        let (service, address) = (&self.target.service, member.endpoint.address());
        let mut seen = self.target.peer.as_ref().map(|peer| peer.begin(&mut request));
        if let Some(seen) = &seen {
            seen.goes_to(member.endpoint.clone());
        }
        let retry = &self.policy.config.retry;
        let mut in_flight = member.start(self.deadline.at());
        let mut running = Running { scene: self, since: Instant::now(), counts: true };
        let sending = member.place.pools.send(member.endpoint.place(), version, &self.policy.pool, request);
        let sent = if retry.attempt_timeout.is_zero() {
            sending.await
        } else {
            let bound = retry.attempt_timeout.get();
            let Ok(sent) = tokio::time::timeout(bound, sending).await else {
                in_flight.expired();
                note(&mut seen, observe::Failure::Timeout);
                let error = Error::elapsed(service, Some(address.clone()), bound);
                return Ended::Failed { error, place: member.place, failure: Failure::Unknown, body: None };
            };
            sent
        };
        let Answer { response, leaving } = match sent {
            Ok(answer) => answer,
            Err(Failed { at, failure, cause, body }) => {
                running.counts = false;
                if at == Step::GoAway || failure == Failure::Request {
                    in_flight.spared();
                } else {
                    in_flight.failed();
                }
                let (error, why) = match at {
                    Step::Connect => (Error::connect(service, address, cause), observe::Failure::Connect),
                    _ if failure == Failure::Request => {
                        (Error::request_body(service, cause), observe::Failure::Request)
                    }
                    Step::GoAway | Step::Exchange => {
                        (Error::reset(service, address, cause), observe::Failure::Reset)
                    }
                };
                note(&mut seen, why);
                return Ended::Failed { error, place: member.place, failure, body };
            }
        };
        let (head, incoming) = response.into_parts();
        in_flight.answered(head.status, &head.headers, leaving);
        if let Some(seen) = &mut seen {
            seen.answered(head.status, &head.headers, head.version);
        }
        let outcome = answer::outcome(head.status, &head.headers);
        let mut pays = None;
        if outcome == Outcome::Success && answer::says_later(head.status, &head.headers) {
            // A clone a call would be a line that all workers write.
            member.place.budget.get_or_init(|| self.target.budget.clone());
            pays = Some(retry.budget);
        } else if outcome == Outcome::Success {
            self.target.budget.deposit(retry.budget);
        } else {
            // A fast refusal says nothing about how long answers take.
            running.counts = false;
            if let Pushback::After(delay) = answer::pushback(&head.headers) {
                member.place.push_back(delay);
            }
        }
        drop(running);
        let slot = slot.and_then(|slot| slot.answered(outcome != Outcome::Success));
        let hold = Hold { in_flight, _slot: slot, pays };
        let body = body::from_wire(incoming, hold, seen, self.deadline);
        let mut response = Response::from_parts(head, body);
        if self.repeats_answers()
            && let Some(pushback) = refusal(retry, &mut response).await
        {
            return Ended::Refused { response, pushback, place: member.place };
        }
        Ended::Answered(response)
    }
}

/// Tells what observes the attempt that it failed.
fn note(seen: &mut Option<observe::Attempt>, why: observe::Failure) {
    if let Some(seen) = seen {
        seen.failed(why);
    }
}

impl Ended {
    /// Whether it is an answer that nothing better is waited for.
    pub(super) fn is_good(&self) -> bool {
        let Self::Answered(response) = self else { return false };
        answer::outcome(response.status(), response.headers()) == Outcome::Success
    }
}

/// Tells how long the attempt took, if it is dropped while it counts.
struct Running<'a> {
    scene: Scene<'a>,
    since: Instant,
    counts: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.counts {
            let now = Instant::now();
            self.scene.target.latency.record(now - self.since, now);
        }
    }
}

/// gRPC needs HTTP/2; an upgrade (WebSocket) is one of HTTP/1.1.
pub(super) fn version(parts: &Parts, protocol: Protocol) -> Version {
    if outgoing::is_grpc(&parts.headers) {
        return Version::Http2;
    }
    match protocol {
        Protocol::Http2 if !parts.headers.contains_key(http::header::UPGRADE) => Version::Http2,
        _ => Version::Http1,
    }
}
