use http_body_util::BodyExt;
use tonic::{Code, Request, codegen::http::uri::PathAndQuery};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_prost::ProstCodec;
use tower::ServiceExt;

use super::{
    health::{HealthListRequest, HealthListResponse},
    *,
};
use crate::{
    Body,
    health::{Check, Registry, ServiceStatus},
};

fn name(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.to_owned() })
}

fn client(registry: &Registry) -> HealthClient<Health> {
    HealthClient::new(Health::new(registry.clone()))
}

async fn list(registry: &Registry) -> Vec<(String, ServingStatus)> {
    let mut grpc = tonic::client::Grpc::new(Health::new(registry.clone()));
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/List");
    let codec = ProstCodec::<HealthListRequest, HealthListResponse>::default();
    let response = grpc.unary(Request::new(HealthListRequest {}), path, codec).await.unwrap();
    let statuses = response.into_inner().statuses.into_iter();
    let mut statuses: Vec<_> = statuses.map(|(name, response)| (name, response.status())).collect();
    statuses.sort();
    statuses
}

#[tokio::test(start_paused = true)]
async fn check_answers_for_the_process_and_each_service_and_knows_no_others() {
    let registry = Registry::new();
    registry.add_service("shop.Inventory");
    let mut client = client(&registry);
    assert_eq!(client.check(name("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    registry.start();
    assert_eq!(client.check(name("")).await.unwrap().into_inner().status(), ServingStatus::Serving);
    let service = client.check(name("shop.Inventory")).await.unwrap().into_inner().status();
    assert_eq!(service, ServingStatus::Serving);
    assert_eq!(client.check(name("shop.Nothing")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_check_made_for_a_service_fails_that_service_alone() {
    let registry = Registry::new();
    registry.add_service("shop.Inventory");
    registry.add_service("shop.Orders");
    let fails = || async { Err(std::io::Error::other("no stock file").into()) };
    registry.register(Check::readiness("stock", fails).for_service("shop.Inventory"));
    registry.start();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let expected = [
        (String::new(), ServingStatus::Serving),
        ("shop.Inventory".to_owned(), ServingStatus::NotServing),
        ("shop.Orders".to_owned(), ServingStatus::Serving),
    ];
    assert_eq!(list(&registry).await, expected);
    assert!(registry.is_ready());
    registry.drain();
    assert!(list(&registry).await.iter().all(|(_, status)| *status == ServingStatus::NotServing));
}

#[tokio::test(start_paused = true)]
async fn watch_of_an_unknown_service_stays_open_and_tells_when_it_comes_and_goes() {
    let registry = Registry::new();
    registry.start();
    let mut watch = client(&registry).watch(name("shop.Late")).await.unwrap().into_inner();
    let mut next = async || Some(watch.message().await.unwrap()?.status());
    assert_eq!(next().await, Some(ServingStatus::ServiceUnknown));
    registry.add_service("shop.Other");
    registry.add_service("shop.Late");
    assert_eq!(next().await, Some(ServingStatus::Serving));
    registry.set_service("shop.Late", ServiceStatus::NotServing);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    registry.set_service("shop.Late", ServiceStatus::Serving);
    assert_eq!(next().await, Some(ServingStatus::Serving));
    registry.drain();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    registry.close();
    assert_eq!(next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_sees_drain_and_close_together_says_not_serving_before_it_ends() {
    let registry = Registry::new();
    registry.start();
    let mut watch = client(&registry).watch(name("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    registry.drain();
    registry.close();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_a_long_name_is_refused() {
    let request = http::Request::post("/grpc.health.v1.Health/Nothing").body(Body::empty()).unwrap();
    let response = Health::new(Registry::new()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
    let error = client(&Registry::new()).check(name(&"x".repeat(9000))).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
}

#[tokio::test]
async fn reflection_lists_health_with_its_three_methods_in_both_versions() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let router = reflection([]).unwrap();
    let ask = async |message: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let requests = futures_util::stream::iter([request]);
        let mut client = ServerReflectionClient::new(router.clone());
        let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(services) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("another answer")
    };
    let names: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(
        names.contains(&"grpc.health.v1.Health") && names.contains(&"grpc.reflection.v1.ServerReflection")
    );
    for method in ["Check", "Watch", "List"] {
        let symbol = format!("grpc.health.v1.Health.{method}");
        let answer = ask(MessageRequest::FileContainingSymbol(symbol)).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{method}: {answer:?}");
    }
    let old =
        http::Request::post("/grpc.reflection.v1alpha.ServerReflection/Nothing").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(old).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[test]
fn a_set_that_is_none_is_refused() {
    assert!(reflection([&b"not a descriptor"[..]]).is_err());
}
