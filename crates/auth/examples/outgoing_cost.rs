//! What it costs a call to have its token, once that is there.
//!
//! ```text
//! cargo run --release -p mainstay-auth --example outgoing_cost
//! ```
//! Nanoseconds, the median of rounds. With a number as argument it only asks for the own token so often: the difference of two such
//! runs under `valgrind` is what that allocates.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{hint::black_box, time::Duration};

use axum::{Router, routing::post};
use http::HeaderValue;
use mainstay_auth::outgoing::{Config, Outgoing, Registration, Target, Tokens};
use mainstay_core::{
    BoxError,
    context::{Deadline, RequestContext},
    credentials::{Credential, Credentials as _},
    task::Tasks,
};
use tokio::{net::TcpListener, time::Instant};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(150);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let only = std::env::args().nth(1).map(|text| text.parse::<u64>()).transpose()?;
    let (listener, tasks) = (TcpListener::bind("127.0.0.1:0").await?, Tasks::new());
    let issuer = Registration::new("http://127.0.0.1", "orders")
        .with_secret("s3cret")
        .with_token_endpoint(format!("http://{}/token", listener.local_addr()?));
    let token =
        format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600}}"#, "x".repeat(700));
    let routes = Router::new().route("/token", post(move || async move { token }));
    tasks.spawn_detached(async move { axum::serve(listener, routes).await });
    let config = Config::new(issuer)
        .with_target("own", Target::client_credentials("own"))
        .with_target("exchanged", Target::token_exchange("exchanged"))
        .with_target("forwarded", Target::forward());
    let tokens = Outgoing::open(&config, &tasks)?.of("orders");

    let context = RequestContext::new();
    let arrived = HeaderValue::try_from(format!("Bearer {}", "y".repeat(700)))?;
    context.clone().sync_scope(|| RequestContext::admit(&arrived));
    for target in ["own", "exchanged"] {
        if let Credential::Awaited(token) = context.clone().scope(async { ask(&tokens, target) }).await {
            token.await?;
        }
    }
    if let Some(times) = only {
        for _ in 0..times {
            black_box(ask(&tokens, "own"));
        }
        return Ok(());
    }
    for target in ["own", "exchanged", "forwarded", "none"] {
        let median = context.clone().sync_scope(|| median(&tokens, target));
        println!("{target:10} {median:5} ns");
    }
    Ok(())
}

fn ask(tokens: &Tokens, target: &str) -> Credential {
    tokens.credential(black_box(target), Deadline::after(Duration::from_secs(1)))
}

fn median(tokens: &Tokens, target: &str) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < ROUND {
                for _ in 0..64 {
                    assert!(!matches!(black_box(ask(tokens, target)), Credential::Awaited(_)));
                }
                count += 64;
            }
            begin.elapsed().as_nanos() / u128::from(count)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
