//! Posts where it is told to. It is what the tests of W3C Trace Context want of a service: `POST /test` brings a list of
//! URLs and what is to be posted to each, so that a test sees what of its headers comes out at the other side.
//!
//! `cargo run -p trace-forward`; the README says why a service of yours should not be like this.

mod elsewhere;

use std::sync::Arc;

use mainstay::{
    Error, Host, Result, Service, ServiceContext,
    axum::{
        Router,
        body::Bytes,
        extract::State,
        http::{StatusCode, Uri},
        routing::post,
    },
    config::figment::providers::Serialized,
};
use serde::Deserialize;
use serde_json::Value;

use elsewhere::Elsewhere;

/// Of one request. The bytes of it are bounded by `body.max_bytes`, its time by `request.default_timeout`.
const MOST_POSTS: usize = 64;

#[derive(Deserialize)]
struct Post {
    url: String,
    arguments: Value,
}

/// One after the other: the order is a part of what is asked for.
async fn forward(State(elsewhere): State<Arc<Elsewhere>>, body: Bytes) -> Result<StatusCode> {
    // Not by `Json`, which wants a content type.
    let posts: Vec<Post> = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid("body", format_args!("a list of `url` and `arguments`: {error}")))?;
    if posts.len() > MOST_POSTS {
        return Err(Error::invalid("body", format_args!("at most {MOST_POSTS} elements")));
    }
    for (index, Post { url, arguments }) in posts.iter().enumerate() {
        let wrong = |expected: &dyn std::fmt::Display| Error::invalid(format!("[{index}].url"), expected);
        let url: Uri = url.parse().map_err(|_| wrong(&"a URL"))?;
        let place = elsewhere.place(&url).map_err(|unusable| wrong(&unusable))?;
        elsewhere.post(&place, arguments).await?;
    }
    Ok(StatusCode::OK)
}

fn service(context: &ServiceContext) -> Result<Service> {
    let elsewhere = Arc::new(Elsewhere::new(context)?);
    Ok(context.service().http(Router::new().route("/test", post(forward)).with_state(elsewhere)))
}

#[tokio::main]
async fn main() -> Result<()> {
    // It connects wherever it is told to: nobody else should tell it.
    let loopback = Serialized::default("server.address", "127.0.0.1:5000");
    let host = Host::new().load_with(|loader| {
        // The tests of W3C Trace Context have no tokens.
        let for_everybody = Serialized::default("auth.required", false);
        let name = "the default of trace-forward";
        loader.named_source(name, loopback).named_source(name, for_everybody)
    });
    host.service(Service::from_fn("trace-forward", service)).run().await
}
