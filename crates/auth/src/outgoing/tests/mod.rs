#![allow(clippy::disallowed_methods, reason = "tests own their tasks")]

mod answers;
mod changed;
mod exchanged;
mod issuer;
mod own;
mod wire;

use std::time::Duration;

use http::HeaderValue;
use mainstay_core::{
    context::{Deadline, RequestContext},
    credentials::{Credential, Credentials},
    error::Kind,
    task::Tasks,
};

use self::issuer::{ISSUER, Script};
use super::{Config, Issuers, Registration, Target, Tokens};
use crate::tests::clock;

fn registration() -> Registration {
    Registration::new(ISSUER, "orders").with_secret("s3cret")
}

/// What `orders` shows.
fn opened(script: &Script, config: &Config) -> Tokens {
    issuers(script, config, &Tasks::new()).of("orders")
}

fn issuers(script: &Script, config: &Config, tasks: &Tasks) -> Issuers<Script> {
    let script = script.clone();
    Issuers::open(config, tasks, clock(), move |_| Ok(script.clone())).unwrap()
}

/// What calls of `orders` to `stock` show.
fn to_stock(script: &Script, target: Target) -> Tokens {
    opened(script, &Config::new(registration()).with_target("stock", target))
}

/// What a call to `stock` shows that has ten seconds.
async fn shown(tokens: &Tokens) -> Result<Option<String>, (Kind, String)> {
    shown_within(tokens, Duration::from_secs(10)).await
}

async fn shown_within(tokens: &Tokens, time: Duration) -> Result<Option<String>, (Kind, String)> {
    let shown = match tokens.credential("stock", Deadline::after(time)) {
        Credential::None => None,
        Credential::Ready(shown) => Some(shown),
        Credential::Awaited(awaited) => awaited.await.map_err(|error| {
            let text = error.to_string();
            (mainstay_core::Error::from_boxed(error).kind(), text)
        })?,
    };
    Ok(shown.map(|shown| {
        assert!(shown.is_sensitive());
        shown.to_str().unwrap().to_owned()
    }))
}

/// What is there without waiting.
fn ready(tokens: &Tokens) -> Option<HeaderValue> {
    match tokens.credential("stock", Deadline::after(Duration::from_secs(10))) {
        Credential::Ready(shown) => Some(shown),
        _ => None,
    }
}

/// Within a request that was let in with `token`.
async fn within<F: Future>(token: &str, work: F) -> F::Output {
    let context = RequestContext::new();
    let authorization = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    context.clone().sync_scope(|| RequestContext::admit(&authorization));
    context.scope(work).await
}
