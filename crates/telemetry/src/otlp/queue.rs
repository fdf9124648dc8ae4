//! What was recorded, until it is sent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use mainstay_core::trace::{Sink, SpanData};
use tokio::sync::{Notify, mpsc};

use super::{
    item::Item,
    record::Record,
    stats::{Reason, Stats},
};

/// Takes spans for the [`Exporter`](super::Exporter): without waiting, and where there are too many, not at all. Clones
/// fill the same queue.
#[derive(Clone)]
pub struct Spans(pub(super) Sender<SpanData>);

/// Takes log records in the same way, once [`Handle::send_to`](crate::logs::Handle::send_to) has it.
#[derive(Clone)]
pub struct Records(pub(super) Sender<Record>);

/// Where something is put.
pub(super) struct Sender<T> {
    sender: mpsc::UnboundedSender<T>,
    shared: Arc<Shared>,
}

/// The other end.
pub(super) struct Queue<T> {
    receiver: mpsc::UnboundedReceiver<T>,
    shared: Arc<Shared>,
}

struct Shared {
    bounds: Bounds,
    items: AtomicUsize,
    bytes: AtomicUsize,
    /// There is enough for a batch.
    enough: Notify,
    stats: Stats,
}

/// How much it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) items: usize,
    pub(super) bytes: usize,
    /// When the exporter is woken.
    pub(super) batch: usize,
}

pub(super) fn new<T>(bounds: Bounds, stats: Stats) -> (Sender<T>, Queue<T>) {
    // It is bounded by what was admitted.
    let (sender, receiver) = mpsc::unbounded_channel();
    let (items, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let shared = Arc::new(Shared { bounds, items, bytes, enough: Notify::new(), stats });
    (Sender { sender, shared: Arc::clone(&shared) }, Queue { receiver, shared })
}

impl Sink for Spans {
    fn take(&self, span: SpanData) {
        self.0.put(span);
    }
}

impl Records {
    pub(crate) fn take(&self, record: Record) {
        self.0.put(record);
    }
}

impl<T: Item> Sender<T> {
    fn put(&self, item: T) {
        let Shared { bounds, items, bytes, enough, stats } = &*self.shared;
        let weight = item.weight();
        let before = items.fetch_add(1, Relaxed);
        let heavy = bytes.fetch_add(weight, Relaxed);
        // One that is larger than the whole queue goes into an empty one.
        if before >= bounds.items || (before > 0 && heavy + weight > bounds.bytes) {
            self.shared.leave(weight);
            stats.drop(Reason::QueueFull, 1);
            return;
        }
        if self.sender.send(item).is_err() {
            self.shared.leave(weight);
            stats.drop(Reason::Stopped, 1);
            return;
        }
        // Below that it is looked at in its own time: who records wakes nobody.
        if before + 1 == bounds.batch {
            enough.notify_one();
        }
    }
}

impl Shared {
    fn leave(&self, weight: usize) {
        self.items.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(weight, Relaxed);
    }
}

/// Why [`Queue::take`] gives nothing.
pub(super) enum Nothing {
    Yet,
    /// Nobody can put anything in any more.
    Ever,
}

impl<T: Item> Queue<T> {
    pub(super) fn take(&mut self) -> Result<T, Nothing> {
        match self.receiver.try_recv() {
            Ok(item) => {
                self.shared.leave(item.weight());
                Ok(item)
            }
            Err(mpsc::error::TryRecvError::Empty) => Err(Nothing::Yet),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Nothing::Ever),
        }
    }

    /// Nothing comes in any more; what is in it stays.
    pub(super) fn close(&mut self) {
        self.receiver.close();
    }

    pub(super) fn depth(&self) -> Depth {
        Depth(Arc::clone(&self.shared))
    }

    pub(super) fn has_batch(&self) -> bool {
        self.shared.items.load(Relaxed) >= self.shared.bounds.batch
    }

    /// Until there is enough for a batch.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(super) async fn enough(&self) {
        while !self.has_batch() {
            self.shared.enough.notified().await;
        }
    }
}

/// How many wait; for the metrics.
pub(super) struct Depth(Arc<Shared>);

impl Depth {
    pub(super) fn len(&self) -> usize {
        self.0.items.load(Relaxed)
    }
}

impl<T> Sender<T> {
    fn len(&self) -> usize {
        self.shared.items.load(Relaxed)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl Spans {
    /// How many are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Records {
    /// How many are waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("waiting", &self.len()).finish_non_exhaustive()
    }
}
