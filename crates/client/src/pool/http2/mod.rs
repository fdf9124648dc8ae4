//! HTTP/2: requests share a connection, up to the number of streams that the peer allows; then more are opened, up to
//! `max_connections`. When all are full, requests wait for a stream, first come, first served.
//!
//! The oldest connection that has room is taken, so that those opened for a peak become idle after it and are closed.
//! One that the peer says GOAWAY on, or that is too old, takes no more requests and ends with its last stream.

mod body;
mod exchange;
mod link;
mod upload;
mod watched;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use mainstay_core::Body;
use mainstay_discovery::Place;
use tokio::time::Instant;

pub(super) use self::body::Incoming;
use self::link::{Link, Vitals};
use super::{
    Answer, Failed, Settings,
    queue::{NotConnected, Opening, Opens, Queue},
};

/// What a connection is expected to carry until its peer has said it.
const EXPECTED_STREAMS: usize = 100;

/// So often the pause between two pings is doubled at most.
const CALMEST: u32 = 8;

/// The connections to one endpoint.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that take requests, the oldest first.
    links: Vec<Arc<Link>>,
    queue: Queue<Slot>,
    /// How often the peer said that it is pinged too much.
    calm: u32,
}

/// The right to one stream of a connection. Dropping it gives it to the next request that waits.
struct Slot {
    link: Arc<Link>,
    pool: Arc<Pool>,
    is_given_back: bool,
}

impl Pool {
    pub(super) async fn send(
        self: &Arc<Self>,
        place: &Place,
        settings: &Arc<Settings>,
        request: Request<Body>,
    ) -> Result<Answer, Failed> {
        loop {
            let slot = match self.slot(place, settings).await {
                Ok(slot) => slot,
                Err(cause) => return Err(Failed::connect(cause, request)),
            };
            let mut requests = slot.link.requests.clone();
            // Looked at now, and not when the stream was promised: what is not sent can go to another connection without
            // anybody noticing.
            if is_leaving(&mut requests) {
                self.retire(&slot.link.vitals);
                continue;
            }
            return exchange::exchange(slot, requests, settings, request).await;
        }
    }

    /// A stream, as soon as there is one.
    async fn slot(self: &Arc<Self>, place: &Place, settings: &Arc<Settings>) -> Result<Slot, NotConnected> {
        let turn = {
            let mut state = self.lock();
            if let Some(slot) = self.free(&state) {
                return Ok(slot);
            }
            let turn = state.queue.join();
            self.grow(&mut state, place, settings);
            turn
        };
        turn.await.unwrap_or_else(|_| Err(NotConnected::new("the pool was closed")))
    }

    fn free(self: &Arc<Self>, state: &State) -> Option<Slot> {
        let link = state.links.iter().find(|link| link.vitals.has_room())?;
        link.vitals.open.fetch_add(1, Ordering::Relaxed);
        Some(Slot { link: link.clone(), pool: self.clone(), is_given_back: false })
    }

