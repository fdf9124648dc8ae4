//! One accept loop and the connections it feeds: the whole server in the `shared` shape, one core's part of it in the
//! `per-core` shape.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::{
    Bounds, Incoming, Stats, Summary,
    accept::{self, Listener, Stream},
    bind::{self, Socketed},
    connection::Peer,
    guard::Ticket,
    refuse, serve,
    signal::Signal,
    transport::Transport,
};
use crate::{
    BoxError,
    lifecycle::{Drain, Phase},
    task::Tasks,
};

/// How long tasks may take to notice that they were cut. Only code that blocks its thread takes longer.
const CUT_BOUND: Duration = Duration::from_secs(5);

/// What the connections of one worker share.
pub(super) struct Shared {
    pub(super) bounds: Limits,
    pub(super) stats: Stats,
    pub(super) signal: Signal,
    /// Open connections, upgraded ones included.
    pub(super) connections: TaskTracker,
    /// The tasks of connections and of HTTP/2 streams.
    pub(super) tasks: Tasks,
    pub(super) http1: hyper::server::conn::http1::Builder,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::Acceptor>,
    /// Room for turning connections away with an answer.
    refusals: Arc<Semaphore>,
}

/// [`Bounds`] as the code uses them.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) first_byte: Duration,
    pub(super) detect: Duration,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there is no handshake without TLS"))]
    pub(super) tls_handshake: Duration,
    pub(super) header_read: Duration,
    pub(super) body_idle: Duration,
    pub(super) write_idle: Duration,
    pub(super) keep_alive_idle: Duration,
    pub(super) connection_age: Duration,
    pub(super) tcp_keep_alive: Duration,
    pub(super) ping_interval: Duration,
    pub(super) max_connections: u64,
    pub(super) max_streams: u32,
    pub(super) max_header_bytes: u32,
    pub(super) max_headers: usize,
    pub(super) max_uri_bytes: usize,
    pub(super) max_pending_reset_streams: usize,
    pub(super) max_error_reset_streams: usize,
}

impl Limits {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            first_byte: bounds.first_byte.get(),
            detect: bounds.detect.get(),
            tls_handshake: bounds.tls_handshake.get(),
            header_read: bounds.header_read.get(),
            body_idle: bounds.body_idle.get(),
            write_idle: bounds.write_idle.get(),
            keep_alive_idle: bounds.keep_alive_idle.get(),
            connection_age: bounds.connection_age.get(),
            tcp_keep_alive: bounds.tcp_keep_alive.get(),
            ping_interval: bounds.ping_interval.get(),
            max_connections: bounds.max_connections,
            max_streams: bounds.max_streams,
            // `Config::problems` has held it below 16 MiB.
            max_header_bytes: u32::try_from(bounds.max_header_bytes.get()).unwrap_or(u32::MAX),
            max_headers: usize::from(bounds.max_headers),
            max_uri_bytes: bounds.max_uri_bytes.as_usize(),
            max_pending_reset_streams: bounds.max_pending_reset_streams as usize,
            max_error_reset_streams: bounds.max_error_reset_streams as usize,
        }
    }
}

impl Shared {
    pub(super) fn new(
        bounds: Limits,
        stats: Stats,
        #[cfg(feature = "tls")] tls: Option<super::tls::Acceptor>,
    ) -> Arc<Self> {
        #[cfg(feature = "tls")]
        let encrypted = tls.is_some();
        #[cfg(not(feature = "tls"))]
        let encrypted = false;
        let http1 = serve::http1_builder(&bounds, encrypted);
        Arc::new(Self {
            bounds,
            stats,
            http1,
            signal: Signal::default(),
            connections: TaskTracker::new(),
            tasks: Tasks::new(),
            #[cfg(feature = "tls")]
            tls,
            refusals: Arc::new(Semaphore::new(refuse::AT_ONCE)),
        })
    }
}

/// Cuts everything when the server is dropped instead of drained.
struct CutOnDrop(Arc<Shared>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.signal.advance(Phase::Cut);
    }
}

