//! HTTP/1.1: one request a connection at a time; those without one are kept in a stack, so that few stay busy and the
//! others grow old and are closed.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_core::{Body, BoxError};
use mainstay_discovery::Address;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Failed, Settings,
    connect::{Stream, connect, within},
};

type Sender = SendRequest<Body>;

/// How long a connection may take to finish its request after the answer was read: a peer may answer before it has
/// read all of a request.
const SETTLE: Duration = Duration::from_secs(1);

/// The connections without a request, the one used last on top.
#[derive(Default)]
pub(crate) struct Idle {
    stack: Mutex<Vec<(Sender, Instant)>>,
    has_reaper: AtomicBool,
}

/// A connection whose answer is being read.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: Sender,
    idle: Weak<Idle>,
    settings: Arc<Settings>,
}

/// A connection that was kept may be closed by its peer at any moment. If nothing of the request was written yet, the
/// next one is taken, down to a new one.
pub(crate) async fn send(
    idle: &Arc<Idle>,
    address: &Address,
    settings: &Arc<Settings>,
    mut request: Request<Body>,
) -> Result<Answer, Failed> {
    let lease = |sender| Lease { sender, idle: Arc::downgrade(idle), settings: settings.clone() };
    while let Some(mut sender) = idle.take(settings.config.idle_timeout.get()) {
        match sender.try_send_request(request).await {
            Ok(response) => return Ok(idle.answer(response, lease(sender))),
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(Failed::exchange(error.into_error(), None)),
            },
        }
    }
    let mut sender = match within(settings.config.connect_timeout.get(), open(address, settings)).await {
        Ok(sender) => sender,
        Err(cause) => return Err(Failed::connect(cause, request)),
    };
    match sender.try_send_request(request).await {
        Ok(response) => Ok(idle.answer(response, lease(sender))),
        Err(mut error) => {
            let body = error.take_message().map(Request::into_body);
            Err(Failed::exchange(error.into_error(), body))
        }
    }
}

async fn open(address: &Address, settings: &Settings) -> Result<Sender, BoxError> {
    match connect(address).await? {
        Stream::Tcp(stream) => drive(stream, settings).await,
        #[cfg(unix)]
        Stream::Unix(stream) => drive(stream, settings).await,
    }
}

async fn drive<T>(stream: T, settings: &Settings) -> Result<Sender, BoxError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
    settings.tasks.spawn_detached(async move {
        // Ends when the peer closes, or the sender is dropped and the last answer read. Who waits for an answer is
        // told the error; without anybody waiting it is the ordinary end of an idle connection.
        if let Err(error) = connection.with_upgrades().await {
            tracing::trace!(%error, "connection ended");
        }
    });
    Ok(sender)
}

impl Idle {
    /// `Connection: close` (RFC 9112 section 9.6) says mostly that the whole server goes away, and it can't say so on
    /// connections without a request. They are dropped before it closes them just when a request is written.
    fn answer(&self, response: Response<Incoming>, lease: Lease) -> Answer {
        let mut connection = response.headers().get_all(header::CONNECTION).iter();
        let close = |value: &HeaderValue| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        let leaving = connection.any(close);
        if leaving {
            self.lock().clear();
        }
        Answer { response, lease: Some(lease), leaving }
    }

    /// The connection that was used last, if it is still open.
    fn take(&self, idle_timeout: Duration) -> Option<Sender> {
        let mut stack = self.lock();
        while let Some((sender, since)) = stack.pop() {
            if since.elapsed() >= idle_timeout {
                // Those below it are older.
                stack.clear();
                return None;
            }
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, sender: Sender, settings: &Settings) {
        let stopping = settings.tasks.stopping();
        let mut stack = self.lock();
        // A closed client keeps no connections: the answers of its last calls end theirs.
        if stack.len() >= settings.config.max_idle || stopping.is_cancelled() {
            return;
        }
        stack.push((sender, Instant::now()));
        if !self.has_reaper.swap(true, Ordering::Relaxed) {
            settings.tasks.spawn_detached(reap(
                Arc::downgrade(self),
                settings.config.idle_timeout.get(),
                stopping,
            ));
        }
    }

    /// Drops what is too old; whether anything is left.
    fn purge(&self, idle_timeout: Duration) -> bool {
        let mut stack = self.lock();
        stack.retain(|(sender, since)| since.elapsed() < idle_timeout && !sender.is_closed());
        if stack.is_empty() {
            // Under the lock: whoever puts the next one in starts a new reaper.
            self.has_reaper.store(false, Ordering::Relaxed);
        }
        !stack.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody has used for the timeout, so that it is this side that closes first.
async fn reap(idle: Weak<Idle>, idle_timeout: Duration, stopping: CancellationToken) {
    let every = (idle_timeout / 4).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stopping.cancelled() => {
                if let Some(idle) = idle.upgrade() {
                    idle.lock().clear();
                }
                return;
            }
        }
        let Some(idle) = idle.upgrade() else { return };
        if !idle.purge(idle_timeout) {
            return;
        }
    }
}

impl Lease {
    /// The answer is read to its end: the next request may have the connection.
    pub(crate) fn release(self) {
        let Self { mut sender, idle, settings } = self;
        let Some(idle) = idle.upgrade() else { return };
        if sender.is_ready() {
            return idle.put(sender, &settings);
        }
        if sender.is_closed() {
            return;
        }
        // The task of the connection has yet to see that the answer is over; or the request is still being sent.
        let tasks = settings.tasks.clone();
        tasks.spawn_detached(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, sender.ready()).await {
                idle.put(sender, &settings);
            }
        });
    }
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle").field("connections", &self.lock().len()).finish()
    }
}
