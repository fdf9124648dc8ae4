//! A wire between a process and a server that can be cut.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing comes through, and nobody is told.
    Cut,
    /// Connections are closed.
    Dead,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State::Open);
        let told = state.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, server, told.clone()));
            }
        });
        Self { address, state, accepting }
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub(crate) fn heal(&self) {
        self.state.send_replace(State::Open);
    }

    pub(crate) fn kill(&self) {
        self.state.send_replace(State::Dead);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let died = {
        let mut state = state.clone();
        async move {
            let _ = state.wait_for(|state| *state == State::Dead).await;
        }
    };
    let carried = async {
        let _ = state.wait_for(|state| *state == State::Open).await;
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = pump(from_client, to_server, state.clone()) => {}
            () = pump(from_server, to_client, state.clone()) => {}
        }
    };
    tokio::select! {
        () = died => {}
        () = carried => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let _ = state.wait_for(|state| *state == State::Open).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // A peer that hangs up while the wire is cut is not heard either.
    let _ = state.wait_for(|state| *state == State::Open).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}
