//! Signals of the operating system.
//!
//! They are taken by a thread of their own, with a runtime of its own: a second signal ends the process at once even
//! where handlers block every worker of the program's runtime (contract LIFE 4).

use std::{
    fmt, io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task,
};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::{Exit, Shutdown};

/// A signal that ends the process. SIGQUIT keeps its default: a core dump, for when nothing else helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, 15: what a service manager sends.
    Terminate,
    /// SIGINT, 2: Control-C.
    Interrupt,
}

impl Signal {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Terminate => 15,
            Self::Interrupt => 2,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// What a signal means, by how many came before it.
#[derive(Debug, Default)]
pub(super) struct Escalation {
    begun: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first: drain.
    Drain,
    /// Any other: out.
    Out,
}

impl Escalation {
    pub(super) fn next(&mut self) -> Step {
        if std::mem::replace(&mut self.begun, true) { Step::Out } else { Step::Drain }
    }
}

/// Asks for shutdown at the first signal of the stream, returns the second.
pub(super) async fn second_of<S: Stream<Item = Signal>>(signals: S, shutdown: &Shutdown) -> Signal {
    let mut signals = std::pin::pin!(signals);
    let mut escalation = Escalation::default();
    loop {
        let Some(signal) = std::future::poll_fn(|cx| signals.as_mut().poll_next(cx)).await else {
            // No more signals will come.
            return std::future::pending().await;
        };
        match escalation.next() {
            Step::Drain => shutdown.signal(signal),
            Step::Out => return signal,
        }
    }
}

/// The first signal that the process gets. The second never arrives here: it ends the process.
#[derive(Debug)]
pub struct Signals(mpsc::UnboundedReceiver<Signal>);

/// Those who wait for the first signal.
#[derive(Default)]
struct Listeners {
    thread: bool,
    waiting: Vec<mpsc::UnboundedSender<Signal>>,
}

static LISTENERS: Mutex<Listeners> = Mutex::new(Listeners { thread: false, waiting: Vec::new() });

impl Signals {
    /// Listens from now on, for the life of the process.
    ///
    /// # Errors
    /// When the operating system has no thread or no descriptor left.
    pub fn listen() -> io::Result<Self> {
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        if !listeners.thread {
            start()?;
            listeners.thread = true;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        listeners.waiting.retain(|waiting| !waiting.is_closed());
        listeners.waiting.push(sender);
        Ok(Self(receiver))
    }
}

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<Option<Signal>> {
        self.0.poll_recv(cx)
    }
}

/// Starts the thread; returns when it has taken over the signals, so that none is missed from then on.
fn start() -> io::Result<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async move {
            match Source::new() {
                Err(error) => drop(ready.send(Err(error))),
                Ok(source) => {
                    drop(ready.send(Ok(())));
                    serve(source).await;
                }
            }
        });
    })?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the thread for signals ended")))
}

async fn serve(mut source: Source) {
    let mut escalation = Escalation::default();
    loop {
        let signal = source.next().await;
        match escalation.next() {
            Step::Drain => {
                let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
                let heard = listeners.waiting.iter().filter(|waiting| waiting.send(signal).is_ok()).count();
                if heard == 0 {
                    // Nothing is left to drain: what the signal does by default.
                    Exit::Signal(signal).now();
                }
            }
            // Without a log line: a writer that is stuck must not hold this up.
            Step::Out => Exit::Signal(signal).now(),
        }
    }
}

/// Where the signals come from.
#[cfg(unix)]
struct Source {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Signal {
        let closed = tokio::select! {
            signal = self.terminate.recv() => signal.map(|()| Signal::Terminate),
            signal = self.interrupt.recv() => signal.map(|()| Signal::Interrupt),
        };
        match closed {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Where the signals come from.
#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}
