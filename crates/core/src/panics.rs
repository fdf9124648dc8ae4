//! Panics are logged, with their place and the ids of their request.
//!
//! Those of handlers and of tasks are caught. Where one happened only the panic hook is told, so it leaves a note for
//! whoever catches it. Those of threads and tasks that the framework knows nothing of are logged by the hook itself, after
//! [`log_all`]. A stack trace is there where `RUST_BACKTRACE` asks for it.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::context::RequestContext;

/// What a panic said and where.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) message: String,
    pub(crate) location: String,
    pub(crate) backtrace: Option<Backtrace>,
}

/// What a panic goes on with.
pub(crate) type Payload = Box<dyn Any + Send>;

struct Note {
    location: String,
    backtrace: Backtrace,
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LOGGING: Cell<bool> = const { Cell::new(false) };
    static NOTE: RefCell<Option<Note>> = const { RefCell::new(None) };
}

/// Whether panics that nobody catches are logged too.
static ALL: AtomicBool = AtomicBool::new(false);

/// From now on panics that no layer and no task of the framework catches are log lines too: `a thread panicked`, target
/// `mainstay_core::panics`. The hook that was there before is called as ever, so standard error has them as well. For a
/// program whose subscriber takes events from a panic hook; `mainstay_telemetry::logs::init` does this.
pub fn log_all() {
    install();
    ALL.store(true, Relaxed);
}

/// Sets the hook, once a process. Panics elsewhere go to the hook that was there before.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                if ALL.load(Relaxed) {
                    log(info);
                }
                return previous(info);
            }
            // Where nobody takes log lines it is still told.
            if !tracing::enabled!(tracing::Level::ERROR) {
                previous(info);
            }
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            // Captured only where RUST_BACKTRACE asks for it.
            let note = Note { location, backtrace: Backtrace::capture() };
            NOTE.with(|cell| {
                if let Ok(mut cell) = cell.try_borrow_mut() {
                    *cell = Some(note);
                }
            });
        }));
    });
}

/// Logs a panic that nobody catches, from where it happens.
fn log(info: &panic::PanicHookInfo<'_>) {
    // One of what takes the lines would come back here, and end the process.
    if LOGGING.replace(true) {
        return;
    }
    let message = message(info.payload());
    let location = info.location().map(tracing::field::display);
    let thread = std::thread::current();
    let backtrace = Some(Backtrace::capture()).filter(|trace| trace.status() == BacktraceStatus::Captured);
    let context = RequestContext::current();
    let request_id = context.as_ref().map(RequestContext::request_id);
    let ids = context.as_ref().map(|context| (context.trace().trace_id(), context.trace().span_id()));
    let (trace_id, span_id) = ids.unzip();
    // Without a parent: the spans around it are those that may be being written to.
    tracing::error!(
        parent: None,
        exception.message = message,
        exception.stacktrace = backtrace.as_ref().map(tracing::field::display),
        location,
        thread.name = thread.name(),
        trace_id = trace_id.map(tracing::field::display),
        span_id = span_id.map(tracing::field::display),
        request_id = request_id.as_ref().map(tracing::field::display),
        "a thread panicked"
    );
    LOGGING.set(false);
}

/// Runs `work`; a panic in it comes back as what it said and where.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, Box<Caught>> {
    catch(work).map_err(|(caught, payload)| {
        // A payload can panic when it is dropped; that must not get out of the place that catches panics.
        mem::forget(payload);
        caught
    })
}

/// As [`guard`], with what the panic goes on with.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, (Box<Caught>, Payload)> {
    let outer = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.map_err(|payload| (caught(payload.as_ref()), payload))
}

#[cold]
fn caught(payload: &(dyn Any + Send)) -> Box<Caught> {
    let note = NOTE.with(|cell| cell.try_borrow_mut().ok().and_then(|mut note| note.take()));
    let (location, backtrace) = note.map(|note| (note.location, note.backtrace)).unzip();
    Box::new(Caught {
        message: message(payload),
        location: location.unwrap_or_else(|| "unknown".to_owned()),
        backtrace: backtrace.filter(|trace| trace.status() == BacktraceStatus::Captured),
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".to_owned())
}
