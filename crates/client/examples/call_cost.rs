//! What a call costs in process, and over loopback TCP: `cargo run --release -p mainstay-client --example call_cost`.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures and prints")]

use std::time::Duration;

use axum::{Router, routing::get};
use http::HeaderValue;
use mainstay_client::{Client, discovery::fixed::Fixed};
use mainstay_core::{
    BoxError,
    context::{Deadline, RequestContext},
    credentials::{Credential, Credentials},
    lifecycle::Drain,
    middleware::context::ContextLayer,
    server::{self, Server},
};
use mainstay_discovery::{Endpoint, Protocol};
use tokio::time::Instant;

const CALLS: u32 = 50_000;
const ROUNDS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let router =
        Router::new().route("/items/{id}", get(|| async { "an item" })).layer(ContextLayer::default());

    // On the thread of the caller: what is measured is the work of both sides. And on a thread of its own, as in
    // another process: the time until the answer is here.
    let (here, port) = bind()?;
    let (there, other_port) = bind()?;
    let (_drainer, drain) = Drain::channel();
    let served = router.clone();
    let serving = tokio::spawn(here.serve(move |_| served.clone(), drain.clone()));
    let served = router.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(there.serve(move |_| served.clone(), drain)));

    let fixed = Fixed::new()
        .with("local", [Endpoint::in_process()])?
        .with("tcp", [Endpoint::tcp("127.0.0.1", port)])?
        .with("other", [Endpoint::tcp("127.0.0.1", other_port)])?
        .with("tcp2", [Endpoint::tcp("127.0.0.1", port).with_protocol(Protocol::Http2)])?;
    let client = Client::new(fixed);
    client.locals().insert(&"local".parse()?, router);

    let context = RequestContext::new().with_deadline(Deadline::after(Duration::from_secs(3600)));
    let mut token = HeaderValue::try_from(format!("Bearer {}", "x".repeat(700)))?;
    token.set_sensitive(true);
    let shown = client.clone().with_credentials(Known(token));
    let ways =
        [("local", &client), ("local", &shown), ("tcp", &client), ("tcp2", &client), ("other", &client)];
    let mut least = [Duration::MAX; 5];
    for _ in 0..ROUNDS {
        for ((name, client), least) in ways.into_iter().zip(&mut least) {
            let took = context.clone().scope(measure(client, &format!("http://{name}/items/7"))).await?;
            *least = took.min(*least);
        }
    }
    let [local, shown, tcp, tcp2, other] = least;
    println!("in process      {local:>10.2?} a call");
    println!("with a token    {shown:>10.2?} a call in process, {:.2?} more", shown.saturating_sub(local));
    println!("TCP, HTTP/1.1   {tcp:>10.2?} a call, {:.1} times as much", ratio(tcp, local));
    println!("TCP, HTTP/2     {tcp2:>10.2?} a call, {:.1} times as much", ratio(tcp2, local));
    println!("other thread    {other:>10.2?} a call, {:.1} times as much", ratio(other, local));
    serving.abort();
    Ok(())
}

/// A source whose token is there.
struct Known(HeaderValue);

impl Credentials for Known {
    fn credential(&self, _: &str, _: Deadline) -> Credential {
        Credential::Ready(self.0.clone())
    }

    fn refused(&self, _: &str, _: &HeaderValue) -> bool {
        false
    }
}

fn bind() -> Result<(Server, u16), BoxError> {
    let mut config = server::Config::default();
    config.address = "127.0.0.1:0".parse()?;
    let server = Server::bind(&config)?;
    let port = server.local_addr().map_or(0, |address| address.port());
    Ok((server, port))
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

async fn measure(client: &Client, url: &str) -> Result<Duration, BoxError> {
    let start = Instant::now();
    for _ in 0..CALLS {
        let text = client.get(url).send().await?.error_for_status()?.text().await?;
        if text != "an item" {
            return Err(format!("unexpected answer: {text}").into());
        }
    }
    Ok(start.elapsed() / CALLS)
}
