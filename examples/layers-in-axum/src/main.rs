//! Serves the notes on port 3000.
//!
//! Try `curl -i localhost:3000/notes/1`, `/notes/x`, `/nowhere`, `/report` and `/bug`.

use layers_in_axum::app;
use mainstay_core::middleware::{recover::Panics, shed::Limiter};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(Limiter::default(), Panics::default())).await
}
