//! The task that sends what is recorded.

use std::time::Duration;

use mainstay_core::{
    metrics::{Definition, Registry, Rejected},
    task::Tasks,
    trace::SpanData,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    batch::{Batch, Resources},
    complaint::Complaint,
    config::{Config, Signal},
    item::Item,
    queue::{self, Bounds, Nothing, Queue, Records, Sender, Spans},
    quiet::quietly,
    record::Record,
    stats::{Reason, Stats},
    stopping::Stopping,
    transport::{Failure, Taken, Then, Transport},
};
use crate::{redact::Redact, resource::Resource};

/// The first wait before a repeat, and the longest. Half of each is random, so that many processes don't come back at once.
const BACKOFF: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// Sends what [`Spans`] or [`Records`] takes. Made by [`exporter`] or [`log_exporter`]; [`Exporter::run`] is its task.
pub struct Exporter(Kind);

enum Kind {
    Spans(Box<Sending<SpanData>>),
    Records(Box<Sending<Record>>),
}

struct Sending<T> {
    queue: Queue<T>,
    transport: Transport,
    resources: Resources,
    redact: Redact,
    stats: Stats,
    complaint: Complaint,
    interval: Duration,
    export_timeout: Duration,
    batch: usize,
    /// The receiver wants to be left alone until then.
    quiet_until: Option<Instant>,
}

