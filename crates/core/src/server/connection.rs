//! What is known of one connection: the public part, and what happens on it.

use std::{
    any::Any,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use bytes::Bytes;
use http::request::Parts;

use super::worker::Shared;
use crate::error::{Error, Kind};

/// The connection a request came on: in the request's extensions, and an axum extractor. Cloning is one atomic
/// increment.
///
/// Requests that didn't come over a socket (in-process calls, tests) have none: extract `Option<Connection>` in
/// handlers that are also called that way.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

/// The version of HTTP that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN.
    Http2,
}

pub(super) struct Inner {
    pub(super) peer: Peer,
    pub(super) protocol: Protocol,
    pub(super) shared: Arc<Shared>,
    pub(super) activity: Activity,
    found: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

/// Both ends of a connection, as far as they have addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) tls: bool,
    pub(super) certificates: Vec<Bytes>,
}

impl Connection {
    pub(super) fn new(peer: Peer, protocol: Protocol, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            peer,
            protocol,
            shared,
            activity: Activity::default(),
            found: Mutex::default(),
        }))
    }

    /// The address of the peer; none on a Unix socket.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.0.peer.remote
    }

    /// The address that the peer connected to; none on a Unix socket.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.peer.local
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.peer.tls
    }

    /// The verified certificates of the client (DER, its own first); empty when it sent none.
    #[must_use]
    pub fn client_certificates(&self) -> &[Bytes] {
        &self.0.peer.certificates
    }

    /// What is found out of the connection once, and asked for with each of its requests, such as what a certificate says: the `T`
    /// that `find` gave the first time, one a type. It is kept as long as the connection. `find` must neither wait nor ask the same
    /// connection.
    #[must_use]
    pub fn find_once<T: Any + Send + Sync>(&self, find: impl FnOnce() -> T) -> Arc<T> {
        let mut found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.iter().find_map(|one| Arc::clone(one).downcast::<T>().ok()) {
            return known;
        }
        let new = Arc::new(find());
        found.push(Arc::clone(&new) as Arc<dyn Any + Send + Sync>);
        new
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.0.activity
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("remote", &self.0.peer.remote)
            .field("local", &self.0.peer.local)
            .field("protocol", &self.0.protocol)
            .field("tls", &self.0.peer.tls)
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Connection {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Error::new(Kind::Internal).with_detail("the request came over no connection of the server")
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Connection {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// What happens on a connection: written by the I/O, the handler and the bodies, read by the task that holds its
/// timer. Nothing else is ordered by these values, so all accesses are relaxed.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests handed to the service; written by the connection's task alone.
    dispatched: AtomicU32,
    /// Requests whose answer was taken to its end, or given up. HTTP/2 streams are tasks of their own.
    answered: AtomicU32,
    /// HTTP/2 answers of which a frame was handed over and no further one asked for: they wait for the peer.
    owing: AtomicU32,
    /// Bodies of requests that have not been read to their end, nor dropped.
    bodies: AtomicU32,
    /// HTTP/2: bytes of answers that were handed over.
    handed: AtomicU64,
    /// HTTP/2: bytes of answers that were written, without frames around them.
    sent: AtomicU64,
    /// HTTP/2: tasks of streams that have not ended.
    tasks: AtomicU32,
    /// HTTP/2: the task of the connection.
    task: OnceLock<Waker>,
    /// Bytes read.
    read: AtomicU64,
    /// Bytes written.
    written: AtomicU64,
    /// The peer takes no more bytes.
    pub(super) blocked: Flag,
    /// HTTP/1: a part of the next head has arrived.
    pub(super) head_begun: Flag,
    /// HTTP/1: an answer of the service was not flushed to its end.
    pub(super) owed: Flag,
    /// Given away to an upgraded protocol.
    pub(super) upgraded: Flag,
    /// HTTP/2: a stream was given away to another protocol.
    pub(super) tunnelled: Flag,
    /// Input was left unread, so that closing at once would reset the connection under our answer.
    pub(super) unread: Flag,
}

impl Activity {
    pub(super) fn dispatch(&self) {
        self.dispatched.store(self.dispatched.load(Relaxed).wrapping_add(1), Relaxed);
        self.head_begun.set(false);
        self.owed.set(true);
    }

    pub(super) fn dispatched(&self) -> u32 {
        self.dispatched.load(Relaxed)
    }

    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.dispatched.load(Relaxed).wrapping_sub(self.answered.load(Relaxed))
    }

    pub(super) fn body_begun(&self) {
        self.bodies.fetch_add(1, Relaxed);
    }

    pub(super) fn body_ended(&self) {
        self.bodies.fetch_sub(1, Relaxed);
    }

    pub(super) fn reads_body(&self) -> bool {
        self.bodies.load(Relaxed) > 0
    }

    /// Whether a request is being answered, or read: its body may be read for longer than it is answered.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.reads_body()
    }

    /// Whether something is lost when the connection is dropped.
    pub(super) fn has_work(&self) -> bool {
        self.is_busy() || self.owed.get() || self.owing() || self.has_unsent() || self.has_tunnels()
    }

    pub(super) fn owe(&self) {
        self.owing.fetch_add(1, Relaxed);
    }

    pub(super) fn settle(&self) {
        self.owing.fetch_sub(1, Relaxed);
    }

    pub(super) fn owing(&self) -> bool {
        self.owing.load(Relaxed) > 0
    }

    pub(super) fn hand(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn note_sent(&self, bytes: u64) {
        self.sent.store(self.sent.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    /// Whether a part of an answer may be waiting for the peer to make room.
    pub(super) fn has_unsent(&self) -> bool {
        self.handed.load(Relaxed) > self.sent.load(Relaxed)
    }

    /// Whether a stream goes on that is no request any more.
    pub(super) fn has_tunnels(&self) -> bool {
        self.tunnelled.get() && self.tasks.load(Relaxed) > 0
    }

    pub(super) fn note_task(&self, waker: &Waker) {
        self.task.get_or_init(|| waker.clone());
    }

    pub(super) fn note_read(&self, bytes: usize) {
        self.read.store(self.read.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        if !self.is_busy() {
            self.head_begun.set(true);
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    pub(super) fn note_written(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        self.blocked.set(false);
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }
}

/// A relaxed atomic flag.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The task of one HTTP/2 stream, or of a tunnel that it became.
pub(super) struct StreamTask(Connection);

impl StreamTask {
    pub(super) fn new(connection: &Connection) -> Self {
        connection.activity().tasks.fetch_add(1, Relaxed);
        Self(connection.clone())
    }
}

impl Drop for StreamTask {
    fn drop(&mut self) {
        let activity = self.0.activity();
        let last = activity.tasks.fetch_sub(1, Relaxed) == 1;
        // The end of an answer wakes the connection, which has to write it; the end of a tunnel doesn't.
        if last
            && activity.tunnelled.get()
            && let Some(task) = activity.task.get()
        {
            task.wake_by_ref();
        }
    }
}

/// One request that was handed to the service; counts as answered when it is finished or dropped.
pub(super) struct InFlight {
    connection: Connection,
    finished: bool,
    owing: bool,
}

impl InFlight {
    pub(super) fn new(connection: &Connection) -> Self {
        connection.activity().dispatch();
        Self { connection: connection.clone(), finished: false, owing: false }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// So much of the answer was handed over.
    pub(super) fn hand(&self, bytes: usize) {
        if self.connection.protocol() == Protocol::Http2 {
            self.connection.activity().hand(bytes);
        }
    }

    /// A part of the answer was handed over, and more is to come. HTTP/2 asks for it when the peer has given room; over
    /// HTTP/1 a peer that doesn't read is seen by the write that waits.
    pub(super) fn hand_over(&mut self) {
        if self.connection.protocol() == Protocol::Http2 && !self.owing {
            self.owing = true;
            self.connection.activity().owe();
        }
    }

    /// The next part of the answer was asked for.
    pub(super) fn asked(&mut self) {
        if std::mem::take(&mut self.owing) {
            self.connection.activity().settle();
        }
    }

    /// The answer was taken to its end.
    pub(super) fn finish(&mut self) {
        self.asked();
        if !self.finished {
            self.finished = true;
            self.connection.activity().answered();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.finished && std::thread::panicking() {
            self.connection.shared().stats.panicked();
        }
        self.finish();
    }
}
