//! An order of the shop is one connected trace, whatever it is made of.

use std::collections::HashMap;

use serde_json::json;

use super::receiver::{Receiver, SERVER, Span};
use crate::harness::{Process, binary, exchange, shop_token};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Orders at this door, as a caller that records its own part of the trace.
async fn order(door: &Process) {
    let token = shop_token(door.main).await;
    let body = json!({ "items": [{ "sku": "mug", "quantity": 2 }], "payment_token": "tok_visa" }).to_string();
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: vendor=1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(door.main, &request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The service of the nearest span of a request above this one; none for the first.
fn caller<'a>(span: &Span, spans: &HashMap<&str, &'a Span>) -> Option<&'a str> {
    let mut at = *spans.get(&*span.parent)?;
    while at.kind != SERVER {
        at = spans.get(&*at.parent).unwrap_or_else(|| panic!("{} hangs in the air", at.name));
    }
    Some(at.service())
}

fn has_all(spans: &[Span]) -> bool {
    ["gateway", "catalog", "orders", "inventory", "payments"]
        .iter()
        .all(|service| spans.iter().any(|span| span.kind == SERVER && span.service() == *service))
}

fn check(spans: &[Span]) {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (&*span.id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each span has an id of its own, and arrived once");
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent == CALLER).collect();
    let [root] = *roots else { panic!("one span is the caller's child: {roots:#?}") };
    assert_eq!((root.service(), root.kind), ("gateway", SERVER));
    for span in spans {
        assert!(
            span.parent == CALLER || by_id.contains_key(&*span.parent),
            "the parent of {span:#?} is missing"
        );
        assert!(span.start <= span.end && span.scope == "mainstay", "{span:#?}");
        assert!(span.flags & 0x101 == 0x101, "sampled, and whether the parent is remote is known: {span:#?}");
    }
    let requests = spans.iter().filter(|span| span.kind == SERVER);
    let mut calls: Vec<_> =
        requests.map(|span| (caller(span, &by_id).unwrap_or("-"), span.service(), &*span.name)).collect();
    calls.sort_unstable();
    // A payment that failed on purpose is tried again.
    calls.dedup();
    let expected = [
        ("gateway", "orders", "POST /orders"),
        ("orders", "catalog", "GET /products/{sku}"),
        ("orders", "inventory", "shop.inventory.v1.Inventory/Reserve"),
        ("orders", "payments", "PUT /payments/{id}"),
    ];
    let found: Vec<_> = expected.iter().filter(|call| !calls.contains(call)).collect();
    assert!(found.is_empty(), "missing: {found:#?} in {calls:#?}");
    let orders = spans.iter().find(|span| span.service() == "orders" && span.kind == SERVER).unwrap();
    assert_eq!(orders.attributes["http.response.status_code"], 201);
    assert_eq!(orders.attributes["http.route"], "/orders");
    assert_eq!(orders.status, 0, "{orders:#?}");
    for attribute in ["service.instance.id", "host.name", "process.pid", "process.runtime.version"] {
        assert!(orders.resource.contains_key(attribute), "{attribute}: {:#?}", orders.resource);
    }
    assert_eq!(orders.resource["deployment.environment.name"], "tests");
}

/// What every process of the shop is told.
fn told(receiver: &Receiver, protocol: &str) -> Vec<String> {
    let endpoint = format!("otlp.endpoint=http://127.0.0.1:{}", receiver.port);
    let settings = [
        endpoint.as_str(),
        &format!("otlp.protocol={protocol}"),
        "otlp.interval=200ms",
        "otlp.compression=gzip",
        "app.payments.failure_rate=0.0",
        "resource.\"deployment.environment.name\"=tests",
    ];
    settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect()
}

async fn started(arguments: &[String], more: &[&str]) -> Process {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Process::start(&binary("shop"), &arguments).await
}

#[tokio::test]
async fn an_order_is_one_trace_through_one_process_over_grpc() {
    let receiver = Receiver::start("grpc", 0).await;
    let mut shop = started(&told(&receiver, "grpc"), &[]).await;
    order(&shop).await;
    check(&receiver.trace(TRACE, has_all).await);
    shop.terminate().await;
    assert!(shop.ended().await.success());
}

#[tokio::test]
async fn an_order_is_one_trace_through_several_processes_over_http() {
    let receiver = Receiver::start("http", 0).await;
    // Longer than the test: what arrives is sent at the end.
    let mut told = told(&receiver, "http/protobuf");
    told.extend(["--set".to_owned(), "otlp.interval=1h".to_owned()]);
    let at = |service: &str, process: &Process| {
        format!("discovery.static.{service}=[\"http://{}\"]", process.main)
    };
    let identity = started(&told, &["--services", "identity"]).await;
    told.extend(["--set".to_owned(), at("identity", &identity)]);
    let catalog = started(&told, &["--services", "catalog"]).await;
    let inventory = started(&told, &["--services", "inventory"]).await;
    let payments = started(&told, &["--services", "payments"]).await;
    let places = [at("catalog", &catalog), at("inventory", &inventory), at("payments", &payments)];
    let found: Vec<&str> = places.iter().flat_map(|place| ["--set", place]).collect();
    let orders = started(&told, &[&["--services", "orders"], &found[..]].concat()).await;
    let to_orders = at("orders", &orders);
    let door = [&["--services", "gateway", "--set", &to_orders], &found[..]].concat();
    let gateway = started(&told, &door).await;
    order(&gateway).await;
    for mut process in [gateway, orders, catalog, inventory, payments, identity] {
        process.terminate().await;
        assert!(process.ended().await.success(), "{}", process.log().text());
    }
    check(&receiver.trace(TRACE, has_all).await);
}
