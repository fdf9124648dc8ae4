//! Lines that repeat are counted instead of written.
//!
//! The window of a place in the code begins with its first line after the last window. What was left out is told as a line
//! of the same place: by its next line after the window, or by `Repeats::keep` where none comes.

mod config;
mod layer;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    fmt::{self, Write as _},
    hash::{BuildHasher as _, Hasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep_until},
};
use tracing::{
    Event, Level, Metadata, Value,
    field::{Field, Visit},
};

pub use config::Config;
pub(super) use layer::Sampled;

use crate::redact::Redact;

/// So many places are looked after; what is logged elsewhere meanwhile is written. A program has some hundreds.
const PLACES: usize = 1024;

/// What is told of a message, in bytes.
const LENGTH: usize = 256;

/// What of the lines is written.
#[derive(Debug)]
pub(super) struct Repeats {
    config: Config,
    redact: Redact,
    /// One lock: what is written goes through that of its output anyway, and what is not is only counted.
    state: Mutex<State>,
    left_out: AtomicU64,
    /// Something was left out in a new window.
    begun: Notify,
    hashes: RandomState,
}

#[derive(Debug)]
struct State {
    /// By the address of their metadata, which lives for ever.
    places: HashMap<usize, Place>,
    /// Errors that were written although there were enough of their place.
    told: HashSet<u64>,
    told_since: Instant,
}

#[derive(Debug)]
struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    written: u32,
    left_out: u64,
    /// The message of the first that was left out.
    body: String,
}

/// What was left out.
#[derive(Debug)]
struct Summary {
    metadata: &'static Metadata<'static>,
    left_out: u64,
    body: String,
}

/// What becomes of a line.
enum Verdict {
    /// It is written, after this one.
    Write(Option<Summary>),
    LeaveOut,
}

thread_local! {
    /// What is logged here is a summary.
    static SUMMING_UP: Cell<bool> = const { Cell::new(false) };
}

impl Repeats {
    /// `None`: all lines are written.
    pub(super) fn new(config: &Config, redact: &Redact) -> Option<Self> {
        let state = State { places: HashMap::new(), told: HashSet::new(), told_since: Instant::now() };
        (config.limit > 0).then(|| Self {
            config: config.clone(),
            redact: redact.clone(),
            state: Mutex::new(state),
            left_out: AtomicU64::new(0),
            begun: Notify::new(),
            hashes: RandomState::new(),
        })
    }

    /// How many lines were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }

    fn judge(&self, event: &Event<'_>) -> Verdict {
        let metadata = event.metadata();
        if SUMMING_UP.get() || self.config.excepts(metadata.target()) {
            return Verdict::Write(None);
        }
        let (now, window) = (Instant::now(), self.config.window.get());
        let is_error = *metadata.level() == Level::ERROR;
        let is_first = {
            let mut state = self.lock();
            let Some(place) = state.place(metadata, now, window) else { return Verdict::Write(None) };
            let over = place.renew(now, window);
            if place.written < self.config.limit {
                place.written += 1;
                return Verdict::Write(over);
            }
            if place.left_out > 0 && !is_error {
                place.left_out += 1;
                self.left_out.fetch_add(1, Relaxed);
                return Verdict::LeaveOut;
            }
            place.left_out == 0
        };
        // What is formatted may log: without the lock.
        let hash = is_error.then(|| self.hash(event));
        let body = if is_first { Body::of(event) } else { String::new() };
        let mut state = self.lock();
        if hash.is_some_and(|hash| state.is_news(hash, now, window, self.config.limit)) {
            return Verdict::Write(None);
        }
        if let Some(place) = state.place(metadata, now, window) {
            if place.left_out == 0 {
                // Empty where another window has begun meanwhile.
                place.body = body;
                self.begun.notify_one();
            }
            place.left_out += 1;
        }
        self.left_out.fetch_add(1, Relaxed);
        Verdict::LeaveOut
    }

    /// Tells what was left out, whenever a window is over. Never ends.
    pub(super) async fn keep(&self) {
        loop {
            match self.sum_up(Some(Instant::now())) {
                Some(next) => sleep_until(next).await,
                None => self.begun.notified().await,
            }
        }
    }

