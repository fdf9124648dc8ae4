//! What a backend tells of one name, on its way to the watches.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    record::Listed,
    view::{Complaint, History, View},
};
use crate::{Endpoint, ServiceName, registry};

/// Takes what a backend tells of one name. Nothing is queued: the view is changed at once, and published soon after.
#[derive(Debug)]
pub(crate) struct Changes {
    registry: &'static str,
    service: ServiceName,
    inner: Mutex<Inner>,
    /// Told when the endpoints may have changed, and when they are first known.
    changed: Notify,
    /// Whether the registry has listed them since following began, perhaps anew.
    is_current: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    view: View,
    /// When the server was last heard.
    heard: Instant,
    /// When following last went well: from the first listing on, at each answer.
    current: Option<Instant>,
    /// Since when it goes well.
    steady: Option<Instant>,
}

impl Changes {
    pub(super) fn new(registry: &'static str, service: ServiceName, view: View) -> Self {
        let inner = Inner { view, heard: Instant::now(), current: None, steady: None };
        let (inner, is_current) = (Mutex::new(inner), watch::Sender::new(false));
        Self { registry, service, inner, changed: Notify::new(), is_current }
    }

    /// The registry lists `listing` and nothing else, at this point of its history.
    pub(crate) fn listed(&self, history: History, listing: &[(String, Vec<u8>)]) {
        self.change(|inner, now| {
            let gap = inner.current.map(|current| now.saturating_duration_since(current));
            inner.steady.get_or_insert(now);
            inner.view.list(now, gap, history, listing)
        });
        if !self.is_current.send_replace(true) {
            self.changed.notify_one();
        }
    }

    /// The registry lists `value` under `id` from now on.
    pub(crate) fn put(&self, id: &str, value: &[u8]) {
        self.change(|inner, _| inner.view.put(id, value));
    }

    /// The registry says that `id` is gone, and not who took it: it was not renewed in time.
    pub(crate) fn ran_out(&self, id: &str) {
        self.change(|inner, now| {
            inner.view.run_out(now, id);
            None
        });
    }

    /// The registry says that `id` was withdrawn.
    pub(crate) fn deleted(&self, id: &str) {
        self.change(|inner, _| {
            inner.view.delete(id);
            None
        });
    }

    /// The server has answered, and nothing has changed.
    pub(crate) fn heard(&self) {
        self.lock().heard(Instant::now());
    }

    /// Following begins, perhaps anew: until the next listing the view is that of before.
    pub(super) fn begin(&self) {
        self.lock().heard = Instant::now();
    }

    /// Following has failed. Returns for how long it went well.
    pub(super) fn interrupted(&self) -> Duration {
        self.is_current.send_replace(false);
        let steady = self.lock().steady.take();
        steady.map_or(Duration::ZERO, |steady| steady.elapsed())
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the registry has listed the endpoints.
    pub(super) async fn current(&self) {
        // The sender lives in `self`.
        let _ = self.is_current.subscribe().wait_for(|is_current| *is_current).await;
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Whether the registry has listed them since following began.
    pub(super) fn is_current(&self) -> bool {
        *self.is_current.borrow()
    }

    /// When the server was last heard.
    pub(super) fn last_heard(&self) -> Instant {
        self.lock().heard
    }

    /// When an entry that is missing goes, if one is.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.lock().view.next_expiry()
    }

    /// The endpoints, where they may have changed since this was last asked, and are known at all.
    pub(super) fn take(&self) -> Option<Vec<Endpoint>> {
        let mut inner = self.lock();
        inner.view.expire(Instant::now());
        let changed = inner.view.take_changed();
        let is_known = inner.current.is_some() || inner.view.unconfirmed() > 0;
        (changed && is_known).then(|| inner.view.endpoints())
    }

    /// The entries with their ids, for the time after a restart.
    pub(super) fn entries(&self) -> Vec<(String, Listed)> {
        self.lock().view.entries().map(|(id, listed)| (id.to_owned(), listed.clone())).collect()
    }

    /// How many entries can't be read.
    pub(super) fn malformed(&self) -> usize {
        self.lock().view.malformed()
    }

    pub(super) fn status(&self, endpoints: usize) -> registry::Followed {
        let inner = self.lock();
        registry::Followed {
            service: self.service.clone(),
            endpoints,
            unconfirmed: inner.view.unconfirmed(),
            is_current: self.is_current(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Inner, Instant) -> Option<Complaint>) {
        let now = Instant::now();
        let (complaint, changed) = {
            let mut inner = self.lock();
            let complaint = change(&mut inner, now);
            inner.heard(now);
            (complaint, inner.view.is_changed())
        };
        if let Some(Complaint(reason)) = complaint {
            let (registry, service) = (self.registry, &self.service);
            tracing::warn!(
                registry, %service, reason,
                "an entry of the registry is skipped; further ones of this name are skipped without a word"
            );
        }
        if changed {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole before anything in it could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn heard(&mut self, now: Instant) {
        self.heard = now;
        if self.steady.is_some() {
            self.current = Some(now);
        }
    }
}
