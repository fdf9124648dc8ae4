//! HTTP/1.1: one request a connection at a time. Connections without one are kept in a stack, so that few stay busy and
//! the others grow old and are closed.
//!
//! A request that finds none begins to open one, and takes whatever is free first: that one, one that another request
//! opened, or one that is given back meanwhile.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, header};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_core::{Body, BoxError};
use mainstay_discovery::Place;
use tokio::time::Instant;

use super::{
    Answer, Failed, Incoming, SETTLE, Settings, Step, Version,
    connect::{connect, within},
    queue::{NotConnected, Opening, Opens, Queue},
};
use crate::retry::Failure;

type Sender = SendRequest<Body>;

/// The connections to one endpoint.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those without a request, the one used last on top.
    idle: Vec<Connection>,
    queue: Queue<Lease>,
    has_reaper: bool,
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    /// When it was given back.
    idle_since: Instant,
    /// When it takes no more requests, for its age.
    retires: Instant,
    /// Whether it was opened for the request that it gets.
    is_new: bool,
}

/// A connection, for one request. Dropped before it was used it goes back; after that it is closed, unless it was
/// released.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Option<Connection>,
    is_used: bool,
    pool: Weak<Pool>,
    settings: Arc<Settings>,
}

impl Pool {
    /// A connection that was kept may be closed by its peer at any moment. If nothing of the request was written yet,
    /// another one is taken, down to a new one.
    pub(super) async fn send(
        self: &Arc<Self>,
        place: &Place,
        settings: &Arc<Settings>,
        mut request: Request<Body>,
    ) -> Result<Answer, Failed> {
        loop {
            let taken = self.lock().take(settings);
            let connection = match taken {
                Some(connection) => connection,
                None => match self.wait(place, settings).await {
                    Ok(mut lease) => match lease.connection.take() {
                        Some(connection) => connection,
                        // Unreachable: a lease has its connection until it is used.
                        None => continue,
                    },
                    Err(cause) => return Err(Failed::connect(cause, request)),
                },
            };
            let Connection { mut sender, is_new, retires, idle_since } = connection;
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let leaving = is_last(response.headers());
                    if leaving {
                        // RFC 9112 section 9.6: mostly the whole server goes away, and it can't say so on connections
                        // without a request. They are dropped before it closes them just when a request is written.
                        self.lock().idle.clear();
                    }
                    let connection = Connection { sender, idle_since, retires, is_new: false };
                    let mut lease = self.lease(connection, settings);
                    lease.is_used = true;
                    let response = response.map(|body| Incoming::http1(body, lease));
                    return Ok(Answer { response, leaving });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    unsent => return Err(broken(error.into_error(), unsent.map(Request::into_body), is_new)),
                },
            }
        }
    }

    async fn wait(self: &Arc<Self>, place: &Place, settings: &Arc<Settings>) -> Result<Lease, NotConnected> {
        let turn = {
            let mut state = self.lock();
            let turn = state.queue.join();
            // Those that were begun for requests that have left will do.
            if state.queue.opening() < state.queue.len() {
                self.open(&mut state, place, settings);
            }
            turn
        };
        // Bounded by that of opening: there is one for each that waits.
        turn.await.unwrap_or_else(|_| Err(NotConnected::new("the pool was closed")))
    }

    fn open(self: &Arc<Self>, state: &mut State, place: &Place, settings: &Arc<Settings>) {
        state.queue.begin();
        settings.tasks.spawn_detached(open(Opening::new(self), place.clone(), settings.clone()));
    }

    /// Opens what is missing of those that are kept ahead, as long as not more than `room` are being opened; gives what
    /// is left of that.
    pub(super) fn keep(self: &Arc<Self>, place: &Place, settings: &Arc<Settings>, room: usize) -> usize {
        let config = &settings.config;
        let later = Instant::now() + config.keep_lead();
        let lasts = |connection: &&Connection| {
            connection.sender.is_ready()
                && later < connection.idle_since + config.idle_timeout.get()
                && later < connection.retires
        };
        let mut state = self.lock();
        let mut room = room.saturating_sub(state.queue.opening());
        let lasting = state.idle.iter().filter(lasts).count();
        while lasting + state.queue.opening() < config.min_idle && room > 0 && !state.queue.is_pausing() {
            self.open(&mut state, place, settings);
            room -= 1;
        }
        room
    }

    /// How many are there without a request, and how many are being opened.
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.idle.len(), state.queue.opening())
    }

    fn lease(self: &Arc<Self>, connection: Connection, settings: &Arc<Settings>) -> Lease {
        let pool = Arc::downgrade(self);
        Lease { connection: Some(connection), is_used: false, pool, settings: settings.clone() }
    }

    /// To the first request that waits, or onto the stack.
    fn put(self: &Arc<Self>, connection: Connection, settings: &Arc<Settings>, was_opening: bool) {
        let now = Instant::now();
        let mut surplus = None;
        let mut state = self.lock();
        if was_opening {
            state.queue.opened();
        }
        if connection.retires <= now {
            surplus = Some(connection);
        } else if let Err(mut unwanted) = state.queue.serve(self.lease(connection, settings)) {
            match unwanted.connection.take() {
                // A closed client keeps no connections: the answers of its last calls end theirs.
                Some(mut connection)
                    if state.idle.len() < settings.config.max_idle && !settings.stopping.is_cancelled() =>
                {
                    connection.idle_since = now;
                    // From now on its peer may close it at any moment, whether it had a request or not.
                    connection.is_new = false;
                    state.idle.push(connection);
                    if !std::mem::replace(&mut state.has_reaper, true) {
                        settings.tasks.spawn_detached(reap(Arc::downgrade(self), settings.clone()));
                    }
                }
                other => surplus = other,
            }
        }
        drop(state);
        drop(surplus);
    }

    fn opened(self: &Arc<Self>, sender: Sender, settings: &Arc<Settings>) {
        let now = Instant::now();
        let connection =
            Connection { sender, idle_since: now, retires: now + settings.config.lifetime(), is_new: true };
        self.put(connection, settings, true);
    }

    /// Drops what is too old; whether anything is left.
    fn purge(&self, idle_timeout: Duration) -> bool {
        let now = Instant::now();
        let is_good = |connection: &Connection| {
            now < connection.idle_since + idle_timeout
                && now < connection.retires
                && !connection.sender.is_closed()
        };
        let mut state = self.lock();
        state.idle.retain(is_good);
        // Under the lock: whoever puts the next one in starts a new reaper.
        state.has_reaper = !state.idle.is_empty();
        state.has_reaper
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The connection that was used last, if it is still open.
    fn take(&mut self, settings: &Settings) -> Option<Connection> {
        if self.idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        while let Some(connection) = self.idle.pop() {
            if now >= connection.idle_since + settings.config.idle_timeout.get() {
                // Those below it are older.
                self.idle.clear();
                return None;
            }
            if connection.sender.is_ready() && now < connection.retires {
                return Some(connection);
            }
        }
        None
    }
}

