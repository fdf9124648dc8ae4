use axum::{Router, routing::get};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Body,
    context::{Criticality, RequestContext},
    lifecycle::{Drain, Phase},
    middleware::probe,
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The context that the handler saw, and the response.
async fn seen_with(
    layer: ContextLayer,
    headers: &[(&str, &str)],
) -> (Option<RequestContext>, http::Response<Body>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let handler = move |extracted: RequestContext| async move {
        let current = RequestContext::current().unwrap();
        assert_eq!(extracted.trace().trace_id(), current.trace().trace_id());
        sender.send(extracted).await.unwrap();
    };
    let app = Router::new().route("/", get(handler)).layer(layer);
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (receiver.try_recv().ok(), response)
}

async fn seen(headers: &[(&str, &str)]) -> RequestContext {
    seen_with(ContextLayer::default(), headers).await.0.unwrap()
}

#[tokio::test]
async fn keeps_the_contract_of_a_layer() {
    probe::check(ContextLayer::default()).await;
}

#[tokio::test]
async fn a_well_formed_request_id_is_kept_and_echoed_another_is_replaced() {
    let (context, response) = seen_with(ContextLayer::default(), &[("x-request-id", "abc-1")]).await;
    assert_eq!(context.unwrap().request_id().to_string(), "abc-1");
    assert_eq!(response.headers()["x-request-id"], "abc-1");

    let (context, response) = seen_with(ContextLayer::default(), &[("x-request-id", "a b")]).await;
    let context = context.unwrap();
    assert_eq!(context.request_id().to_string(), context.trace().trace_id().to_string());
    assert_eq!(response.headers()["x-request-id"], context.trace().trace_id().to_string());

    let (_, response) =
        seen_with(ContextLayer::default(), &[("x-request-id", "one"), ("x-request-id", "two")]).await;
    assert_eq!(response.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn a_trace_is_continued_with_its_state_and_baggage() {
    let headers = [("traceparent", TRACE), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "k=v")];
    let context = seen(&headers).await;
    assert_eq!(context.trace().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(context.trace().is_sampled());
    assert_eq!(context.tracestate().unwrap(), "a=1,b=2");
    assert_eq!(context.baggage().unwrap(), "k=v");
}

#[tokio::test]
async fn a_malformed_or_repeated_traceparent_starts_a_new_trace_without_state() {
    for headers in [
        vec![("traceparent", "00-xyz"), ("tracestate", "a=1")],
        vec![("traceparent", TRACE), ("traceparent", TRACE), ("tracestate", "a=1")],
        vec![("tracestate", "a=1")],
    ] {
        let context = seen(&headers).await;
        assert_ne!(context.trace().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.tracestate().is_none(), "{headers:?}");
    }
}

#[tokio::test]
async fn an_invalid_tracestate_is_dropped_and_the_trace_kept() {
    let many = (0..33).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
    for state in ["noequals", "A=1", "a=", "=1", "@a=1", many.as_str()] {
        let context = seen(&[("traceparent", TRACE), ("tracestate", "b=1"), ("tracestate", state)]).await;
        assert_eq!(context.trace().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.tracestate().is_none(), "{state}");
    }
}

#[tokio::test]
async fn the_lines_of_a_tracestate_are_one_list_in_their_order() {
    for (lines, expected) in [
        (&["a=1,b=2", "c=3", "d=4"][..], "a=1,b=2,c=3,d=4"),
        (&["a=1", ""], "a=1"),
        (&["", "a=1", " "], "a=1"),
        (&["a=1", "b=2,a=3"], "a=1,b=2"),
    ] {
        let lines = lines.iter().map(|line| ("tracestate", *line));
        let headers: Vec<_> = [("traceparent", TRACE)].into_iter().chain(lines).collect();
        assert_eq!(seen(&headers).await.tracestate().unwrap(), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn the_limits_of_baggage_hold_for_all_lines_together() {
    let half = vec!["k=v"; 40].join(",");
    let context = seen(&[("baggage", &half), ("baggage", "malformed"), ("baggage", &half)]).await;
    assert_eq!(context.baggage().unwrap(), vec!["k=v"; 64].join(",").as_str());
    assert!(seen(&[("baggage", ""), ("baggage", "malformed")]).await.baggage().is_none());
}

#[tokio::test]
async fn what_strangers_say_of_trace_and_baggage_is_not_passed_on() {
    let headers =
        [("x-request-id", "abc-1"), ("traceparent", TRACE), ("tracestate", "a=1"), ("baggage", "user=7")];
    let layer = ContextLayer::new(Config { trust_ids: false, ..Config::default() });
    let context = seen_with(layer, &headers).await.0.unwrap();
    let trace = context.trace();
    assert_ne!(trace.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    // A new trace is one in all of its fields (section 3.4, "restart trace").
    assert_eq!((trace.parent(), trace.is_sampled(), trace.is_random()), (None, false, true));
    assert!(context.tracestate().is_none() && context.baggage().is_none());
    assert_eq!(context.request_id().to_string(), trace.trace_id().to_string());
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_that_arrives_holds_and_is_explicit() {
    let deadline = seen(&[("x-request-timeout", "2S"), ("grpc-timeout", "1S")]).await.deadline().unwrap();
    assert!(deadline.is_explicit());
    assert_eq!(deadline.remaining(), std::time::Duration::from_secs(1));
    let longest = seen(&[("x-request-timeout", "99999999H")]).await.deadline().unwrap();
    assert_eq!(longest.remaining(), std::time::Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_the_default_holds() {
    let deadline = seen(&[]).await.deadline().unwrap();
    assert!(!deadline.is_explicit());
    assert_eq!(deadline.remaining(), std::time::Duration::from_secs(30));
    let none =
        ContextLayer::new(Config { default_timeout: crate::config::Duration::ZERO, ..Config::default() });
    assert!(seen_with(none, &[]).await.0.unwrap().deadline().is_none());
}

#[tokio::test]
async fn a_malformed_timeout_is_refused_and_named() {
    for headers in [
        vec![("x-request-id", "id-7"), ("x-request-timeout", "5")],
        vec![("x-request-id", "id-7"), ("x-request-timeout", "5S"), ("x-request-timeout", "5S")],
    ] {
        let (context, response) = seen_with(ContextLayer::default(), &headers).await;
        assert!(context.is_none(), "the handler ran");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()["x-request-id"], "id-7");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["errors"][0]["field"], "x-request-timeout");
        assert_eq!(problem["instance"], "urn:mainstay:request:id-7");
    }
    let grpc = Request::post("/").header("content-type", "application/grpc").header("grpc-timeout", "soon");
    let app = ContextLayer::default().layer(Router::new());
    let response = app.oneshot(grpc.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "3");
}

#[tokio::test]
async fn priority_is_read_where_it_is_trusted() {
    let headers =
        [("x-request-criticality", "sheddable"), ("x-request-attempt", "3"), ("traceparent", TRACE)];
    let context = seen(&headers).await;
    assert_eq!((context.criticality(), context.attempt()), (Criticality::Sheddable, 3));
    let strangers = Config { trust_ids: false, trust_priority: false, ..Config::default() };
    let context = seen_with(ContextLayer::new(strangers), &headers).await.0.unwrap();
    assert_eq!((context.criticality(), context.attempt()), (Criticality::Critical, 0));
    assert_ne!(context.trace().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn the_drain_of_the_host_reaches_the_handler() {
    let (drainer, drain) = Drain::channel();
    drainer.advance(Phase::Announced);
    let layer = ContextLayer::default().with_ambient(Ambient::new(drain));
    assert!(seen_with(layer, &[]).await.0.unwrap().drain().has_begun());
}

#[tokio::test]
async fn the_context_is_current_while_the_body_is_sent() {
    let stream = || async {
        let stream = futures_util::stream::once(async {
            let context = RequestContext::current().expect("no context in the body");
            Ok::<_, std::convert::Infallible>(context.request_id().to_string())
        });
        Body::from_stream(stream)
    };
    let app = Router::new().route("/", get(stream)).layer(ContextLayer::default());
    let request = Request::builder().header("x-request-id", "id-9").body(Body::empty()).unwrap();
    let body = app.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "id-9");
}

#[tokio::test]
async fn the_context_is_current_in_the_synchronous_part_of_a_service() {
    let service = tower::service_fn(|_: Request<Body>| {
        let current = RequestContext::current().is_some();
        async move { Ok::<_, std::convert::Infallible>(Response::new(Body::from(current.to_string()))) }
    });
    let service = ContextLayer::default().layer(service);
    let body = service.oneshot(Request::new(Body::empty())).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "true");
}