/// Where spans go, and what sends them; `None` where `config` says that they go nowhere. `base` is what the process is;
/// each span goes with the name of its service. Opens nothing yet.
///
/// # Errors
/// [`Rejected`] where `registry` has other metrics under the names of those that count what is sent and lost.
pub fn exporter(
    config: &Config,
    base: Resource,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<Option<(Spans, Exporter)>, Rejected> {
    let made = Sending::new(config, base, registry, tasks)?;
    Ok(made.map(|(sender, sending)| (Spans(sender), Exporter(Kind::Spans(Box::new(sending))))))
}

/// The same for log records, for [`Handle::send_to`](crate::logs::Handle::send_to); `None` unless `config.logs`.
///
/// # Errors
/// As [`exporter`].
pub fn log_exporter(
    config: &Config,
    base: Resource,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<Option<(Records, Exporter)>, Rejected> {
    let made = Sending::new(config, base, registry, tasks)?;
    Ok(made.map(|(sender, sending)| (Records(sender), Exporter(Kind::Records(Box::new(sending))))))
}

impl Exporter {
    /// Leaves the values of these attributes out of spans, whoever set them. Those that come from `tracing` were left out before.
    #[must_use]
    pub fn with_redact(mut self, redact: Redact) -> Self {
        match &mut self.0 {
            Kind::Spans(sending) => sending.redact = redact,
            Kind::Records(sending) => sending.redact = redact,
        }
        self
    }

    /// Sends, until `stopping`; what is there then is sent within the time that `within` gives, and the rest counted as lost.
    /// Ends by itself when nobody can record any more.
    ///
    /// # Cancel safety
    /// What was recorded and not sent is lost without being counted.
    pub async fn run(self, stopping: CancellationToken, within: Duration) {
        match self.0 {
            Kind::Spans(sending) => quietly(sending.run(stopping, within)).await,
            Kind::Records(sending) => quietly(sending.run(stopping, within)).await,
        }
    }
}

impl<T: Item> Sending<T> {
    fn new(
        config: &Config,
        base: Resource,
        registry: &Registry,
        tasks: &Tasks,
    ) -> Result<Option<(Sender<T>, Self)>, Rejected> {
        let Some(target) = config.target(T::SIGNAL) else { return Ok(None) };
        let stats = Stats::new(registry, T::NAMES)?;
        let bytes = usize::try_from(config.queue_bytes.get()).unwrap_or(usize::MAX);
        let bounds = Bounds { items: config.queue, bytes, batch: config.batch };
        let (sender, queue) = queue::new(bounds, stats.clone());
        let waiting = Definition::new(T::NAMES.waiting, T::NAMES.unit, T::NAMES.are_waiting);
        let depth = queue.depth();
        registry.observe(move |to| {
            to.up_down_counter(&waiting, [], i64::try_from(depth.len()).unwrap_or(i64::MAX));
        });
        let sending = Self {
            queue,
            transport: Transport::new(config, target, tasks.clone()),
            resources: Resources::new(base),
            redact: Redact::none(),
            stats,
            complaint: Complaint::new(T::SIGNAL),
            interval: config.interval.get(),
            export_timeout: config.export_timeout.get(),
            batch: config.batch,
            quiet_until: None,
        };
        Ok(Some((sender, sending)))
    }

    async fn run(mut self: Box<Self>, stopping: CancellationToken, within: Duration) {
        let mut stopping = Stopping::new(stopping, within);
        let mut is_open = true;
        while is_open && !stopping.is_told() {
            tokio::select! {
                () = sleep(self.interval) => {}
                () = self.queue.enough() => {}
                () = stopping.token.cancelled() => self.queue.close(),
            }
            is_open = self.send_all(&mut stopping).await;
        }
        self.queue.close();
        while self.send_all(&mut stopping).await {}
        self.count_left();
    }

    /// Sends until there is less than a batch left, or nothing more if it is to stop. Whether more can come.
    async fn send_all(&mut self, stopping: &mut Stopping) -> bool {
        while stopping.until.is_none_or(|until| Instant::now() < until) {
            let (batch, is_open) = self.gather();
            if !batch.is_empty() {
                self.deliver(batch, stopping).await;
            }
            if !is_open {
                return false;
            }
            if !self.queue.has_batch() {
                return true;
            }
        }
        false
    }

    /// What is there, as much as fits into one request.
    fn gather(&mut self) -> (Batch, bool) {
        let mut batch = Batch::default();
        while batch.len() < self.batch && !batch.is_heavy() {
            match self.queue.take() {
                Ok(mut item) => {
                    item.redact(&self.redact);
                    batch.put(&item);
                }
                Err(Nothing::Yet) => break,
                Err(Nothing::Ever) => return (batch, false),
            }
        }
        (batch, true)
    }

    async fn deliver(&mut self, batch: Batch, stopping: &mut Stopping) {
        let items = batch.len();
        let message = batch.encode(&mut self.resources);
        let delivered = tokio::select! {
            biased;
            delivered = self.repeat(message, stopping.token.clone()) => delivered,
            () = stopping.over() => Err(Lost::Stopped),
        };
        match delivered {
            Ok(taken) => {
                let rejected = usize::try_from(taken.rejected).unwrap_or(usize::MAX).min(items);
                self.stats.exported.add((items - rejected) as u64);
                self.stats.drop(Reason::Refused, rejected);
                if rejected > 0 {
                    self.complain(&format!("it did not take {rejected} of {items}: {}", taken.message));
                }
            }
            Err(Lost::Failed(failure)) => {
                let is_final = failure.then == Then::GiveUp;
                self.stats.drop(if is_final { Reason::Refused } else { Reason::Undelivered }, items);
                self.complain(&failure.what);
            }
            Err(Lost::Stopped) => self.stats.drop(Reason::Stopped, items),
        }
        // It may have worked, and too slowly.
        if self.complaint.is_due(self.stats.dropped()) {
            self.complain("more is recorded than it takes");
        }
    }

    /// Sends the message until it is taken, for `export_timeout` at most. Once it is to stop, only once more.
    async fn repeat(&mut self, message: Vec<u8>, stopping: CancellationToken) -> Result<Taken, Lost> {
        let request = self.transport.request(message);
        let mut wait = BACKOFF;
        if let Some(until) = self.quiet_until.take() {
            wait_or(sleep_until(until), &stopping).await;
        }
        let until = Instant::now() + self.export_timeout;
        loop {
            let is_last = stopping.is_cancelled();
            let sent = tokio::select! {
                biased;
                sent = self.transport.send(&request) => sent,
                () = sleep_until(until), if !is_last => Err(Failure::late(self.export_timeout)),
            };
            let failure = match sent {
                Ok(taken) => {
                    self.complaint.resolve(self.transport.target());
                    return Ok(taken);
                }
                Err(failure) => failure,
            };
            self.stats.fail();
            let Then::Repeat(asked) = failure.then else { return Err(Lost::Failed(failure)) };
            let half = wait / 2;
            let own = half + half.mul_f64(fastrand::f64());
            // What the receiver asks for holds, within reason, whatever becomes of this batch.
            let pause = asked.map_or(own, |asked| asked.clamp(own, self.export_timeout.max(own)));
            if is_last || Instant::now() + pause >= until {
                self.quiet_until = asked.map(|_| Instant::now() + pause);
                return Err(Lost::Failed(failure));
            }
            self.complain(&failure.what);
            wait_or(sleep(pause), &stopping).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaint.make(self.transport.target(), what, Some(self.stats.dropped()));
    }

    fn count_left(&mut self) {
        let mut left = 0;
        while self.queue.take().is_ok() {
            left += 1;
        }
        self.stats.drop(Reason::Stopped, left);
        let (lost, dropped) = (self.stats.stopped(), self.stats.dropped());
        if lost > 0 {
            tracing::warn!(lost, dropped, "the process ends before all {} were sent", T::SIGNAL);
        }
    }
}

/// Why a batch did not get there.
enum Lost {
    Failed(Failure),
    Stopped,
}

async fn wait_or(wait: impl Future<Output = ()>, stopping: &CancellationToken) {
    tokio::select! {
        () = wait => {}
        () = stopping.cancelled() => {}
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (signal, transport) = match &self.0 {
            Kind::Spans(sending) => (Signal::Spans, &sending.transport),
            Kind::Records(sending) => (Signal::Logs, &sending.transport),
        };
        f.debug_struct("Exporter")
            .field("signal", &signal)
            .field("target", transport.target())
            .finish_non_exhaustive()
    }
}