    /// Tells what was left out in windows that are over by then, or in all; when the next one is over.
    pub(super) fn sum_up(&self, by: Option<Instant>) -> Option<Instant> {
        let (mut over, mut next) = (Vec::new(), None::<Instant>);
        let window = self.config.window.get();
        for place in self.lock().places.values_mut().filter(|place| place.left_out > 0) {
            let end = place.since + window;
            if by.is_none_or(|by| end <= by) {
                over.extend(place.take());
            } else {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        let before = SUMMING_UP.replace(true);
        over.iter().for_each(|summary| {
            self.tell(summary, |event| tracing::dispatcher::get_default(|to| to.event(event)))
        });
        SUMMING_UP.set(before);
        next
    }

    /// As an event of its place, which belongs to no request. It says how many in its message, or where it has none, in a
    /// field that is shown.
    fn tell(&self, summary: &Summary, to: impl FnOnce(&Event<'_>)) {
        let fields = summary.metadata.fields();
        let is_shown = |field: &Field| !self.redact.hides(field.name()) && !is_id(field.name());
        let Some(field) = fields.field("message").or_else(|| fields.iter().find(is_shown)) else { return };
        let Summary { body, left_out, .. } = summary;
        let between = if body.is_empty() { "" } else { " " };
        let text = format!("{body}{between}… repeated {left_out} times");
        let text = text.as_str();
        let values = [(&field, Some(&text as &dyn Value))];
        to(&Event::new_child_of(None, summary.metadata, &fields.value_set(&values)));
    }

    /// Of what it says, but for whom.
    fn hash(&self, event: &Event<'_>) -> u64 {
        let mut hash = Hash(self.hashes.build_hasher());
        let _ = write!(hash, "{:p}", event.metadata());
        event.record(&mut hash);
        hash.0.finish()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `None`: there are too many.
    fn place(
        &mut self,
        metadata: &'static Metadata<'static>,
        now: Instant,
        window: Duration,
    ) -> Option<&mut Place> {
        let key = std::ptr::from_ref(metadata).addr();
        if self.places.len() >= PLACES && !self.places.contains_key(&key) {
            self.places.retain(|_, place| place.left_out > 0 || now < place.since + window);
            if self.places.len() >= PLACES {
                return None;
            }
        }
        let new = || Place { metadata, since: now, written: 0, left_out: 0, body: String::new() };
        Some(self.places.entry(key).or_insert_with(new))
    }

    /// Whether no error said this within a window, of so many that are known.
    fn is_news(&mut self, hash: u64, now: Instant, window: Duration, limit: u32) -> bool {
        if now >= self.told_since + window {
            self.told.clear();
            self.told_since = now;
        }
        self.told.len() < limit as usize && self.told.insert(hash)
    }
}

impl Place {
    /// Begins another window, if one is over; what was left out in that.
    fn renew(&mut self, now: Instant, window: Duration) -> Option<Summary> {
        if now < self.since + window {
            return None;
        }
        let over = self.take();
        (self.since, self.written) = (now, 0);
        over
    }

    fn take(&mut self) -> Option<Summary> {
        let left_out = std::mem::take(&mut self.left_out);
        let body = std::mem::take(&mut self.body);
        (left_out > 0).then_some(Summary { metadata: self.metadata, left_out, body })
    }
}

fn is_id(field: &str) -> bool {
    matches!(field, "trace_id" | "span_id" | "request_id")
}

/// The beginning of a message.
struct Body(String);

impl Body {
    fn of(event: &Event<'_>) -> String {
        let mut body = Self(String::new());
        event.record(&mut body);
        body.0
    }
}

impl Visit for Body {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // It ends with an error where it is full.
            let _ = write!(self, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl fmt::Write for Body {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() + character.len_utf8() > LENGTH {
                return Err(fmt::Error);
            }
            self.0.push(character);
        }
        Ok(())
    }
}

struct Hash<H>(H);

impl<H: Hasher> Visit for Hash<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !is_id(field.name()) {
            let _ = write!(self, "{}={value:?},", field.name());
        }
    }
}

impl<H: Hasher> fmt::Write for Hash<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
