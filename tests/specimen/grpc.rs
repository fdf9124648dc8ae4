//! The gRPC service of the specimen.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use mainstay::{Error, context::RequestContext, error::Kind};
use tonic::{Request, Response, Status, Streaming};

use generated::{
    Failure, Number, Range, Words,
    echo_server::{Echo, EchoServer},
};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod generated {
    tonic::include_proto!("mainstay.specimen.v1");
}

/// What reflection tells.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/specimen.bin"));

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) fn echo() -> EchoServer<Specimen> {
    EchoServer::new(Specimen)
}

pub(crate) struct Specimen;

#[tonic::async_trait]
impl Echo for Specimen {
    type CountStream = Items<Number>;
    type ChatStream = Items<Words>;

    async fn say(&self, request: Request<Words>) -> Result<Response<Words>, Status> {
        let words = request.into_inner();
        tokio::time::sleep(Duration::from_millis(words.delay_ms.into())).await;
        Ok(Response::new(words))
    }

    async fn count(&self, request: Request<Range>) -> Result<Response<Self::CountStream>, Status> {
        let Range { to, delay_ms } = request.into_inner();
        let drain = RequestContext::current().unwrap_or_default().drain();
        let delay = Duration::from_millis(delay_ms.into());
        let last = if to == 0 { u64::MAX } else { to };
        let numbers = stream::iter(1..=last).then(move |value| async move {
            tokio::time::sleep(delay).await;
            Ok(Number { value })
        });
        let until = async move { drain.begun().await };
        Ok(Response::new(Box::pin(numbers.take_until(Box::pin(until)))))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
        let mut numbers = request.into_inner();
        let mut value = 0u64;
        while let Some(number) = numbers.message().await? {
            value =
                value.checked_add(number.value).ok_or_else(|| Error::invalid("value", "a sum below 2^64"))?;
        }
        Ok(Response::new(Number { value }))
    }

    async fn chat(&self, request: Request<Streaming<Words>>) -> Result<Response<Self::ChatStream>, Status> {
        let drain = RequestContext::current().unwrap_or_default().drain();
        let until = async move { drain.begun().await };
        Ok(Response::new(Box::pin(request.into_inner().take_until(Box::pin(until)))))
    }

    async fn rest(&self, _: Request<Words>) -> Result<Response<Words>, Status> {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok(Response::new(Words::default()))
    }

    async fn fail(&self, request: Request<Failure>) -> Result<Response<Words>, Status> {
        let slug = request.into_inner().kind;
        assert!(slug != "panic", "the handler panics, with a secret: hunter2");
        let kind = Kind::ALL.iter().copied().find(|kind| kind.slug() == slug);
        let kind = kind.ok_or_else(|| Error::invalid("kind", "the slug of a kind of error"))?;
        Err(Error::new(kind).with_detail("as you asked").into())
    }
}
