//! Serves the greeter on port 50051.

use layers_in_tonic::serve;
use mainstay_core::middleware::{recover::Panics, shed::Limiter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:50051").await?;
    Ok(serve(listener, Limiter::default(), Panics::default()).await?)
}
