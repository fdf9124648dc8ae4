//! A server to be tested, and a peer that sends exactly the bytes it is told to.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::Router;
use http::{Request, Response};
use mainstay_core::{
    Body,
    lifecycle::{Drain, Drainer, Phase},
    server::{Config, Incoming, Server, Shape, Stats, Summary},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};
use tower_service::Service;

/// More than anything here takes on a loaded machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Running {
    pub address: SocketAddr,
    pub stats: Stats,
    drainer: Drainer,
    serving: JoinHandle<Summary>,
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.address = "127.0.0.1:0".parse().unwrap();
    config
}

pub fn shaped(shape: Shape) -> Config {
    let mut config = config();
    config.shape = shape;
    config.workers = std::num::NonZeroUsize::new(2);
    config
}

pub fn start(config: &Config, router: Router) -> Running {
    let service = tower::ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(Body::new))
        .service(router);
    start_service(config, service)
}

pub fn start_service<S>(config: &Config, service: S) -> Running
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let server = Server::bind(config).expect("the server binds");
    let address = server.local_addr().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let stats = server.stats();
    let (drainer, drain) = Drain::channel();
    let serving = tokio::spawn(server.serve(move |_| service.clone(), drain));
    Running { address, stats, drainer, serving }
}

impl Running {
    pub fn advance(&self, phase: Phase) {
        self.drainer.advance(phase);
    }

    /// Waits for the server to end.
    pub async fn ended(self) -> Summary {
        within(self.serving).await.expect("the server doesn't panic")
    }

    /// Drops the server as it is.
    pub fn abandon(self) {
        self.serving.abort();
    }

    /// Drains without a time to finish in.
    pub async fn stop(self) -> Summary {
        self.advance(Phase::Closing);
        self.ended().await
    }

    /// Drains, and cuts what is in flight.
    pub async fn stop_now(self) -> Summary {
        self.advance(Phase::Cut);
        self.ended().await
    }

    pub async fn connect(&self) -> Peer {
        Peer { stream: within(TcpStream::connect(self.address)).await.unwrap() }
    }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this ends in time")
}

/// Waits until `condition` holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// `/wait` never answers, and tells of itself: `true` when it is called, `false` when it is dropped.
pub fn telling() -> (Router, UnboundedReceiver<bool>) {
    struct Told(UnboundedSender<bool>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(false);
        }
    }

    let (sender, told) = unbounded_channel();
    let wait = move || {
        let told = Told(sender.clone());
        async move {
            told.0.send(true).unwrap();
            std::future::pending::<()>().await;
        }
    };
    (Router::new().route("/wait", axum::routing::get(wait)), told)
}

pub struct Peer<T = TcpStream> {
    pub stream: T,
}

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// That it is a problem document with this status, whole, and the last answer of its connection.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        self.assert_problem_of(status);
        assert_eq!(self.field("connection"), Some("close"), "{self:?}");
    }

    /// That it is a problem document with this status, whole.
    #[track_caller]
    pub fn assert_problem_of(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        assert!(self.field("date").is_some(), "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("the body is JSON");
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "instance", "trace_id"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
    }
}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<T> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.expect("the server reads");
    }

    /// Sends what can be sent; the server may have closed already.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(self.stream.write_all(bytes.as_ref())).await;
    }

    /// The next answer, framed by its content-length or its chunks.
    pub async fn answer(&mut self) -> Answer {
        let (status, head) = self.head().await;
        let answer = Answer { status, head, body: Vec::new() };
        let body = if answer.field("transfer-encoding") == Some("chunked") {
            self.chunks().await
        } else {
            let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            within(self.stream.read_exact(&mut body)).await.expect("the body is whole");
            body
        };
        Answer { body, ..answer }
    }

    /// Status and header section of the next answer.
    pub async fn head(&mut self) -> (u16, String) {
        let head = self.line_end(b"\r\n\r\n").await;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("an answer, not {head:?}")), head)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let length = self.line_end(b"\r\n").await;
            let length = usize::from_str_radix(length.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            within(self.stream.read_exact(&mut chunk)).await.unwrap();
            if length == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    pub async fn line_end(&mut self, end: &[u8]) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let byte = within(self.stream.read_u8()).await;
            bytes.push(
                byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&bytes))),
            );
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything until the server closes; a reset counts as closing.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = within(self.stream.read_to_end(&mut bytes)).await;
        bytes
    }

    pub async fn assert_closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "closed without a word, not {:?}", String::from_utf8_lossy(&rest));
    }
}

/// RFC 9113 section 3.4.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Peer {
    /// Opens HTTP/2: preface, empty SETTINGS, and the acknowledgement of the server's.
    pub async fn hello(&mut self) {
        self.send([PREFACE, &frame(4, 0, 0, &[]), &frame(4, 1, 0, &[])].concat()).await;
        self.frame_of_type(4).await;
    }

    /// Type, flags, stream and payload of the next frame.
    pub async fn frame(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        within(self.stream.read_exact(&mut payload)).await.expect("a whole frame");
        (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
    }

    /// Skips to the next frame of this type.
    pub async fn frame_of_type(&mut self, kind: u8) -> (u8, u8, u32, Vec<u8>) {
        loop {
            let frame = self.frame().await;
            if frame.0 == kind {
                return frame;
            }
        }
    }
}

/// An HTTP/2 frame, RFC 9113 section 4.1.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field that isn't put into the table, without Huffman coding: RFC 7541 section 6.2.2.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127, "fits one byte");
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A HEADERS frame with a whole header section.
pub fn headers(stream: u32, last: bool, method: &str, path: &str) -> Vec<u8> {
    headers_of(
        stream,
        last,
        &[(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)],
    )
}

pub fn headers_of(stream: u32, last: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let section: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(1, 4 | u8::from(last), stream, &section)
}

/// A bodiless request.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}
