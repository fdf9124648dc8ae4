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

    /// Closes with RST.
    pub(crate) fn reset(self) {
        #[allow(deprecated, reason = "only a blocking linger is discouraged; zero does not block")]
        self.stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
