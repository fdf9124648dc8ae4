//! The routes of the specimen.

use std::{convert::Infallible, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use mainstay::{
    Client, Error, Result,
    auth::Require,
    axum::{
        Json, Router,
        body::{Body, Bytes},
        extract::{
            Query,
            ws::{Message, WebSocket, WebSocketUpgrade},
        },
        response::{
            Response,
            sse::{Event, Sse},
        },
        routing::{get, post},
    },
    lifecycle::Drain,
};
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::IntervalStream;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/scoped", get(async || "let in").layer(Require::scope("specimen:write")))
        .route("/slow", get(slow))
        .route("/never", get(async || std::future::pending::<()>().await))
        .route("/panic", get(panics))
        .route("/fault", get(fault))
        .route("/lost", get(lost))
        .route("/call", get(call).post(call_post))
        .route("/half", get(half))
        .route("/large", get(large))
        .route("/endless", get(endless))
        .route("/orders", post(order))
        .route("/echo", post(async |body: Body| body))
        .route("/count", post(async |body: Bytes| body.len().to_string()))
        .route("/events", get(events))
        .route(
            "/chat",
            get(async |upgrade: WebSocketUpgrade, drain: Drain| upgrade.on_upgrade(|ws| chat(ws, drain))),
        )
}

/// For everybody, also where tokens are wanted.
pub(crate) fn public() -> Router {
    Router::new().route("/public", get(async || "for everybody"))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "slow"
}

async fn panics() -> &'static str {
    panic!("the handler panics, with a secret: hunter2");
}

/// A fault with internals that no caller may see.
async fn fault() -> Result<String> {
    Ok(std::fs::read_to_string("/no/such/file/hunter2")?)
}

/// Needs a service that is nowhere.
async fn lost(client: Client) -> Result<String> {
    Ok(client.get("http://nowhere/").send().await?.text().await?)
}

/// Calls another service, which the configuration places.
async fn call(client: Client) -> Result<String> {
    Ok(client.get("http://dependency/items").send().await?.error_for_status()?.text().await?)
}

async fn call_post(client: Client) -> Result<String> {
    Ok(client.post("http://dependency/items").send().await?.error_for_status()?.text().await?)
}

/// Half an answer, then an error.
async fn half() -> Response {
    let parts: [Result<&str, std::io::Error>; 2] = [Ok("half"), Err(std::io::Error::other("no more"))];
    Response::new(Body::from_stream(stream::iter(parts)))
}

/// More than any socket buffers.
async fn large() -> Response {
    let block = Bytes::from(vec![b'x'; 1 << 16]);
    let blocks = stream::repeat_with(move || Ok::<_, Infallible>(block.clone())).take(16_384);
    Response::new(Body::from_stream(blocks))
}

/// Never ends, and heeds no drain.
async fn endless() -> Response {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(50)));
    Response::new(Body::from_stream(ticks.map(|_| Ok::<_, Infallible>("tick\n"))))
}

#[derive(Deserialize, Serialize)]
struct Order {
    item: String,
    quantity: u32,
}

async fn order(Json(order): Json<Order>) -> Result<Json<Order>> {
    if order.quantity == 0 {
        return Err(Error::invalid("quantity", "at least 1"));
    }
    Ok(Json(order))
}

/// Counts, until the service drains; says good-bye.
async fn events(drain: Drain) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(50)));
    let numbers = ticks.enumerate().map(|(number, _)| Event::default().data(number.to_string()));
    let good_bye = stream::once(async { Event::default().event("good-bye").data("draining") });
    let until = async move { drain.begun().await };
    Sse::new(numbers.take_until(Box::pin(until)).chain(good_bye).map(Ok))
}

async fn chat(mut socket: WebSocket, drain: Drain) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = drain.begun() => break,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
    // The peer may be gone by now: then there is nobody to take leave of.
    let _ = socket.send(Message::Close(None)).await;
}
