//! What happens to orders, as it happens: a stream of server-sent events that ends by itself when the process drains.

use std::convert::Infallible;

use futures_util::{Stream, stream};
use mainstay::{
    axum::response::sse::{Event, KeepAlive, Sse},
    lifecycle::Drain,
};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::order::Status;

/// How many events a slow reader may be behind.
const BEHIND: usize = 256;

/// Something happened to an order.
#[derive(Debug, Clone, Serialize)]
struct Change {
    order: String,
    status: Status,
}

/// The one source of changes. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Changes(broadcast::Sender<Change>);

impl Changes {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    /// Tells everybody who listens; it is no failure if nobody does.
    pub(super) fn tell(&self, order: &str, status: Status) {
        let _ = self.0.send(Change { order: order.to_owned(), status });
    }

    /// All changes from now on. `event: order` for each, `event: missed` with a count where the reader was too slow,
    /// and `event: bye` at the end, so that the reader knows to connect again, to another copy.
    pub(super) fn stream(&self, drain: Drain) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let events = stream::unfold(Some((self.0.subscribe(), drain)), async |state| {
            let (mut changes, drain) = state?;
            let next = tokio::select! {
                biased;
                change = changes.recv() => Some(change),
                () = drain.begun() => None,
            };
            let event = match next {
                Some(Ok(change)) => Event::default().event("order").json_data(change).unwrap_or_default(),
                Some(Err(RecvError::Lagged(missed))) => {
                    Event::default().event("missed").data(missed.to_string())
                }
                Some(Err(RecvError::Closed)) | None => {
                    return Some((Ok(Event::default().event("bye").data("the service is going away")), None));
                }
            };
            Some((Ok(event), Some((changes, drain))))
        });
        Sse::new(events).keep_alive(KeepAlive::default())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use mainstay::{axum::response::IntoResponse, lifecycle::Phase};

    use super::*;

    #[tokio::test]
    async fn a_reader_sees_changes_and_a_good_bye() {
        let (drainer, drain) = Drain::channel();
        let changes = Changes::new();
        let mut body = changes.stream(drain).into_response().into_body().into_data_stream();
        changes.tell("one", Status::Paid);
        let event = body.next().await.unwrap().unwrap();
        assert_eq!(event, "event: order\ndata: {\"order\":\"one\",\"status\":\"paid\"}\n\n");
        drainer.advance(Phase::Announced);
        assert_eq!(body.next().await.unwrap().unwrap(), "event: bye\ndata: the service is going away\n\n");
        assert!(body.next().await.is_none());
    }
}
