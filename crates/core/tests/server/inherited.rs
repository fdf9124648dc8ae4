//! A socket handed over by the service manager: what `sd_listen_fds(3)` describes, done by a shell.

use std::{os::fd::OwnedFd, process::Stdio};

use axum::{Router, routing::get as on_get};
use mainstay_core::server::Server;
use tokio::net::TcpStream;

use crate::support::{Peer, config, get, start, within};

/// Set where this program runs as the service.
const CHILD: &str = "MAINSTAY_TEST_INHERITS";

#[tokio::test]
async fn a_socket_of_the_service_manager_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = std::env::temp_dir().join(format!("mainstay-inherited-{}.sock", std::process::id()));
    let local = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let child = std::process::Command::new("sh")
        .arg("-c")
        .arg(
            "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_PID=$$; LISTEN_FDS=2; LISTEN_FDNAMES=main:local; \
             export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; exec \"$0\" --exact inherited::the_service",
        )
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .stdin(OwnedFd::from(listener))
        .stdout(OwnedFd::from(local))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peer = Peer { stream: within(TcpStream::connect(address)).await.unwrap() };
    peer.send(get("/")).await;
    let answer = peer.answer().await;
    assert_eq!(answer.text(), "inherited");
    let output =
        within(tokio::task::spawn_blocking(move || child.wait_with_output())).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_service() {
    if std::env::var_os(CHILD).is_none() {
        // Without a service manager the message says so.
        let mut config = config();
        config.address = "systemd".parse().unwrap();
        let error = Server::bind(&config).unwrap_err().to_string();
        assert!(error.contains("server.address") && error.contains("LISTEN_FDS"), "{error}");
        return;
    }
    let mut config = config();
    config.address = "systemd:other".parse().unwrap();
    let error = Server::bind(&config).unwrap_err().to_string();
    assert!(error.contains("only: main, local"), "{error}");
    // What it is can only be seen when it is there: nobody is to take plain text for TLS.
    #[cfg(feature = "tls")]
    {
        let (_authority, mut config) = crate::tls::usable("inherited");
        config.address = "systemd:local".parse().unwrap();
        let error = Server::bind(&config).unwrap_err().to_string();
        assert!(error.contains("TLS isn't spoken on Unix sockets"), "{error}");
    }
    config.address = "systemd:main".parse().unwrap();
    let (sender, mut asked) = tokio::sync::mpsc::channel(1);
    let server = start(
        &config,
        Router::new().route(
            "/",
            on_get(move || async move {
                sender.send(()).await.unwrap();
                "inherited"
            }),
        ),
    );
    assert!(Server::bind(&config).is_err(), "it is taken");
    within(asked.recv()).await;
    server.stop().await;
}