/// Serves until the drain is over and every connection has ended.
pub(super) async fn run<S, B>(
    socket: Socketed,
    service: S,
    shared: Arc<Shared>,
    drain: Drain,
) -> io::Result<Summary>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let cut_on_drop = CutOnDrop(shared.clone());
    let mut listener = Listener::new(socket)?;
    let accepting = async {
        let mut closing = std::pin::pin!(shared.signal.reached(Phase::Closing));
        let mut failures = accept::Failures::default();
        loop {
            tokio::select! {
                biased;
                () = &mut closing => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        failures.reset();
                        admit(stream, peer, &service, &shared);
                    }
                    Err(error) => {
                        shared.stats.accept_error();
                        // Bounded by the closing listener as well: see the other branch.
                        if let Some(pause) = failures.pause(&error) {
                            tokio::select! {
                                biased;
                                () = &mut closing => break,
                                () = tokio::time::sleep(pause) => {}
                            }
                        }
                    }
                },
            }
        }
    };
    tokio::join!(shared.signal.follow(&drain, Phase::Closing), accepting);
    // A queue is no longer than this, unless somebody fills it as fast as it is emptied.
    let most = u64::from(u16::MAX).min(shared.bounds.max_connections);
    if let Err(error) = listener.close(most, |stream, peer| admit(stream, peer, &service, &shared)) {
        tracing::warn!(%error, "connections that waited when the listener closed may be lost");
    }
    drop(service);

    shared.connections.close();
    let mut left = 0;
    tokio::select! {
        biased;
        () = shared.connections.wait() => {}
        () = drain.reached(Phase::Cut) => {}
    }
    shared.signal.advance(Phase::Cut);
    if let Err(still_running) = shared.tasks.stop(CUT_BOUND).await {
        left = still_running.remaining;
        tracing::warn!(left, "tasks of connections did not end: their code blocks its thread");
    }
    // What an upgraded connection's own task holds ends on its next read or write.
    if tokio::time::timeout(CUT_BOUND, shared.connections.wait()).await.is_err() {
        left = left.max(shared.connections.len());
    }
    drop(cut_on_drop);
    Ok(Summary { left, ..Summary::default() })
}

fn admit<S, B>(stream: Stream, peer: Peer, service: &S, shared: &Arc<Shared>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if shared.stats.open() >= shared.bounds.max_connections {
        return turn_away(stream, shared);
    }
    shared.stats.accepted();
    let ticket = Ticket::new(shared);
    let transport = match stream {
        Stream::Tcp(stream) => {
            bind::tune(&stream, shared.bounds.tcp_keep_alive);
            #[cfg(feature = "tls")]
            if let Some(acceptor) = &shared.tls {
                let (acceptor, shared_) = (acceptor.clone(), shared.clone());
                let service = service.clone();
                shared.tasks.spawn_detached(async move {
                    if let Some((transport, peer, alpn)) =
                        super::tls::handshake(&acceptor, stream, peer, &shared_).await
                    {
                        serve::connection(transport, peer, alpn, service, shared_, ticket).await;
                    }
                });
                return;
            }
            Transport::Tcp(stream)
        }
        Stream::Unix(stream) => Transport::Unix(stream),
    };
    shared.tasks.spawn_detached(serve::connection(
        transport,
        peer,
        None,
        service.clone(),
        shared.clone(),
        ticket,
    ));
}

/// Answers 503 where the peer can read it and there is room to do so; closes otherwise.
fn turn_away(stream: Stream, shared: &Arc<Shared>) {
    shared.stats.refused();
    tracing::debug!("connection refused: server.bounds.max_connections are open");
    #[cfg(feature = "tls")]
    if shared.tls.is_some() {
        return;
    }
    if let (Stream::Tcp(stream), Ok(permit)) = (stream, shared.refusals.clone().try_acquire_owned()) {
        let refusal = refuse::no_room(stream, shared.clone());
        shared.tasks.spawn_detached(async move {
            refusal.await;
            drop(permit);
        });
    }
}
