//! hyper alone, and `axum::serve`.

use std::convert::Infallible;

use axum::serve::ListenerExt as _;
use http_body_util::Full;
use hyper::{Response, body::Bytes, header::CONTENT_TYPE, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::TcpListener;

use super::{Result, routes};
use crate::{ITEM, announce, until_told};

/// No router; HTTP/1.1 and HTTP/2 told apart by hyper-util.
pub(super) async fn hyper() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            #[allow(clippy::disallowed_methods, reason = "as a plain program does it")]
            tokio::spawn(async move {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new());
                let answer = service_fn(async |_| {
                    let body = Full::new(Bytes::from(serde_json::to_vec(&ITEM)?));
                    Ok::<_, serde_json::Error>({
                        let mut response = Response::new(body);
                        let json = http::HeaderValue::from_static("application/json");
                        response.headers_mut().insert(CONTENT_TYPE, json);
                        response
                    })
                });
                // What goes wrong is the peer's doing.
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    };
    let accept: std::pin::Pin<&mut dyn Future<Output = std::io::Result<Infallible>>> = std::pin::pin!(accept);
    tokio::select! {
        result = accept => Ok(result.map(drop)?),
        () = until_told() => Ok(()),
    }
}

pub(super) async fn axum() -> Result {
    axum_with(routes()).await
}

/// Serves `routes` as a program without a framework does.
pub(super) async fn axum_with(routes: axum::Router) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| {
        // All contestants do it: else the kernel may hold small answers back.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).with_graceful_shutdown(until_told()).await?;
    Ok(())
}
