//! The same questions to the shop in every shape: statuses, header fields and bodies of the answers are the same too.

use std::collections::BTreeMap;

use mainstay::{axum::http::Method, tonic::Status};
use serde_json::{Value, json};

use crate::{
    moving::ask_with,
    proto::{GetStockRequest, ReserveRequest},
    shop::{Answer, Customer, Shape, Shop},
    suite::LUCKY,
};

/// What is another one each time, in header fields and bodies. Whether it is there, is compared.
const VARYING: [&str; 9] = [
    "date",
    "location",
    "x-request-id",
    "traceresponse",
    "id",
    "trace_id",
    "placed_at",
    "created_at",
    "instance",
];

/// What the shop says, with what varies by nature taken out.
#[derive(Default)]
struct Transcript(Vec<(String, Value)>);

impl Transcript {
    async fn ask(
        &mut self,
        shop: &Customer,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) {
        let what = format!("{method} {path} {fields:?} {:.100}", body);
        let answer = shop.call_with(method, path, fields, body).await;
        self.0.push((what, seen(&answer)));
    }

    fn told(&mut self, what: &str, told: Result<impl std::fmt::Debug, Status>) {
        let seen = match told {
            Ok(message) => json!({ "ok": format!("{message:?}") }),
            Err(status) => json!({
                "code": format!("{:?}", status.code()),
                "message": status.message(),
                // Ids of the request are among the details: how many bytes they have is the same.
                "details": status.details().len(),
                "metadata": head(&status.metadata().clone().into_headers()),
            }),
        };
        self.0.push((what.to_owned(), seen));
    }
}

fn seen(answer: &Answer) -> Value {
    let mut body = answer.json.clone();
    forget_varying(&mut body);
    json!({ "status": answer.status, "head": head(&answer.head), "body": body })
}

fn head(fields: &mainstay::axum::http::HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut head = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in fields {
        let value = if VARYING.contains(&name.as_str()) { "varies" } else { value.to_str().unwrap() };
        head.entry(name.to_string()).or_default().push(value.to_owned());
    }
    head
}

fn forget_varying(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                match VARYING.contains(&name.as_str()) && !value.is_null() {
                    true => *value = json!("varies"),
                    false => forget_varying(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(forget_varying),
        _ => {}
    }
}

/// A request: its method, path, header fields and body.
type Case<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str);

/// One customer, one request after the other.
async fn transcript(shape: Shape) -> Vec<(String, Value)> {
    // Longer than the request that has a deadline waits.
    let shop = Shop::open(shape, &[LUCKY, ("app.payments.delay", "250ms")]);
    let mut said = Transcript::default();
    let two = json!({"items": [{"sku": "globe", "quantity": 2}], "payment_token": "tok_visa"}).to_string();
    let declined = two.replace("tok_visa", "tok_declined").replace("globe", "mug");
    let large = format!(r#"{{"items": [], "payment_token": "{}"}}"#, "x".repeat(3 << 20));
    let cases: [Case<'_>; 19] = [
        (Method::GET, "/products", &[], ""),
        (Method::HEAD, "/products", &[], ""),
        (Method::GET, "/products/mug", &[("x-request-id", "the-customers-own")], ""),
        (Method::GET, "/products/ghost", &[], ""),
        (Method::GET, "/products/%2e%2e/orders", &[], ""),
        (Method::OPTIONS, "/products", &[], ""),
        (Method::DELETE, "/products", &[], ""),
        (Method::PUT, "/orders", &[], "{}"),
        (Method::GET, "/nowhere", &[], ""),
        (Method::GET, "/orders", &[], ""),
        (Method::GET, "/orders?limit=1000", &[], ""),
        (Method::GET, "/orders?limit=two", &[], ""),
        (Method::POST, "/orders", &[], "{"),
        (Method::POST, "/orders", &[], r#"{"items": [], "payment_token": ""}"#),
        (Method::POST, "/orders", &[("content-type", "text/plain")], &two),
        (Method::POST, "/orders", &[], &two),
        (Method::POST, "/orders", &[], &two),
        (Method::POST, "/orders", &[], &declined),
        (Method::GET, "/orders?limit=1", &[], ""),
    ];
    for (method, path, fields, body) in cases {
        said.ask(&shop, method, path, fields, body).await;
    }
    // Two services refuse it: which of them is first, is chance.
    let answer = shop.call(Method::POST, "/orders", large).await;
    answer.is_problem(413, "");
    said.0.push(("too large an order".to_owned(), answer.json["type"].clone()));

    let mut inventory = shop.inventory();
    let stock = |skus: &[&str]| GetStockRequest { skus: skus.iter().map(ToString::to_string).collect() };
    for skus in [&[][..], &["globe"], &["ghost"]] {
        let told = inventory.get_stock(stock(skus)).await;
        let told = told.map(|answer| (head(&answer.metadata().clone().into_headers()), answer.into_inner()));
        said.told(&format!("stock of {skus:?}"), told);
    }
    // Only orders may change the stock: the gateway has no such route.
    said.told("reserve", inventory.reserve(ReserveRequest::default()).await.map(tonic_inner));

    // Without the customer's own client, which would give up by itself. How far the order got, is chance.
    let lines = format!("x-request-timeout: 100m\r\nauthorization: Bearer {}\r\n", shop.token().await);
    let hasty = ask_with(shop.door, "POST", "/orders", "application/json", &lines, &declined).await.unwrap();
    let is_problem = hasty.1.contains("content-type: application/problem+json");
    said.0.push(("an order without time".to_owned(), json!({ "status": hasty.0, "is_problem": is_problem })));
    shop.close();
    said.0
}

fn tonic_inner<T>(response: mainstay::tonic::Response<T>) -> T {
    response.into_inner()
}

#[tokio::test]
async fn the_answers_are_the_same_in_every_shape() {
    let one = transcript(Shape::One).await;
    let statuses: Vec<_> = one.iter().map(|(_, answer)| answer["status"].as_u64().unwrap_or(0)).collect();
    assert!(
        [200, 201, 400, 404, 405, 409, 415, 422, 504].iter().all(|status| statuses.contains(status)),
        "{one:#?}"
    );
    let mut differences = Vec::new();
    for shape in [Shape::Wire, Shape::Four] {
        let other = transcript(shape).await;
        assert_eq!(one.len(), other.len());
        let both = one.iter().zip(other).filter(|((_, one), (_, other))| one != other);
        differences.extend(both.map(|((what, one), (_, other))| {
            format!("{what}\n  as {:?}: {one}\n  as {shape:?}: {other}", Shape::One)
        }));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
