//! Answers given without hyper, and closing so that the peer gets to read them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{transport::Transport, worker::Shared};
use crate::{
    clock,
    context::RequestContext,
    error::{Error, Kind, Problem},
    lifecycle::Phase,
};

/// How long a peer that was refused may go on sending before the connection is closed under it.
const LINGER: Duration = Duration::from_secs(2);

/// How many connections over the limit are given an answer at the same time; more are closed at once.
pub(super) const AT_ONCE: usize = 256;

/// An HTTP/1.1 answer of this kind, after which the connection ends.
pub(super) fn answer(kind: Kind, detail: &'static str) -> Bytes {
    let error = Error::new(kind).with_detail(detail);
    let body = serde_json::to_vec(&Problem::new(&error, &RequestContext::new())).unwrap_or_default();
    let status = kind.status();
    let retry = if kind == Kind::Unavailable { "retry-after: 1\r\n" } else { "" };
    // RFC 9110 section 6.6.1.
    let date = httpdate::fmt_http_date(clock::wall());
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry}connection: \
         close\r\ndate: {date}\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("Error"),
        body.len(),
    );
    [head.into_bytes(), body].concat().into()
}

/// Writes the answer and closes. Takes [`LINGER`] twice at most: to write, and to let the peer read.
pub(super) async fn refuse(transport: &mut Transport, answer: &[u8], shared: &Arc<Shared>) {
    let deadline = Instant::now() + LINGER;
    let write = async {
        transport.write_all(answer).await?;
        transport.shutdown().await
    };
    if let Ok(Ok(())) = tokio::time::timeout_at(deadline, write).await {
        linger(transport, shared).await;
    }
}

/// Reads until the peer has closed: closing with input unread resets the connection, and a reset can destroy the answer
/// before the peer reads it (RFC 9112 section 9.6).
pub(super) async fn linger(transport: &mut Transport, shared: &Arc<Shared>) {
    let read = async {
        // hyper has done so already, except where an answer broke off.
        transport.shutdown().await?;
        let mut sink = vec![0; 16 * 1024];
        while transport.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    };
    tokio::select! {
        biased;
        () = shared.signal.reached(Phase::Closing) => {}
        _ = tokio::time::timeout(LINGER, read) => {}
    }
}

/// Turns a connection away because there is no room for it.
pub(super) async fn no_room(stream: TcpStream, shared: Arc<Shared>) {
    let answer = answer(Kind::Unavailable, "too many connections are open");
    refuse(&mut Transport::Tcp(stream), &answer, &shared).await;
}
