//! The task that sends metrics.

use std::{sync::Arc, time::Duration};

use mainstay_core::{metrics::Registry, task::Tasks};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    batch::Resources,
    complaint::Complaint,
    config::{Config, Signal},
    measured::{self, Span},
    quiet::quietly,
    stopping::Stopping,
    transport::Transport,
};
use crate::resource::Resource;

/// Sends what a registry has, at intervals. Made by [`pusher`]; [`Pusher::run`] is its task.
///
/// Counts go on from the start of the process (cumulative), so that a request that fails loses nothing: the next one says
/// all of it. None is repeated.
pub struct Pusher {
    registry: Registry,
    transport: Transport,
    resources: Resources,
    process: Arc<str>,
    complaint: Complaint,
    interval: Duration,
}

/// What sends the metrics of `registry`; `None` where `config` says that they go nowhere. `base` is what the process is, and
/// `process` its name: metrics with the label `service.name` go with that instead.
#[must_use]
pub fn pusher(
    config: &Config,
    base: Resource,
    process: &str,
    registry: &Registry,
    tasks: &Tasks,
) -> Option<Pusher> {
    let target = config.target(Signal::Metrics)?;
    Some(Pusher {
        registry: registry.clone(),
        transport: Transport::new(config, target, tasks.clone()),
        resources: Resources::new(base),
        process: process.into(),
        complaint: Complaint::new(Signal::Metrics),
        interval: config.metrics_interval.get(),
    })
}

impl Pusher {
    /// Sends until `stopping`, and then once more, within the time that `within` gives.
    ///
    /// # Cancel safety
    /// Nothing is lost but the last values.
    pub async fn run(self, stopping: CancellationToken, within: Duration) {
        quietly(self.push_all(stopping, within)).await;
    }

    async fn push_all(mut self, stopping: CancellationToken, within: Duration) {
        let mut stopping = Stopping::new(stopping, within);
        loop {
            tokio::select! {
                () = sleep(self.interval) => {}
                () = stopping.token.cancelled() => {}
            }
            let is_last = stopping.is_told();
            tokio::select! {
                biased;
                () = self.push() => {}
                () = stopping.over() => {}
            }
            if is_last {
                return;
            }
        }
    }

    async fn push(&mut self) {
        let span = Span { since: self.registry.since(), until: self.registry.now() };
        let metrics = self.registry.read();
        for message in measured::encode(&metrics, span, &self.process, &mut self.resources) {
            let request = self.transport.request(message);
            match self.transport.send(&request).await {
                Ok(taken) if taken.rejected > 0 => {
                    let what = format!("it did not take {} points: {}", taken.rejected, taken.message);
                    self.complaint.make(self.transport.target(), &what, None);
                }
                Ok(_) => self.complaint.resolve(self.transport.target()),
                Err(failure) => {
                    self.complaint.make(self.transport.target(), &failure.what, None);
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher").field("target", self.transport.target()).finish_non_exhaustive()
    }
}
