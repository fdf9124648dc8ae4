//! The smallest service: `cargo run -p hello`, then `curl http://127.0.0.1:8080/`.

use mainstay::{
    Host, Service,
    axum::{Router, routing::get},
};

#[tokio::main]
async fn main() -> mainstay::Result<()> {
    let routes = Router::new().route("/", get(async || "hello, world\n"));
    Host::new().service(Service::new("hello").http(routes)).run().await
}
