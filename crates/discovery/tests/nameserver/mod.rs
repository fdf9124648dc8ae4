//! Servers to ask, each on a port of its own on the loopback address.

pub(crate) mod liar;
pub(crate) mod nsd;

use std::net::{SocketAddr, TcpListener, UdpSocket};

/// A port that is free for UDP and TCP.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            return (socket, listener);
        }
    }
}

fn free_address() -> SocketAddr {
    sockets().1.local_addr().unwrap()
}
