//! HTTP/2: all requests share one connection. When its streams run out, requests wait for one, within their deadline.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_core::{Body, BoxError, task::Tasks};
use mainstay_discovery::Address;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Answer, Failed, Settings,
    connect::{Stream, connect, within},
};

type Sender = SendRequest<Body>;

/// The connection, once there is one.
#[derive(Default)]
pub(super) struct Shared {
    current: Mutex<Option<Sender>>,
    /// Held while one is opened: who comes meanwhile waits for it and does not open another.
    opening: tokio::sync::Mutex<()>,
}

impl Shared {
    /// A connection that was there may have been closed by its peer. If nothing of the request was written yet, a new
    /// one is opened, once.
    pub(super) async fn send(
        &self,
        address: &Address,
        settings: &Arc<Settings>,
        mut request: Request<Body>,
    ) -> Result<Answer, Failed> {
        if let Some(mut sender) = self.live() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(Answer { response, lease: None, leaving: false }),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failed::exchange(error.into_error(), None)),
                },
            }
        }
        let mut sender = match self.open(address, settings).await {
            Ok(sender) => sender,
            Err(cause) => return Err(Failed::connect(cause, request)),
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok(Answer { response, lease: None, leaving: false }),
            Err(mut error) => {
                let body = error.take_message().map(Request::into_body);
                Err(Failed::exchange(error.into_error(), body))
            }
        }
    }

    fn live(&self) -> Option<Sender> {
        let mut current = self.lock();
        if current.as_ref().is_some_and(Sender::is_closed) {
            *current = None;
        }
        current.clone()
    }

    async fn open(&self, address: &Address, settings: &Arc<Settings>) -> Result<Sender, BoxError> {
        // Whoever holds the gate is bounded by the connect timeout, or dropped.
        let _gate = self.opening.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let sender = within(settings.config.connect_timeout.get(), async {
            match connect(address).await? {
                Stream::Tcp(stream) => drive(stream, settings).await,
                #[cfg(unix)]
                Stream::Unix(stream) => drive(stream, settings).await,
            }
        })
        .await?;
        *self.lock() = Some(sender.clone());
        Ok(sender)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sender>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drive<T>(stream: T, settings: &Settings) -> Result<Sender, BoxError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(Executor(settings.tasks.clone()));
    builder.timer(TokioTimer::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    settings.tasks.spawn_detached(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "connection ended");
        }
    });
    Ok(sender)
}

/// Gives hyper's own tasks to the owner of the connection.
#[derive(Debug, Clone)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_detached(future);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("connected", &self.lock().is_some()).finish()
    }
}
