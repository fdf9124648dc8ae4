//! The stream of `Watch`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;
use tonic::Status;
use tonic_health::pb::HealthCheckResponse;

use super::health::response;
use crate::health::{Registry, ServiceStatus};

/// The status of a service now, and whenever it changes; ends when the registry is closed.
pub struct Watch {
    registry: Registry,
    service: String,
    /// What was said last: at first nothing, then a status or "unknown".
    last: Option<Option<ServiceStatus>>,
    ended: bool,
    changed: ReusableBoxFuture<'static, watch::Receiver<u64>>,
}

impl Watch {
    pub(super) fn new(registry: Registry, service: String) -> Self {
        let changes = registry.subscribe();
        // The first status does not wait for a change.
        let changed = ReusableBoxFuture::new(std::future::ready(changes));
        Self { registry, service, last: None, ended: false, changed }
    }
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.ended {
            let mut changes = ready!(this.changed.poll(cx));
            // Marked as seen before it is looked at: a change in between is another turn, not a lost one.
            changes.mark_unchanged();
            this.changed.set(async move {
                // The sender lives in the registry, which the stream holds: an error can't come.
                drop(changes.changed().await);
                changes
            });
            this.ended = this.registry.is_closed();
            let status = this.registry.service(&this.service);
            if this.last != Some(status) {
                this.last = Some(status);
                return Poll::Ready(Some(Ok(response(status))));
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("service", &self.service).finish_non_exhaustive()
    }
}
