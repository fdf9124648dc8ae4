//! Which route a request took.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::requests::Recent;
use crate::{context::RequestContext, metrics::Histogram};

/// A route of a service, with the series that its requests are counted in. Cloning is cheap.
#[derive(Clone)]
pub struct Route(Arc<Inner>);

struct Inner {
    template: Box<str>,
    series: Bound,
    recent: Recent,
}

/// The series of one route, or of one gRPC method, by what tells them apart in a few bits. Read without a lock.
#[derive(Default)]
pub(super) struct Bound {
    known: ArcSwap<Vec<(u64, Histogram)>>,
    growing: Mutex<()>,
}

impl Bound {
    /// The series for `key`, and `make` if there is none yet.
    pub(super) fn with<R>(
        &self,
        key: u64,
        make: impl FnOnce() -> Histogram,
        then: impl FnOnce(&Histogram) -> R,
    ) -> R {
        // There are few: the usual status comes first.
        if let Some((_, found)) = self.known.load().iter().find(|(own, _)| *own == key) {
            return then(found);
        }
        let new = self.grow(key, make);
        then(&new)
    }

    #[cold]
    fn grow(&self, key: u64, make: impl FnOnce() -> Histogram) -> Histogram {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some((_, found)) = known.iter().find(|(own, _)| *own == key) {
            return found.clone();
        }
        let new = make();
        let mut more = Vec::clone(&known);
        more.push((key, new.clone()));
        self.known.store(Arc::new(more));
        new
    }
}

impl Route {
    pub(super) fn new(template: &str) -> Self {
        let (series, recent) = (Bound::default(), Recent::default());
        Self(Arc::new(Inner { template: template.into(), series, recent }))
    }

    /// As it was written, `/orders/{id}`; empty for what no route answers.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.0.template
    }

    pub(super) fn series(&self) -> &Bound {
        &self.0.series
    }

    /// Its slowest requests, and the last that failed.
    pub(super) fn recent(&self) -> &Recent {
        &self.0.recent
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Route").field(&self.template()).finish()
    }
}

/// The request that is being handled took the route `template`: for a program that does its own routing. The first one that
/// says so is believed. The template must be one of a few that the program knows, never the path itself.
pub fn set_route(template: &str) {
    RequestContext::peek(|context| {
        if let (Some(observation), Some(server)) = (context.observation(), context.ambient().server()) {
            observation.set_route(|| server.route(template));
        }
    });
}
