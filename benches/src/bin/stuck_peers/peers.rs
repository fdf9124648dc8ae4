//! Peers that get as far as they ever will, written byte by byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Result;

/// Where a peer stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    NoBytes,
    HalfTlsHello,
    HalfPreface,
    HalfHeader,
    SlowBody,
    UnreadAnswer,
    IdleHttp1,
    IdleHttp2,
    OpenSse,
    OpenWebSocket,
    OpenGrpcStream,
}

pub(crate) const KINDS: [Kind; 11] = [
    Kind::NoBytes,
    Kind::HalfTlsHello,
    Kind::HalfPreface,
    Kind::HalfHeader,
    Kind::SlowBody,
    Kind::UnreadAnswer,
    Kind::IdleHttp1,
    Kind::IdleHttp2,
    Kind::OpenSse,
    Kind::OpenWebSocket,
    Kind::OpenGrpcStream,
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoBytes => "no bytes",
            Self::HalfTlsHello => "half a TLS hello",
            Self::HalfPreface => "half an HTTP/2 preface",
            Self::HalfHeader => "half a header",
            Self::SlowBody => "a body that stops",
            Self::UnreadAnswer => "an answer that is not read",
            Self::IdleHttp1 => "idle HTTP/1.1",
            Self::IdleHttp2 => "idle HTTP/2",
            Self::OpenSse => "open SSE stream",
            Self::OpenWebSocket => "open WebSocket",
            Self::OpenGrpcStream => "open bidirectional gRPC stream",
        }
    }
}

/// What a server speaks where a peer could stop in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Http,
    Grpc,
}

const SHOW: &str = "/mainstay.bench.v1.Items/Show";
const TALK: &str = "/mainstay.bench.v1.Items/Talk";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113 section 6.
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}
/// `SETTINGS_INITIAL_WINDOW_SIZE` = 0: not a byte of an answer's body may be sent.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

/// A connection whose peer will do nothing more.
pub(crate) async fn stuck(address: SocketAddr, kind: Kind, speech: Speech) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let mut send = async |bytes: &[u8]| stream.write_all(bytes).await;
    match (kind, speech) {
        (Kind::NoBytes, _) => {}
        // A record of 512 bytes that holds a ClientHello, of which the type has arrived.
        (Kind::HalfTlsHello, _) => send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await?,
        (Kind::HalfPreface, _) => send(PREFACE.get(..12).unwrap_or(PREFACE)).await?,
        (Kind::HalfHeader, Speech::Http) => send(b"GET /item HTTP/1.1\r\nHost: ben").await?,
        (Kind::HalfHeader, Speech::Grpc) => {
            http2(&mut stream, &[]).await?;
            let block = header_block(SHOW);
            // END_HEADERS is missing: a CONTINUATION frame would have to follow.
            stream.write_all(&frame(frame::HEADERS, 0, 1, &block)).await?;
        }
        (Kind::SlowBody, Speech::Http) => {
            send(b"POST /count HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000\r\n\r\nhalf").await?;
        }
        (Kind::SlowBody, Speech::Grpc) => {
            http2(&mut stream, &[]).await?;
            stream.write_all(&frame(frame::HEADERS, frame::END_HEADERS, 1, &header_block(SHOW))).await?;
            // A message of 100 bytes is announced, and none of them comes.
            stream.write_all(&frame(frame::DATA, 0, 1, &[0, 0, 0, 0, 100])).await?;
        }
        (Kind::UnreadAnswer, Speech::Http) => send(b"GET /large HTTP/1.1\r\nHost: bench\r\n\r\n").await?,
        (Kind::UnreadAnswer, Speech::Grpc) => {
            http2(&mut stream, NO_WINDOW).await?;
            stream.write_all(&frame(frame::HEADERS, frame::END_HEADERS, 1, &header_block(SHOW))).await?;
            stream.write_all(&frame(frame::DATA, frame::END_STREAM, 1, &[0, 0, 0, 0, 2, 8, 7])).await?;
        }
        (Kind::IdleHttp1, _) => {
            send(b"GET /item HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
            until(&mut stream, "in_stock").await?;
        }
        (Kind::IdleHttp2, _) => http2(&mut stream, &[]).await?,
        (Kind::OpenSse, _) => {
            send(b"GET /events HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
            until(&mut stream, "data:").await?;
        }
        (Kind::OpenWebSocket, _) => {
            send(
                b"GET /chat HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await?;
            until(&mut stream, "HTTP/1.1 101").await?;
        }
        (Kind::OpenGrpcStream, _) => {
            http2(&mut stream, &[]).await?;
            stream.write_all(&frame(frame::HEADERS, frame::END_HEADERS, 1, &header_block(TALK))).await?;
            until_frame(&mut stream, frame::HEADERS).await?;
        }
    }
    Ok(stream)
}

/// Opens an HTTP/2 connection with these settings, up to the server's own.
async fn http2(stream: &mut TcpStream, settings: &[u8]) -> Result {
    stream.write_all(&[PREFACE, &frame(frame::SETTINGS, 0, 0, settings)].concat()).await?;
    until_frame(stream, frame::SETTINGS).await
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A gRPC request in HPACK literals, neither indexed nor Huffman-coded (RFC 7541 section 6.2.2).
fn header_block(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "bench"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // All are shorter than 127 bytes, which one byte of length holds.
            block.push(u8::try_from(text.len()).unwrap_or(0));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Reads frames up to one of this type.
async fn until_frame(stream: &mut TcpStream, kind: u8) -> Result {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, this, ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        stream.read_exact(&mut vec![0; usize::try_from(length)?]).await?;
        if this == kind {
            return Ok(());
        }
    }
}

async fn until(stream: &mut TcpStream, text: &str) -> Result {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        if stream.read_buf(&mut heard).await? == 0 {
            return Err(format!("closed before {text:?}").into());
        }
    }
    Ok(())
}
