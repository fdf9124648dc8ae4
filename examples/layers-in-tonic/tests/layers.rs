//! What a caller of the example sees.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test is its own owner")]

use layers_in_tonic::{
    serve,
    v1::{GreetRequest, greeter_client::GreeterClient},
};
use mainstay_core::middleware::{recover::Panics, shed::Limiter};
use tonic::{Code, Request, transport::Endpoint};

#[tokio::test]
async fn what_goes_wrong_is_a_status() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let panics = Panics::default();
    let server = tokio::spawn(serve(listener, Limiter::default(), panics.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = GreeterClient::new(channel);
    let request = |name: &str| Request::new(GreetRequest { name: name.to_owned() });

    let answer = client.greet(request("you")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap().len(), 32);
    assert_eq!(answer.into_inner().text, "hello, you");

    // `grpc-timeout` is enforced by tonic's client too, which may be the first to see it pass.
    let mut late = request("sloth");
    late.metadata_mut().insert("x-request-timeout", "50m".parse().unwrap());
    for (request, code) in [
        (request(""), Code::InvalidArgument),
        (request("nobody"), Code::Internal),
        (request(&"x".repeat(65 * 1024)), Code::ResourceExhausted),
        (late, Code::DeadlineExceeded),
    ] {
        let status = client.greet(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    assert_eq!(panics.count(), 1);
    server.abort();
}
