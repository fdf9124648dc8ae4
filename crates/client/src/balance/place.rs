//! An endpoint, what is known of the place it names, and a request to it.

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use mainstay_discovery::Endpoint;
use tokio::time::Instant;

use super::{
    census::Census,
    check::{Check, Tally},
    ejection::Window,
    ewma::Load,
    health::{Claim, Forgiven, Health},
    key,
};
use crate::retry::answer;

/// What outlives changes of what the registry says of an endpoint, as long as it is listed. `T` is what its user keeps
/// for it, such as connections.
#[derive(Debug)]
pub struct Place<T> {
    /// The same for the same place in all processes.
    hash: u64,
    pub(super) census: Arc<Census>,
    pub(super) load: Load,
    pub(super) health: Health,
    pub(super) window: Window,
    checks: Tally,
    data: T,
}

/// An endpoint that was chosen, and its place. Cloning is cheap.
#[derive(Debug)]
pub struct Member<T> {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) place: Arc<Place<T>>,
    claim: Claim,
}

/// One request in flight, until dropped. Dropped before anything was said of it, it counts as given up: by the caller,
/// or, where its deadline has passed by then, because the endpoint did not answer in time.
#[derive(Debug)]
pub struct InFlight<T> {
    place: Arc<Place<T>>,
    claim: Claim,
    since: u64,
    until: u64,
    /// Whether it is known how it went.
    told: bool,
    /// What the head of its answer ended, if there was one.
    forgiven: Option<Forgiven>,
    /// The answer has begun, and its trailers will say whether it is good; whether the endpoint is leaving.
    outstanding: Option<bool>,
    /// Whether it counts among the requests to all endpoints.
    counted: bool,
}

impl<T> Place<T> {
    pub(super) fn new(place: &mainstay_discovery::Place, data: T, census: Arc<Census>) -> Self {
        Self {
            hash: key::hash(place.to_string().as_bytes()),
            census,
            load: Load::default(),
            health: Health::default(),
            window: Window::default(),
            checks: Tally::default(),
            data,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// It asked to be left alone for `duration`, by `Retry-After` or `grpc-retry-pushback-ms`: it gets no requests for so
    /// long, at most for `ejection.max_pushback`, while there are others.
    pub fn push_back(&self, duration: Duration) {
        self.health.pause(self.census.clock.now(), duration, &self.census);
    }
}

impl<T> Deref for Place<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> Member<T> {
    pub(super) fn new(endpoint: Arc<Endpoint>, place: Arc<Place<T>>, claim: Claim) -> Self {
        Self { endpoint, place, claim }
    }

    /// Where it answers.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is known of it; dereferences to what its user keeps for it.
    #[must_use]
    pub fn place(&self) -> &Arc<Place<T>> {
        &self.place
    }

    /// A health check found that it works, or does not.
    pub(crate) fn checked(&self, good: bool, check: &Check) {
        let Place { census, health, checks, .. } = &*self.place;
        if let Some(healthy) = checks.add(good, check) {
            health.checked(census.clock.now(), healthy, census);
        }
    }

    /// A request to it begins, and is of no use after `until`.
    #[must_use = "the request counts as under way until this is dropped"]
    pub fn start(&self, until: Instant) -> InFlight<T> {
        let census = &self.place.census;
        self.place.load.begin();
        let counted = census.counts_in_flight.load(Ordering::Relaxed);
        if counted {
            census.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        InFlight {
            place: self.place.clone(),
            claim: self.claim,
            since: census.clock.now(),
            until: census.clock.at(until),
            told: false,
            forgiven: None,
            outstanding: None,
            counted,
        }
    }
}

impl<T> InFlight<T> {
    /// The head of the answer is here. `leaving` if the endpoint asked for an end of the connection. The request stays in
    /// flight until its body is read.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap, leaving: bool) {
        let good = self.place.census.ejection.load().is_good(status, headers);
        if good && answer::says_later(status, headers) {
            self.outstanding = Some(leaving);
            self.ended(None, leaving);
        } else {
            self.ended(Some(good), leaving);
        }
    }

    /// It was answered, and that was good or not, if it is known yet.
    pub fn ended(&mut self, good: Option<bool>, leaving: bool) {
        let Place { census, load, health, window, .. } = &*self.place;
        let now = census.clock.now();
        let took = now.saturating_sub(self.since);
        self.told = true;
        load.observe(took, now, false);
        window.answered(took, good.unwrap_or(true));
        self.forgiven = Some(health.answered(now, self.claim, good, leaving, census));
    }

    /// The trailers of the answer, or none at its end: where gRPC wants a status in them and there is none, that is UNKNOWN.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        let Some(leaving) = self.outstanding.take() else { return };
        let Place { census, health, window, .. } = &*self.place;
        let code = answer::grpc_code(trailers).unwrap_or(answer::UNKNOWN);
        let good = !census.ejection.load().is_bad_code(code);
        if !good {
            window.turned_bad();
        }
        health.answered(census.clock.now(), self.claim, Some(good), leaving, census);
    }

    /// The endpoint could not be reached, or broke the connection, be it in the middle of its answer. How long that took
    /// says nothing.
    pub fn failed(&mut self) {
        let Place { census, health, window, .. } = &*self.place;
        self.told = true;
        let now = census.clock.now();
        match self.forgiven.take() {
            Some(forgiven) => {
                window.turned_bad();
                health.broke_off(now, self.claim, forgiven, census);
            }
            None => {
                window.lost();
                health.failed(now, self.claim, census);
            }
        }
    }

    /// The deadline passed before the answer was whole.
    pub fn expired(&mut self) {
        let Place { census, health, window, .. } = &*self.place;
        self.told = true;
        window.lost();
        health.expired(census.clock.now(), self.claim, census);
    }

    /// What is known of the endpoint.
    #[must_use]
    pub fn place(&self) -> &Arc<Place<T>> {
        &self.place
    }

    /// There will be no answer, and it is not the fault of the endpoint.
    pub fn spared(&mut self) {
        self.told = true;
    }
}

impl<T> Drop for InFlight<T> {
    fn drop(&mut self) {
        let Place { census, load, .. } = &*self.place;
        load.end();
        if self.counted {
            census.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if self.told {
            return;
        }
        // The latency is at least as long as it was waited for.
        let now = census.clock.now();
        load.observe(now.saturating_sub(self.since), now, true);
        if now >= self.until {
            self.expired();
        }
    }
}

impl<T> Clone for Member<T> {
    fn clone(&self) -> Self {
        Self { endpoint: self.endpoint.clone(), place: self.place.clone(), claim: self.claim }
    }
}
