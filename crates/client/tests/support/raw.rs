//! A peer that does what a test says, byte by byte.

use std::net::SocketAddr;

use mainstay_discovery::Endpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub(crate) struct Raw {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.address.into()
    }

    pub(crate) async fn accept(&self) -> Connection {
        let accepted = tokio::time::timeout(super::LONG, self.listener.accept()).await;
        Connection { stream: accepted.expect("a connection in time").unwrap().0, read: Vec::new() }
    }
}

impl Connection {
    /// The head of the next request; `None` when the peer has closed.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(super::LONG, self.stream.read(&mut bytes));
            match read.await.expect("bytes in time") {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
            }
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn ok(&mut self, body: &str) {
        self.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// As the server of an HTTP/2 connection: reads the preface, and sends its SETTINGS.
    pub(crate) async fn start_http2(&mut self) {
        assert!(self.fill(24).await);
        assert!(self.read.starts_with(b"PRI * HTTP/2.0"));
        self.read.drain(..24);
        self.stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    }

    /// The stream of the next request over HTTP/2; `None` when the peer has closed.
    pub(crate) async fn headers(&mut self) -> Option<u32> {
        loop {
            if !self.fill(9).await {
                return None;
            }
            let length =
                usize::from(self.read[0]) << 16 | usize::from(self.read[1]) << 8 | usize::from(self.read[2]);
            if !self.fill(9 + length).await {
                return None;
            }
            let frame: Vec<u8> = self.read.drain(..9 + length).collect();
            // HEADERS, RFC 9113 section 6.2.
            if frame[3] == 1 {
                return Some(u32::from_be_bytes(frame[5..9].try_into().unwrap()));
            }
        }
    }

    /// RST_STREAM, RFC 9113 section 6.4.
    pub(crate) async fn reset_stream(&mut self, stream: u32, code: u32) {
        let mut frame = vec![0, 0, 4, 3, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(code.to_be_bytes());
        self.stream.write_all(&frame).await.unwrap();
    }

    /// GOAWAY without an error, RFC 9113 section 6.8.
    pub(crate) async fn goaway(&mut self, last: u32) {
        let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
        frame.extend(last.to_be_bytes());
        frame.extend(0u32.to_be_bytes());
        self.stream.write_all(&frame).await.unwrap();
    }

    /// A 204 over HTTP/2: HEADERS with the ninth entry of HPACK's static table, END_STREAM and END_HEADERS.
    pub(crate) async fn no_content(&mut self, stream: u32) {
        let mut frame = vec![0, 0, 1, 1, 5];
        frame.extend(stream.to_be_bytes());
        frame.push(0x89);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Whether so many bytes are here.
    async fn fill(&mut self, count: usize) -> bool {
        while self.read.len() < count {
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(super::LONG, self.stream.read(&mut bytes));
            match read.await.expect("bytes in time") {
                Ok(0) | Err(_) => return false,
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
            }
        }
        true
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        #[allow(deprecated, reason = "only a blocking linger is discouraged; zero does not block")]
        self.stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
