//! What every contestant answers: the same small item, as JSON and over gRPC.

use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use serde::Serialize;
use tonic::{Request, Response, Status, Streaming};

/// The generated gRPC code.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod grpc {
    tonic::include_proto!("mainstay.bench.v1");
}

/// A small answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Item {
    id: u32,
    name: &'static str,
    price_cents: u32,
    in_stock: bool,
}

/// The answer.
pub const ITEM: Item = Item { id: 7, name: "a small thing", price_cents: 1299, in_stock: true };

/// The gRPC service.
#[derive(Debug, Clone, Copy)]
pub struct Items;

#[tonic::async_trait]
impl grpc::items_server::Items for Items {
    type TalkStream = Pin<Box<dyn Stream<Item = Result<grpc::Item, Status>> + Send>>;

    async fn show(&self, request: Request<grpc::Wanted>) -> Result<Response<grpc::Item>, Status> {
        let grpc::Wanted { id, delay } = request.into_inner();
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay.into())).await;
        }
        let Item { name, price_cents, in_stock, .. } = ITEM;
        Ok(Response::new(grpc::Item { id, name: name.to_owned(), price_cents, in_stock }))
    }

    async fn talk(
        &self,
        request: Request<Streaming<grpc::Item>>,
    ) -> Result<Response<Self::TalkStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner())))
    }
}
