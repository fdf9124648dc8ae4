//! The peers that hold up a drain that was not thought through.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    subject::Subject,
    wire::{
        PATIENCE, Trouble,
        frame::{Frames, PREFACE},
        http1::Connection,
    },
};

/// What is attached, for verdicts.
pub(crate) const STUCK: &str =
    "no bytes, half header, slow body, unread answer, idle HTTP/1.1, idle HTTP/2, half HTTP/2 preface";

/// The most that is written to a peer's unread connection before giving up on filling it.
const FILL: usize = 64 << 20;

/// Connections that are open and will neither speak nor read again.
#[derive(Debug)]
pub(crate) struct StuckPeers {
    _raw: Vec<TcpStream>,
    _idle: Connection,
    _idle_http2: Frames,
}

impl StuckPeers {
    /// Attaches one of each kind.
    pub(crate) async fn attach(subject: &Subject) -> Result<Self, Trouble> {
        let main = subject.main();
        let authority = main.authority();
        let (method, path) =
            subject.settings.json_route.as_ref().map_or(("POST", "/"), |route| (&route.method, &route.path));
        let half_header = format!("GET / HTTP/1.1\r\nhost: {authority}\r\nx-half");
        let slow_body = format!(
            "{method} {path} HTTP/1.1\r\n{}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
            main.lines()
        );
        let mut raw = Vec::new();
        for start in [b"".as_slice(), half_header.as_bytes(), slow_body.as_bytes(), &PREFACE[..12]] {
            let mut stream = main.connect().await?;
            stream.write_all(start).await?;
            raw.push(stream);
        }
        raw.push(unread(subject).await?);
        let mut idle = Connection::open(main).await?;
        idle.send(&subject.plain(), PATIENCE).await?;
        let mut idle_http2 = Frames::open(main).await?;
        idle_http2.settings().await?;
        Ok(Self { _raw: raw, _idle: idle, _idle_http2: idle_http2 })
    }
}

/// A connection whose answers nobody reads: requests are written until the service can write no more and stops
/// reading.
async fn unread(subject: &Subject) -> Result<TcpStream, Trouble> {
    let mut stream = subject.main().connect().await?;
    let batch = subject.plain().bytes(subject.main()).repeat(200);
    let mut written = 0;
    while written < FILL {
        match timeout(Duration::from_millis(300), stream.write_all(&batch)).await {
            Ok(Ok(())) => written += batch.len(),
            // Full, which is what was wanted; or the service ended the connection, which is its right.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    Ok(stream)
}
