//! The layers of Mainstay in a plain tonic program: no host, no `mainstay` facade, tonic's server as ever.

use std::time::Duration;

use mainstay_core::{
    Error,
    middleware::{
        body_limit::BodyLimitLayer,
        context::ContextLayer,
        deadline::DeadlineLayer,
        recover::{Panics, RecoverLayer},
        shed::{Limiter, ShedLayer},
    },
};
use tonic::{Request, Response, Status, transport::Server};

/// The generated code.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("greeter.v1");
}

use v1::{GreetRequest, GreetResponse, greeter_server};

#[derive(Debug)]
struct Greeter;

#[tonic::async_trait]
impl greeter_server::Greeter for Greeter {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        let name = request.into_inner().name;
        match name.as_str() {
            "" => Err(Error::invalid("name", "a name").into()),
            "nobody" => panic!("a bug, to show what becomes of it"),
            "sloth" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Err(Status::internal("awake at last"))
            }
            _ => Ok(Response::new(GreetResponse { text: format!("hello, {name}") })),
        }
    }
}

/// Serves the greeter on `listener`, with the layers around it. tonic puts the layer that is added first outermost.
///
/// # Errors
/// tonic's, when it can't serve.
///
/// # Cancel safety
/// Dropping it closes the listener; connections that are open live on.
pub async fn serve(
    listener: tokio::net::TcpListener,
    limiter: Limiter,
    panics: Panics,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .layer(ContextLayer::default())
        .layer(RecoverLayer::new(panics))
        .layer(DeadlineLayer::new())
        .layer(ShedLayer::new(limiter))
        .layer(BodyLimitLayer::new(64 * 1024))
        .add_service(greeter_server::GreeterServer::new(Greeter))
        .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener))
        .await
}
