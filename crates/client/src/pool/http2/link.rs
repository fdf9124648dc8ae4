//! One connection: opened, driven, watched, and ended by a task of its own.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason,
    client::{Builder, Connection, SendRequest},
};
use mainstay_core::BoxError;
use mainstay_discovery::Place;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Pool, watched::Watched};
use crate::pool::{
    Settings, Version,
    connect::{connect, within},
    queue::{NotConnected, Opening, Opens as _},
    transport::Transport,
};

/// What a peer may send of one answer before any of it is read: enough for a fast line between sites (400 Mbit/s at
/// 20 ms).
const STREAM_WINDOW: u32 = 1 << 20;
/// And of all answers of a connection together: this much memory a connection may take.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The fields of one answer, as RFC 9113 section 6.5.2 counts them.
const MAX_FIELDS: u32 = 64 << 10;

/// A connection, as the pool knows it. It ends when this is dropped and the last stream is over.
pub(super) struct Link {
    pub(super) requests: SendRequest<Bytes>,
    pub(super) vitals: Arc<Vitals>,
}

/// What the pool and the task of the connection tell each other.
pub(super) struct Vitals {
    /// Streams that are promised or in use; written under the lock of the pool.
    pub(super) open: AtomicUsize,
    /// Streams that the peer allows.
    max: AtomicUsize,
    born: Instant,
    /// When `open` became zero, in nanoseconds since `born`.
    idle_since: AtomicU64,
    /// How often something came from the peer.
    pub(super) reads: AtomicU64,
    /// Why the connection ended, where more is known than h2 has passed on.
    lost: OnceLock<Lost>,
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Lost {
    #[error("nothing came from the peer, no answer to a ping either, for {after:?}")]
    Silent { after: Duration },
    /// By the last words of the other side of TLS.
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Refused(String),
}

/// The task of a connection.
pub(super) async fn run(mut opening: Opening<Pool>, place: Place, settings: Arc<Settings>, calm: u32) {
    let opened = within(settings.config.connect_timeout.get(), open(&place, &settings, calm)).await;
    let Some(pool) = opening.end() else { return };
    let (requests, mut driver) = match opened {
        Ok(opened) => opened,
        Err(cause) => return pool.not_opened(&NotConnected::new(cause)),
    };
    let vitals = driver.vitals.clone();
    pool.opened(Link { requests, vitals: vitals.clone() }, &place, &settings);
    driver.pool = Arc::downgrade(&pool);
    // It ends with its endpoint.
    drop(pool);

    let ended = loop {
        match std::future::poll_fn(|cx| driver.poll(cx)).await {
            Event::Ended(result) => break result,
            Event::Full => {
                // Those that wait for a stream of it, if the peer takes no more requests.
                if let Some(pool) = driver.pool.upgrade() {
                    pool.replace_if_leaving(&vitals, &place, &settings);
                }
            }
        }
    };
    let weak = driver.pool.clone();
    // First the streams hear of it.
    drop(driver);
    if let Err(error) = &ended {
        tracing::trace!(%error, endpoint = %place, "connection ended");
    }
    let Some(pool) = weak.upgrade() else { return };
    if ended.is_err_and(|error| error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)) {
        pool.calm_down();
    }
    pool.replace(&vitals, &place, &settings);
}

/// Done when the peer has sent its SETTINGS. Before that, a connection may still be one that nobody accepts: in the queue
/// of a listener that is being closed, or of a process that hangs. A request that is sent on it would be lost, and nobody
/// could say whether it was worked on; gRPC waits for the same sign.
async fn open(
    place: &Place,
    settings: &Settings,
    calm: u32,
) -> Result<(SendRequest<Bytes>, Driver), BoxError> {
    let transport = connect(place, Version::Http2, settings).await?;
    let vitals = Arc::new(Vitals::new());
    let transport = Watched::new(transport, vitals.clone());
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_FIELDS)
        .enable_push(false);
    let (requests, connection) = builder.handshake(transport).await?;
    let mut driver = Driver::new(connection, vitals, settings, calm);
    std::future::poll_fn(|cx| match driver.connection_poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(BoxError::from("closed by the peer before its SETTINGS"))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        Poll::Pending if driver.seen > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await
    .map_err(|source| -> BoxError {
        match driver.vitals.lost() {
            Some(lost) => Box::new(lost),
            None => Box::new(NotHttp2 { source }),
        }
    })?;
    Ok((requests, driver))
}