impl Opens for Pool {
    /// Who waits is told, unless another one is still to come for each.
    fn not_opened(&self, reason: &NotConnected) {
        let mut state = self.lock();
        state.queue.not_opened();
        if state.queue.len() > state.queue.opening() {
            state.queue.refuse(reason);
        }
    }
}

async fn open(mut opening: Opening<Pool>, place: Place, settings: Arc<Settings>) {
    let opened = within(settings.config.connect_timeout.get(), async {
        let transport = connect(&place, Version::Http1, &settings).await?;
        Ok::<_, BoxError>(Builder::new().handshake(TokioIo::new(transport)).await?)
    });
    let opened = opened.await;
    let Some(pool) = opening.end() else { return };
    match opened {
        Ok((sender, connection)) => {
            pool.opened(sender, &settings);
            // It ends with its endpoint.
            drop(pool);
            // Ends when the peer closes, or the sender is dropped and the last answer read. Who waits for an answer is
            // told the error; without anybody waiting it is the ordinary end of an idle connection.
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "connection ended");
            }
        }
        Err(cause) => pool.not_opened(&NotConnected::new(cause)),
    }
}

/// Closes connections that nobody has used for the timeout, so that it is this side that closes first.
async fn reap(pool: Weak<Pool>, settings: Arc<Settings>) {
    let idle_timeout = settings.config.idle_timeout.get();
    let every = (idle_timeout / 4).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = settings.stopping.cancelled() => {
                if let Some(pool) = pool.upgrade() {
                    pool.lock().idle.clear();
                }
                return;
            }
        }
        let Some(pool) = pool.upgrade() else { return };
        if !pool.purge(idle_timeout) {
            return;
        }
    }
}

/// `body` is there if hyper gave the request back, which it does only if it has written none of it.
#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "there is no handshake without TLS"))]
fn broken(error: hyper::Error, body: Option<Body>, is_new: bool) -> Failed {
    #[cfg(feature = "tls")]
    if is_new && let Some(reason) = crate::tls::refused(&error) {
        let failure = if body.is_some() { Failure::Unsent } else { Failure::NotProcessed };
        return Failed { at: Step::Connect, failure, cause: reason.into(), body };
    }
    let (at, failure) = match body {
        Some(_) => (Step::GoAway, Failure::Unsent),
        None if error.is_user() => (Step::Exchange, Failure::Request),
        None => (Step::Exchange, Failure::Unknown),
    };
    Failed { at, failure, cause: Box::new(error), body }
}

/// `Connection: close`, RFC 9112 section 9.6.
fn is_last(headers: &HeaderMap) -> bool {
    let close = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    headers.get_all(header::CONNECTION).iter().any(close)
}

impl Lease {
    /// The answer is read to its end: the next request may have the connection.
    pub(super) fn release(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Some(pool) = self.pool.upgrade() else { return };
        if connection.sender.is_ready() {
            return pool.put(connection, &self.settings, false);
        }
        if connection.sender.is_closed() {
            return;
        }
        // The task of the connection has yet to see that the answer is over; or the request is still being sent.
        let settings = self.settings.clone();
        self.settings.tasks.spawn_detached(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE, connection.sender.ready()).await {
                pool.put(connection, &settings, false);
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The request that waited for it has left.
        if let Some(connection) = self.connection.take()
            && !self.is_used
            && let Some(pool) = self.pool.upgrade()
        {
            pool.put(connection, &self.settings, false);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("idle", &state.idle.len())
            .field("opening", &state.queue.opening())
            .finish()
    }
}