    /// Gives what is free to those that wait.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while state.queue.is_wanted()
            && let Some(slot) = self.free(state)
        {
            if let Err(mut slot) = state.queue.serve(slot) {
                // Nobody waits any more. Done here: its drop would want the lock that is held.
                slot.link.vitals.close();
                slot.is_given_back = true;
            }
        }
    }

    /// Opens what those that wait need, as far as that is allowed.
    fn grow(self: &Arc<Self>, state: &mut State, place: &Place, settings: &Arc<Settings>) {
        let each = state.links.last().map_or(EXPECTED_STREAMS, |link| link.vitals.max()).max(1);
        // Those that are there have to do for a while where no more could be opened.
        let paused = state.queue.is_pausing();
        while state.queue.len() > state.queue.opening().saturating_mul(each)
            && state.links.len() + state.queue.opening() < settings.config.max_connections
            && (!paused || state.links.is_empty() && state.queue.opening() == 0)
        {
            self.open(state, place, settings);
        }
    }

    fn open(self: &Arc<Self>, state: &mut State, place: &Place, settings: &Arc<Settings>) {
        state.queue.begin();
        let opening = Opening::new(self);
        settings.tasks.spawn_detached(link::run(opening, place.clone(), settings.clone(), state.calm));
    }

    /// Opens what is missing of those that are kept ahead, as long as not more than `room` are being opened; gives what
    /// is left of that.
    pub(super) fn keep(self: &Arc<Self>, place: &Place, settings: &Arc<Settings>, room: usize) -> usize {
        let config = &settings.config;
        let later = Instant::now() + config.keep_lead();
        let lasts = |link: &&Arc<Link>| {
            link.vitals.idle_until(config.idle_timeout.get()).is_none_or(|until| later < until)
        };
        let mut state = self.lock();
        let mut room = room.saturating_sub(state.queue.opening());
        let lasting = state.links.iter().filter(lasts).count();
        while lasting + state.queue.opening() < config.min_idle
            && state.links.len() + state.queue.opening() < config.max_connections
            && room > 0
            && !state.queue.is_pausing()
        {
            self.open(&mut state, place, settings);
            room -= 1;
        }
        room
    }

    /// How many are there, and how many are being opened.
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.links.len(), state.queue.opening())
    }

    fn opened(self: &Arc<Self>, link: Link, place: &Place, settings: &Arc<Settings>) {
        let mut state = self.lock();
        state.queue.opened();
        state.links.push(Arc::new(link));
        self.serve(&mut state);
        self.grow(&mut state, place, settings);
    }

    /// The peer allows another number of streams.
    fn look_again(self: &Arc<Self>) {
        self.serve(&mut self.lock());
    }

    /// The connection takes no more requests, and ends with the last that it has.
    fn retire(&self, vitals: &Arc<Vitals>) {
        self.lock().links.retain(|link| !Arc::ptr_eq(&link.vitals, vitals));
    }

    /// Likewise, if no request came meanwhile.
    fn retire_idle(&self, vitals: &Arc<Vitals>) -> bool {
        let mut state = self.lock();
        let is_idle = vitals.open.load(Ordering::Relaxed) == 0;
        if is_idle {
            state.links.retain(|link| !Arc::ptr_eq(&link.vitals, vitals));
        }
        is_idle
    }

    /// Whether it takes more requests; if not, likewise.
    fn replace_if_leaving(self: &Arc<Self>, vitals: &Arc<Vitals>, place: &Place, settings: &Arc<Settings>) {
        let link = self.lock().links.iter().find(|link| Arc::ptr_eq(&link.vitals, vitals)).cloned();
        if link.is_some_and(|link| is_leaving(&mut link.requests.clone())) {
            self.replace(vitals, place, settings);
        }
    }

    /// The connection takes no more requests; those that wait for its streams need another one.
    fn replace(self: &Arc<Self>, vitals: &Arc<Vitals>, place: &Place, settings: &Arc<Settings>) {
        self.retire(vitals);
        let mut state = self.lock();
        if state.queue.is_wanted() {
            self.grow(&mut state, place, settings);
        }
    }

    /// The peer said that it is pinged too much: half as often from now on (gRFC A8).
    fn calm_down(&self) {
        let mut state = self.lock();
        state.calm = (state.calm + 1).min(CALMEST);
    }

    #[cfg(test)]
    pub(super) fn calm(&self) -> u32 {
        self.lock().calm
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing more may be sent: after a GOAWAY, or when the numbers of streams are used up.
fn is_leaving(requests: &mut SendRequest<Bytes>) -> bool {
    // Never waits: a clone has no request of its own that could.
    matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_given_back {
            return;
        }
        let mut state = self.pool.lock();
        if self.link.vitals.close() && state.queue.is_wanted() {
            self.pool.serve(&mut state);
        }
    }
}

impl Opens for Pool {
    /// Who waits is told, unless there are others to wait for.
    fn not_opened(&self, reason: &NotConnected) {
        let mut state = self.lock();
        state.queue.not_opened();
        if state.links.is_empty() && state.queue.opening() == 0 {
            while state.queue.is_wanted() {
                state.queue.refuse(reason);
            }
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("link", &self.link.vitals).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("links", &state.links.iter().map(|link| &link.vitals).collect::<Vec<_>>())
            .field("waiting", &state.queue.len())
            .field("opening", &state.queue.opening())
            .finish()
    }
}
