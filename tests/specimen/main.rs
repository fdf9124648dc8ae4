//! The service that the process tests look at from outside: one route for each way in which a peer or a handler can
//! be slow, stuck or broken.

mod grpc;
mod http;

use mainstay::{Host, Service};

#[tokio::main]
async fn main() -> mainstay::Result<()> {
    let specimen =
        Service::new("specimen").http(http::routes()).grpc(grpc::echo()).descriptors(grpc::DESCRIPTORS);
    Host::new().service(specimen).run().await
}