/// The peer does not speak HTTP/2, or not now.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP/2 from the peer")]
struct NotHttp2 {
    source: BoxError,
}

struct Driver {
    connection: Connection<Watched<Transport>, Bytes>,
    pings: Option<PingPong>,
    vitals: Arc<Vitals>,
    pool: Weak<Pool>,
    timer: Pin<Box<Sleep>>,
    interval: Option<Duration>,
    timeout: Duration,
    idle_timeout: Duration,
    retires: Instant,
    is_retired: bool,
    /// When a connection that is being closed is given up.
    over: Option<Instant>,
    /// The count of reads that were noticed.
    seen: u64,
    heartbeat: Heartbeat,
}

/// Whether the peer is asked for a sign of life.
#[derive(Debug, Clone, Copy)]
enum Heartbeat {
    /// No: no stream is open, or it is switched off.
    Resting,
    /// Not yet: at `due`, if there were no more reads than `reads` until then.
    Listening { due: Instant, reads: u64 },
    /// It was, and has until `due`.
    Asked { due: Instant, reads: u64 },
}

enum Event {
    /// The connection is over.
    Ended(Result<(), h2::Error>),
    /// Something came, and all its streams are taken.
    Full,
}

impl Driver {
    fn new(
        connection: Connection<Watched<Transport>, Bytes>,
        vitals: Arc<Vitals>,
        settings: &Settings,
        calm: u32,
    ) -> Self {
        let mut connection = connection;
        let config = &settings.config;
        let interval = config.keep_alive_interval.get().saturating_mul(1 << calm.min(16));
        let (now, idle_timeout) = (Instant::now(), config.idle_timeout.get());
        let retires = now + settings.config.lifetime();
        Self {
            pings: connection.ping_pong(),
            connection,
            vitals,
            pool: Weak::new(),
            timer: Box::pin(sleep_until(retires.min(now + idle_timeout))),
            interval: (!interval.is_zero()).then_some(interval),
            timeout: config.keep_alive_timeout.get(),
            idle_timeout,
            retires,
            is_retired: false,
            over: None,
            seen: 0,
            heartbeat: Heartbeat::Resting,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let before = self.seen;
            if let Poll::Ready(result) = self.connection_poll(cx) {
                return Poll::Ready(Event::Ended(result));
            }
            let is_open = self.vitals.open.load(Ordering::Relaxed) > 0;
            if let (Heartbeat::Resting, true, Some(interval)) = (self.heartbeat, is_open, self.interval) {
                let due = Instant::now() + interval;
                self.heartbeat = Heartbeat::Listening { due, reads: self.seen };
                if due < self.timer.deadline() {
                    self.timer.as_mut().reset(due);
                }
            }
            if before != self.seen && !self.is_retired && !self.vitals.has_room() {
                return Poll::Ready(Event::Full);
            }
            ready!(self.timer.as_mut().poll(cx));
            if let Err(lost) = self.look_around() {
                self.vitals.lose(lost);
                return Poll::Ready(Event::Ended(Ok(())));
            }
        }
    }

