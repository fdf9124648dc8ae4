//! A channel for the clients that tonic generates.
//!
//! ```
//! # use mainstay_client::{Client, discovery::fixed::Fixed};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let services = Fixed::new().with("inventory", ["http://127.0.0.1:8082".parse()?])?;
//! let client = Client::new(services);
//! let mut health = HealthClient::new(client.channel("inventory"));
//! let answer = health.check(HealthCheckRequest::default()).await?;
//! # Ok(()) }
//! ```

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, combinators::MapErr};
use mainstay_core::{Body, BoxError, error::Report};
use tonic::{Code, Status};
use tower_service::Service;

use crate::{Client, error::Error};

/// Calls one service over gRPC: a [`GrpcService`](tonic::client::GrpcService), under the same policies as HTTP calls.
/// Cloning is cheap. Failures come as a [`Status`] whose message names the service and the endpoint.
#[derive(Debug, Clone)]
pub struct Channel {
    client: Client,
    service: Arc<str>,
}

/// The body of an answer.
pub type ResponseBody = MapErr<Body, fn(axum::Error) -> Status>;

/// Future of a call.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Status>> + Send>>);

impl Channel {
    pub(crate) fn new(client: Client, service: &str) -> Self {
        Self { client, service: service.into() }
    }
}

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> ResponseFuture {
        let Self { client, service } = self.clone();
        ResponseFuture(Box::pin(async move {
            let mut request = request.map(Body::new);
            // The generated client knows the path only.
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let uri: Uri = format!("http://{service}{path}")
                .parse()
                .map_err(|error: http::uri::InvalidUri| to_status(Error::invalid(&service, error)))?;
            *request.uri_mut() = uri;
            let response = client.send(request).await.map_err(to_status)?;
            Ok(response.map(|body| body.map_err(body_error as fn(axum::Error) -> Status)))
        }))
    }
}

/// The code is that of the error's kind; the message is for the log of this service: it is not sent on to callers.
fn to_status(error: Error) -> Status {
    let message = Report::new(&error).to_string();
    let error = mainstay_core::Error::from(error);
    let mut status = Status::new(Code::from_i32(error.kind().grpc_code()), message);
    status.set_source(Arc::from(error.into_boxed()));
    status
}

fn body_error(error: axum::Error) -> Status {
    let error: BoxError = error.into_inner();
    if mainstay_core::error::find::<mainstay_core::error::mapping::Elapsed>(error.as_ref()).is_some() {
        return Status::deadline_exceeded("the deadline passed");
    }
    // tonic knows the errors of hyper and h2: RST_STREAM codes have their own statuses.
    Status::from_error(error)
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
