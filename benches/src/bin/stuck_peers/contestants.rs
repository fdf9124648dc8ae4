//! The servers that are stopped. What they answer is the same, and as naive: no stream looks out for the end.

use std::{convert::Infallible, fs, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, WebSocketUpgrade, ws::WebSocket},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{any, get, post},
};
use futures_util::{StreamExt, stream};
use mainstay::Service;
use mainstay_benches::{ITEM, Items, announce, grpc::items_server::ItemsServer, servers::host};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tonic::{
    service::Routes,
    transport::{ServerTlsConfig, server::TcpIncoming},
};

use super::{
    Result,
    peers::{Kind, Speech},
};

pub(crate) const NAMES: [&str; 3] = ["axum", "tonic", "mainstay"];

/// What ends the answer to the request in flight.
pub(crate) const DONE: &str = "done";

/// Which server of `name` takes part, and what it is spoken to; none where this kind of peer can't be.
pub(crate) fn against(name: &'static str, kind: Kind) -> Option<(&'static str, Speech)> {
    match (name, kind) {
        ("axum", Kind::HalfTlsHello) | ("tonic", Kind::IdleHttp1 | Kind::OpenSse | Kind::OpenWebSocket) => {
            None
        }
        ("tonic", Kind::HalfTlsHello) => Some(("tonic-tls", Speech::Grpc)),
        ("mainstay", Kind::HalfTlsHello) => Some(("mainstay-tls", Speech::Http)),
        ("tonic", _) => Some((name, Speech::Grpc)),
        _ => Some((name, Speech::Http)),
    }
}

/// Serves as `name` until SIGTERM has done its work.
pub(crate) async fn serve(name: &str) -> Result {
    match name {
        "axum" => axum().await,
        "tonic" => tonic(false).await,
        "tonic-tls" => tonic(true).await,
        "mainstay" => mainstay(false).await,
        "mainstay-tls" => mainstay(true).await,
        other => Err(format!("no contestant {other:?}").into()),
    }
}

fn http() -> Router {
    Router::new()
        .route("/item", get(async || Json(ITEM)))
        .route("/slow/{millis}", get(slow))
        .route("/count", post(async |body: Bytes| body.len().to_string()))
        .route("/large", get(large))
        .route("/events", get(events))
        .route("/chat", any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(chat)))
}

fn grpc() -> Routes {
    Routes::new(ItemsServer::new(Items))
}

async fn slow(Path(millis): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(millis)).await;
    DONE
}

/// 64 MiB: more than the kernel's buffers hold.
async fn large() -> Body {
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    Body::from_stream(stream::iter(std::iter::repeat_n(Ok::<_, Infallible>(chunk), 1024)))
}

async fn events() -> Sse<impl futures_util::Stream<Item = std::result::Result<Event, Infallible>>> {
    let first = stream::iter([Ok(Event::default().data("first"))]);
    Sse::new(first.chain(stream::pending())).keep_alive(KeepAlive::default())
}

async fn chat(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

async fn terminated() {
    if let Ok(mut signal) = signal(SignalKind::terminate()) {
        signal.recv().await;
    }
}

async fn axum() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    axum::serve(listener, http().merge(grpc().into_axum_router()))
        .with_graceful_shutdown(terminated())
        .await?;
    Ok(())
}

async fn tonic(tls: bool) -> Result {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    announce(incoming.local_addr()?)?;
    let mut server = tonic::transport::Server::builder();
    if tls {
        let Identity { certificate, key } = identity()?;
        let identity = tonic::transport::Identity::from_pem(certificate, key);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    server.add_routes(grpc()).serve_with_incoming_shutdown(incoming, terminated()).await?;
    Ok(())
}

async fn mainstay(tls: bool) -> Result {
    let service = Service::new("items").http(http()).grpc(ItemsServer::new(Items));
    let mut host = host(service).set("drain.timeout=5s");
    let mut files = Vec::new();
    if tls {
        let Identity { certificate, key } = identity()?;
        for (setting, content) in [("certificate_file", certificate), ("key_file", key)] {
            let name = format!("mainstay-stuck-peers-{}-{setting}.pem", std::process::id());
            let file = std::env::temp_dir().join(name);
            fs::write(&file, content)?;
            host = host.set(format!("server.tls.{setting}={}", file.display()));
            files.push(file);
        }
    }
    let running = host.start().await?;
    for file in files {
        fs::remove_file(file)?;
    }
    announce(running.address().ok_or("no address")?)?;
    terminated().await;
    Ok(running.stop().await?)
}

/// A certificate for this run, and its key, as PEM.
struct Identity {
    certificate: String,
    key: String,
}

fn identity() -> Result<Identity> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    Ok(Identity { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
}
