//! One connection from its first byte to its end.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::{io::AsyncReadExt, time::Instant};
use tower_service::Service;

use super::{
    Incoming,
    connection::{Connection, Peer, Protocol, StreamTask},
    guard::{Guard, Ticket},
    handler::{Answer, Answering, Handler},
    refuse,
    stats::Bound,
    transport::Transport,
    watch::{Due, Since, Watch},
    worker::{Limits, Shared},
};
use crate::{BoxError, error::Kind, lifecycle::Phase};

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The preface and the head of the SETTINGS frame that must follow it.
const HELLO: u64 = PREFACE.len() as u64 + 9;

/// How long a connection that was accepted while the listener closed may take to show its request.
const GRACE: std::time::Duration = std::time::Duration::from_millis(250);

/// How long an HTTP/2 peer without work may take to acknowledge the end: one round trip, to another continent or to a
/// busy machine. Requests that it sent before it heard of the end are on the way until then.
const LAST_ROUND_TRIP: std::time::Duration = std::time::Duration::from_secs(1);

/// hyper's smallest buffer.
const LEAST_BUFFER: usize = 8 * 1024;

pub(super) fn http1_builder(limits: &Limits, encrypted: bool) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The timers are ours (`watch`).
    builder
        // Who hangs up wants no answer: its handler is dropped, as over HTTP/2. A client that only closes its sending
        // side looks the same, and RFC 9112 section 9.6 warns it. Where that can be seen without reading, it is
        // (`guard`).
        .half_close(!encrypted)
        .header_read_timeout(None)
        .max_header_size(limits.max_header_bytes as usize)
        .max_buf_size((limits.max_header_bytes as usize).max(LEAST_BUFFER).max(64 * 1024));
    if limits.max_headers > 100 {
        builder.max_headers(limits.max_headers);
    }
    builder
}

pub(super) async fn connection<S, B>(
    mut transport: Transport,
    peer: Peer,
    negotiated: Option<Protocol>,
    service: S,
    shared: Arc<Shared>,
    ticket: Ticket,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut ahead = BytesMut::new();
    let protocol = match negotiated {
        Some(protocol) => protocol,
        None => match detect(&mut transport, &mut ahead, &shared).await {
            Some(protocol) => protocol,
            None => return,
        },
    };
    let connection = Connection::new(peer, protocol, shared);
    let guard = Guard::new(transport, ahead.freeze(), connection.clone(), ticket);
    match protocol {
        Protocol::Http1 => http1(guard, service, connection).await,
        Protocol::Http2 => http2(guard, service, connection).await,
    }
}

/// Reads until the protocol is known. None: the peer went away, or a bound or the drain ended the wait.
async fn detect(transport: &mut Transport, ahead: &mut BytesMut, shared: &Shared) -> Option<Protocol> {
    let accepted = Instant::now();
    let mut first_byte: Option<Instant> = None;
    loop {
        let (bound, deadline) = match first_byte {
            None => (Bound::FirstByte, accepted + shared.bounds.first_byte),
            Some(at) => (Bound::Detect, at + shared.bounds.detect),
        };
        // As much as most requests have, so that their head is parsed once.
        ahead.reserve(1024);
        let read = wait(transport.read_buf(ahead), shared, accepted, bound, deadline).await?;
        if !matches!(read, Ok(1..)) {
            return None;
        }
        if ahead.starts_with(PREFACE) {
            return Some(Protocol::Http2);
        }
        if !PREFACE.starts_with(ahead) {
            return Some(Protocol::Http1);
        }
        first_byte.get_or_insert_with(Instant::now);
    }
}

/// Waits for what the peer of a connection without a request has to do. None: `bound` or the drain ended the wait.
pub(super) async fn wait<F: Future>(
    work: F,
    shared: &Shared,
    accepted: Instant,
    bound: Bound,
    deadline: Instant,
) -> Option<F::Output> {
    let signal = &shared.signal;
    let mut watch = Watch::new(signal);
    let mut work = pin!(work);
    poll_fn(|cx| {
        loop {
            if signal.phase() == Phase::Cut {
                return Poll::Ready(None);
            }
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let closing = signal.phase() >= Phase::Closing;
            let limit = if closing { deadline.min(accepted + GRACE) } else { deadline };
            match watch.is_due(cx, signal, Some(limit)) {
                Due::Nothing => return Poll::Pending,
                Due::Phase => {}
                Due::Deadline => {
                    if !closing {
                        shared.stats.timeout(bound);
                        tracing::debug!(?bound, "connection closed: out of time");
                    }
                    return Poll::Ready(None);
                }
            }
        }
    })
    .await
}