    /// Also takes over what the peer allows.
    fn connection_poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let polled = Pin::new(&mut self.connection).poll(cx);
        let reads = self.vitals.reads.load(Ordering::Relaxed);
        if reads != self.seen {
            self.seen = reads;
            let max = self.connection.max_concurrent_send_streams();
            if self.vitals.max.swap(max, Ordering::Relaxed) != max
                && let Some(pool) = self.pool.upgrade()
            {
                pool.look_again();
            }
        }
        polled
    }

    /// What the time has brought; the timer is set anew.
    fn look_around(&mut self) -> Result<(), Lost> {
        let now = Instant::now();
        let is_open = self.vitals.open.load(Ordering::Relaxed) > 0;
        let mut next = now + self.idle_timeout;

        self.heartbeat = match self.heartbeat {
            _ if !is_open => Heartbeat::Resting,
            Heartbeat::Listening { due, reads } | Heartbeat::Asked { due, reads } if now >= due => {
                match (self.heartbeat, self.interval) {
                    (_, None) => Heartbeat::Resting,
                    (_, Some(interval)) if reads != self.seen => {
                        Heartbeat::Listening { due: now + interval, reads: self.seen }
                    }
                    (Heartbeat::Asked { .. }, Some(interval)) => {
                        return Err(Lost::Silent { after: interval + self.timeout });
                    }
                    (_, Some(_)) => {
                        self.ping();
                        Heartbeat::Asked { due: now + self.timeout, reads: self.seen }
                    }
                }
            }
            other => other,
        };
        if let Heartbeat::Listening { due, .. } | Heartbeat::Asked { due, .. } = self.heartbeat {
            next = next.min(due);
        }

        if !self.is_retired {
            if now >= self.retires {
                self.is_retired = true;
                if let Some(pool) = self.pool.upgrade() {
                    pool.retire(&self.vitals);
                }
            } else if !is_open {
                let idle_until = self.vitals.idle_since() + self.idle_timeout;
                if now < idle_until {
                    next = next.min(idle_until);
                } else {
                    let pool = self.pool.upgrade();
                    self.is_retired = pool.is_none_or(|pool| pool.retire_idle(&self.vitals));
                }
            }
            next = next.min(self.retires.max(now));
        }
        if self.is_retired && !is_open {
            // The goodbye is on its way; the peer may not take it.
            match self.over {
                Some(over) if now >= over => return Err(Lost::Silent { after: self.timeout }),
                Some(over) => next = next.min(over),
                None => {
                    self.over = Some(now + self.timeout);
                    next = next.min(now + self.timeout);
                }
            }
        }
        self.timer.as_mut().reset(next);
        Ok(())
    }

    fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            // The answer to the last one, which must be taken before the next is sent.
            let _ = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
            // An error says that one is under way, or that the connection has ended, which its own poll tells.
            let _ = pings.send_ping(Ping::opaque());
        }
    }
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(usize::MAX),
            born: Instant::now(),
            idle_since: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            lost: OnceLock::new(),
        }
    }

    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.load(Ordering::Relaxed) < self.max()
    }

    /// A stream is over; whether there is room for another.
    pub(super) fn close(&self) -> bool {
        let open = self.open.load(Ordering::Relaxed).saturating_sub(1);
        self.open.store(open, Ordering::Relaxed);
        if open == 0 {
            let now = self.born.elapsed().as_nanos() as u64;
            self.idle_since.store(now, Ordering::Relaxed);
        }
        open < self.max()
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        self.lost.get().cloned()
    }

    /// The streams find it where they look for the reason; the first one counts.
    pub(super) fn lose(&self, lost: Lost) {
        let _ = self.lost.set(lost);
    }

    /// When it is closed if no request comes; none while there is one.
    pub(super) fn idle_until(&self, idle_timeout: Duration) -> Option<Instant> {
        (self.open.load(Ordering::Relaxed) == 0).then(|| self.idle_since() + idle_timeout)
    }

    fn idle_since(&self) -> Instant {
        self.born + Duration::from_nanos(self.idle_since.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals")
            .field("open", &self.open)
            .field("max", &self.max)
            .field("age", &self.born.elapsed())
            .finish_non_exhaustive()
    }
}
