//! Issuers that are services of this system: asked as services call each other.

use axum::body::{Body, Bytes};
use http::{Request, Response};
use mainstay_auth::{Answered, Services};
use mainstay_client::Client;

/// By this client.
pub(super) struct ByName(pub(super) Client);

impl Services for ByName {
    fn send(&self, service: &str, request: Request<Bytes>, most: usize) -> Answered {
        let (head, body) = request.into_parts();
        let mut builder =
            self.0.request(head.method, format!("http://{service}{}", head.uri)).body(Body::from(body));
        for (name, value) in &head.headers {
            // Whom it is for says the client.
            if name != http::header::HOST {
                builder = builder.header(name, value);
            }
        }
        Box::pin(async move {
            let answer = builder.send().await?.with_max_body(most);
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut whole = Response::new(answer.bytes().await?);
            *whole.status_mut() = status;
            *whole.headers_mut() = headers;
            Ok(whole)
        })
    }
}
