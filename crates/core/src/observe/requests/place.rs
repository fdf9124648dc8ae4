use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::Ticket;
use crate::context::RequestContext;

/// Where a request is, as far as it costs no more than a store to say so.
#[derive(Debug, Default)]
pub(in crate::observe) struct Place {
    ticket: AtomicU64,
    is_answered: AtomicBool,
}

impl Place {
    /// It is found by this ticket.
    pub(in crate::observe) fn enter(&self, ticket: Ticket) {
        self.ticket.store(ticket.to_bits(), Relaxed);
    }

    pub(in crate::observe) fn ticket(&self) -> Ticket {
        Ticket::from_bits(self.ticket.load(Relaxed))
    }

    /// The head of the answer is there.
    pub(in crate::observe) fn answer(&self) {
        self.is_answered.store(true, Relaxed);
    }

    pub(in crate::observe) fn is_answered(&self) -> bool {
        self.is_answered.load(Relaxed)
    }
}

/// For a changed copy of the context: it is the same request.
impl Clone for Place {
    fn clone(&self) -> Self {
        let (ticket, is_answered) = (self.ticket.load(Relaxed), self.is_answered());
        Self { ticket: AtomicU64::new(ticket), is_answered: AtomicBool::new(is_answered) }
    }
}

/// Has the request that is being handled shown as waiting for `what` ([`Report`](super::Report)), until the guard is
/// dropped: for what a program waits for that is no call of the client, such as a pool or a lock of its own. Outside of a
/// request it does nothing.
///
/// ```
/// # use mainstay_core::observe;
/// # async fn connection() {}
/// # async fn handler() {
/// let waiting = observe::waits_for("a connection of the database");
/// let connection = connection().await;
/// drop(waiting);
/// # }
/// ```
///
/// Of several at once the last one is shown.
pub fn waits_for(what: &'static str) -> Waiting {
    let context = RequestContext::current().filter(|context| context.observation().is_some());
    let waiting = Waiting { context, what };
    waiting.say(|waits_for| *waits_for = Some(what));
    waiting
}

/// Guard of [`waits_for`].
#[derive(Debug)]
#[must_use = "it says so until it is dropped"]
pub struct Waiting {
    context: Option<RequestContext>,
    what: &'static str,
}

impl Waiting {
    fn say(&self, say: impl FnOnce(&mut Option<&'static str>)) {
        let Some(context) = &self.context else { return };
        if let (Some(seen), Some(server)) = (context.observation(), context.ambient().server()) {
            server.inner().in_flight.say(seen.place().ticket(), say);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What was said later holds. What was said before may be over by now.
        self.say(|waits_for| {
            waits_for.take_if(|said| *said == self.what);
        });
    }
}