/// When a connection is asked to end, spread so that those opened together don't end together.
fn age_limit(limits: &Limits) -> Option<Instant> {
    let age = limits.connection_age;
    (!age.is_zero()).then(|| Instant::now() + age.mul_f64(1.0 + fastrand::f64() * 0.1))
}

/// What an HTTP/1 connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for its first request.
    New,
    /// Has a part of a head.
    Head,
    /// Has a request that is not answered to its end.
    Busy,
    /// Has this many bytes written, and the peer takes no more.
    Blocked(u64),
    /// Waits for another request.
    Idle,
}

/// Why the connection is not waited for any longer.
enum End<R> {
    Done(R),
    Timeout(Bound),
    Dropped,
}

async fn http1<S, B>(guard: Guard, service: S, connection: Connection)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let shared = connection.shared().clone();
    let (signal, limits, activity) = (&shared.signal, &shared.bounds, connection.activity());
    let handler = Handler::new(service, connection.clone());
    let mut http = shared.http1.serve_connection(TokioIo::new(guard), handler).with_upgrades();

    let mut watch = Watch::new(signal);
    let mut since = Since::new();
    let started = Instant::now();
    let mut old_at = age_limit(limits);
    let end = poll_fn(|cx| {
        loop {
            if signal.phase() == Phase::Cut {
                if activity.has_work() {
                    shared.stats.cut();
                }
                return Poll::Ready(End::Dropped);
            }
            if let Poll::Ready(result) = Pin::new(&mut http).poll(cx) {
                return Poll::Ready(End::Done(result));
            }
            let stage = if activity.blocked.get() {
                Stage::Blocked(activity.written())
            } else if activity.is_busy() {
                Stage::Busy
            } else if activity.head_begun.get() {
                Stage::Head
            } else if activity.dispatched() == 0 {
                Stage::New
            } else {
                Stage::Idle
            };
            // Not looked at while busy, which needs no clock.
            let mut at = || since.at((stage, activity.dispatched()));
            let closing = signal.phase() >= Phase::Closing;
            let (bound, deadline) = match stage {
                Stage::Busy => (Bound::ConnectionAge, None),
                Stage::Blocked(_) => (Bound::WriteIdle, Some(at() + limits.write_idle)),
                Stage::New | Stage::Head if closing && activity.dispatched() == 0 => {
                    (Bound::FirstByte, Some(started + GRACE))
                }
                Stage::New | Stage::Head | Stage::Idle if closing => return Poll::Ready(End::Dropped),
                Stage::New => (Bound::FirstByte, Some(at() + limits.first_byte)),
                Stage::Head => (Bound::HeaderRead, Some(at() + limits.header_read)),
                Stage::Idle => (Bound::KeepAliveIdle, Some(at() + limits.keep_alive_idle)),
            };
            let (bound, deadline) = match (deadline, old_at) {
                // Half a head becomes a request first, or runs into its own bound.
                _ if stage == Stage::Head => (bound, deadline),
                (Some(deadline), Some(old)) if old < deadline => (Bound::ConnectionAge, Some(old)),
                (None, Some(old)) => (Bound::ConnectionAge, Some(old)),
                (deadline, _) => (bound, deadline),
            };
            match watch.is_due(cx, signal, deadline) {
                Due::Nothing => return Poll::Pending,
                Due::Phase => {}
                Due::Deadline if closing && bound == Bound::FirstByte => return Poll::Ready(End::Dropped),
                Due::Deadline if bound == Bound::ConnectionAge => {
                    old_at = None;
                    shared.stats.timeout(bound);
                    if matches!(stage, Stage::New | Stage::Idle) {
                        return Poll::Ready(End::Dropped);
                    }
                    Pin::new(&mut http).graceful_shutdown();
                }
                Due::Deadline => return Poll::Ready(End::Timeout(bound)),
            }
        }
    })
    .await;
    match end {
        End::Dropped => {}
        End::Done(result) => {
            if let Err(error) = &result {
                tracing::debug!(peer = ?connection.remote(), %error, "connection ended");
            }
            if activity.unread.get()
                && let Some(parts) = http.into_parts()
            {
                let mut guard = parts.io.into_inner();
                refuse::linger(guard.transport(), &shared).await;
            }
        }
        End::Timeout(bound) => {
            shared.stats.timeout(bound);
            tracing::debug!(peer = ?connection.remote(), ?bound, "connection closed: out of time");
            if bound == Bound::HeaderRead
                && let Some(parts) = http.into_parts()
            {
                let mut guard = parts.io.into_inner();
                let answer =
                    refuse::answer(Kind::RequestTimeout, "the header section did not arrive in time");
                refuse::refuse(guard.transport(), &answer, &shared).await;
            }
        }
    }
}

