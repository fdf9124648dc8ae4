//! Connections, some of which are kept for the next form.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use mainstay_core::task::Tasks;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Url, connect::connect};

/// So many are kept at most.
const MOST: usize = 8;
/// For so long: less than most servers keep theirs.
const IDLE: Duration = Duration::from_secs(20);

/// A connection; closed when it is dropped.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn open(url: &Url, ca_file: Option<&Path>, tasks: &Tasks) -> Result<Self, Failure> {
        let stream = connect(url, ca_file).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::of(&format!("{url}: the connection"), &error))?;
        // What goes wrong is told by the sender or the body. One that is kept is no reason to go on.
        let stop = tasks.stopping();
        let driver = AbortOnDropHandle::new(tasks.spawn_detached(async move {
            let _ = stop.run_until_cancelled_owned(connection).await;
        }));
        Ok(Self { sender, _driver: driver })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// Those that are kept, by where they lead.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<(String, Instant, Connection)>>);

impl Kept {
    /// The one that was used last, if it is still good.
    pub(super) fn take(&self, url: &Url) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since, connection)| since.elapsed() < IDLE && !connection.sender.is_closed());
        let place = kept.iter().rposition(|(origin, ..)| *origin == url.origin())?;
        Some(kept.swap_remove(place).2)
    }

    pub(super) fn put(&self, url: &Url, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST {
            kept.push((url.origin(), Instant::now(), connection));
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