/// Runs the streams of HTTP/2 as tasks of the server.
#[derive(Clone)]
struct Streams(Connection);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let task = StreamTask::new(&self.0);
        self.0.shared().tasks.spawn_detached(Running { stream, task });
    }
}

pin_project! {
    struct Running<F> {
        #[pin]
        stream: F,
        task: StreamTask,
    }
}

impl<F: Future<Output = ()>> Future for Running<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().stream.poll(cx)
    }
}

/// What an HTTP/2 connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Has not said hello to its end.
    Hello,
    /// Has streams open.
    Busy,
    /// Has this many bytes written; an answer waits for the peer.
    Blocked(u64),
    /// Has no streams; after so many requests.
    Idle(u32),
    /// Has no streams, and was told to end, with this much read and written.
    Ending(u64, u64),
}

async fn http2<S, B>(guard: Guard, service: S, connection: Connection)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    Answering<S>: Future<Output = Result<Response<Answer<B>>, Infallible>>,
{
    let shared = connection.shared().clone();
    let (signal, limits, activity) = (&shared.signal, &shared.bounds, connection.activity());
    let handler = Handler::new(service, connection.clone());
    let mut builder = hyper::server::conn::http2::Builder::new(Streams(connection.clone()));
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(limits.max_pending_reset_streams)
        .max_local_error_reset_streams(limits.max_error_reset_streams);
    if !limits.ping_interval.is_zero() {
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.write_idle);
    }
    let mut http = pin!(builder.serve_connection(TokioIo::new(guard), handler));

    let mut watch = Watch::new(signal);
    let mut since = Since::new();
    let mut old_at = age_limit(limits);
    let (mut ending, mut known) = (false, false);
    let came_late = signal.phase() >= Phase::Announced;
    let result = poll_fn(|cx| {
        // The connection is a task of its own: its waker stays the same.
        if !std::mem::replace(&mut known, true) {
            activity.note_task(cx.waker());
        }
        loop {
            let phase = signal.phase();
            if phase == Phase::Cut {
                if activity.has_work() {
                    shared.stats.cut();
                }
                return Poll::Ready(Ok(()));
            }
            // Who came after the announcement gets one answer before the GOAWAY: a client that sees it first would only
            // connect again.
            let tell = phase >= Phase::Closing
                || (phase == Phase::Announced && (!came_late || activity.dispatched() > 0));
            if tell && !ending {
                ending = true;
                http.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            let flow = if activity.read() < HELLO {
                Flow::Hello
            } else if activity.blocked.get() || activity.owing() {
                Flow::Blocked(activity.written())
            } else if activity.is_busy() || activity.has_tunnels() {
                Flow::Busy
            } else if ending {
                Flow::Ending(activity.read(), activity.written())
            } else {
                Flow::Idle(activity.dispatched())
            };
            let at = since.at(flow);
            let (bound, deadline) = match flow {
                Flow::Hello if phase >= Phase::Closing => (None, at + GRACE),
                Flow::Hello => (Some(Bound::Detect), at + limits.detect),
                Flow::Blocked(_) => (Some(Bound::WriteIdle), at + limits.write_idle),
                // A look now and then: a stream that the peer resets may end without waking this task.
                Flow::Busy => (None, at + limits.keep_alive_idle),
                Flow::Idle(_) => (Some(Bound::KeepAliveIdle), at + limits.keep_alive_idle),
                Flow::Ending(..) if activity.has_unsent() => (Some(Bound::WriteIdle), at + limits.write_idle),
                Flow::Ending(..) => (None, at + LAST_ROUND_TRIP),
            };
            let (bound, deadline) = match old_at {
                Some(old) if old < deadline => (Some(Bound::ConnectionAge), old),
                _ => (bound, deadline),
            };
            match watch.is_due(cx, signal, Some(deadline)) {
                Due::Nothing => return Poll::Pending,
                Due::Phase => continue,
                Due::Deadline => {}
            }
            if let Some(bound) = bound {
                shared.stats.timeout(bound);
                tracing::debug!(peer = ?connection.remote(), ?bound, "connection out of time");
            }
            match bound {
                Some(Bound::ConnectionAge | Bound::KeepAliveIdle) => {
                    old_at = None;
                    ending = true;
                    http.as_mut().graceful_shutdown();
                }
                None if flow == Flow::Busy => since.again(),
                _ => return Poll::Ready(Ok(())),
            }
        }
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(peer = ?connection.remote(), %error, "connection ended");
    }
}
