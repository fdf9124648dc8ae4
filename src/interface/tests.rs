use axum::routing::{any, get, post};
use mainstay_client::Operation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{Host, HostError, Service, config::Loader};

fn described(paths: &Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths})
}

fn host(service: Service) -> Host {
    let load = |_: Loader| {
        Loader::new()
            .directory("/nonexistent")
            .set("server.address=127.0.0.1:0")
            .set("admin.address=127.0.0.1:0")
    };
    let host = Host::new().load_with(load).set("drain.delay=0s").service(service);
    if cfg!(feature = "auth") { host.set("auth.required=false") } else { host }
}

fn complete(router: &Router, paths: &Value) -> Result<Option<Document>, Misdescribed> {
    let mut given = Given::default();
    given.add(Document::new(described(paths)));
    given.complete("stock", router, &mut Router::new())
}

fn differences(router: &Router, paths: &Value) -> String {
    match complete(router, paths).unwrap_err() {
        Misdescribed::Routes(differences) => differences.to_string(),
        error => panic!("{error:?}"),
    }
}

#[test]
fn what_is_in_description_or_routes_only_is_named() {
    let items = json!({"get": {}});
    let router = Router::new()
        .route("/items/{id}", get(async || "").put(async || ""))
        .route("/hidden", post(async || ""))
        .route("/all", any(async || ""))
        .layer(axum::middleware::map_response(async |answer: axum::response::Response| answer));
    let told = differences(&router, &json!({"/items/{sku}": items, "/gone": {"get": {}, "delete": {}}}));
    let expected = "DELETE /gone, GET /gone described and not routed; /all, POST /hidden, PUT /items/{id} routed and not described";
    assert_eq!(told, expected);
    let all = json!({"/items/{id}": {"get": {}, "head": {}, "put": {}}, "/hidden": {"post": {}}, "/all": {"patch": {}}});
    assert!(complete(&router, &all).is_ok());
}

#[test]
fn routes_are_seen_through_nesting_and_odd_names_and_what_is_below_a_wildcard_is_not_judged() {
    let inner = Router::new().route("/in/{a}", get(async || "")).route(r#"/"quoted\"#, get(async || ""));
    let router: Router = Router::new()
        .nest("/sub", inner)
        .nest_service("/other", Router::<()>::new())
        .route("/files/{*path}", get(async || ""))
        .fallback(async || "none");
    let paths = json!({"/sub/in/{a}": {"get": {}}, r#"/sub/"quoted\"#: {"get": {}}, "/files/x/y": {"get": {}}, "/other": {"get": {}}, "/other/": {"get": {}}});
    assert!(complete(&router, &paths).is_ok(), "{:?}", complete(&router, &paths));
    assert_eq!(differences(&Router::new(), &json!({"/a": {"get": {}}})), "GET /a described and not routed");
}

#[test]
fn a_description_gets_what_the_stack_adds() {
    let router = Router::new().route("/items", get(async || ""));
    let paths = json!({"/items": {"get": {"responses": {"200": {"description": "all"}, "404": {"description": "none"}}}}});
    let document = complete(&router, &paths).unwrap().unwrap();
    let value = document.as_value();
    let answers = &value["paths"]["/items"]["get"]["responses"];
    assert_eq!(answers["default"]["$ref"], "#/components/responses/mainstay.Problem");
    assert!(answers["404"]["content"]["application/problem+json"].is_object());
    assert_eq!(answers["200"]["headers"]["x-request-id"]["$ref"], "#/components/headers/mainstay.RequestId");
    assert_eq!(value["info"]["title"], "stock");
    // Every reference that was added leads somewhere.
    assert!(compare(&document, &document).unwrap().is_compatible());
    // And the schema is the one of what is answered.
    let error = mainstay_core::Error::invalid("sku", "lower-case letters");
    let problem =
        mainstay_core::error::Problem::new(&error, &mainstay_core::context::RequestContext::default());
    let problem = serde_json::to_value(problem).unwrap();
    let answer = Some(("application/problem+json", &problem));
    let exchange = Exchange { method: "GET", path: "/items", request: None, status: 404, answer };
    assert_eq!(document.mismatches(&exchange).unwrap(), []);
    let mut other = problem.clone();
    other["errors"][0].as_object_mut().unwrap().remove("field");
    let exchange = Exchange { answer: Some(("application/problem+json", &other)), ..exchange };
    assert_eq!(document.mismatches(&exchange).unwrap().len(), 1);
}

#[test]
fn descriptions_are_joined_and_must_not_contradict() {
    let join = |one: &Value, other: &Value| {
        let mut given = Given::default();
        given.add(Document::new(described(one)));
        given.add(Document::new(described(other)));
        let router = Router::new().route("/a", get(async || "").post(async || ""));
        given
            .complete("stock", &router, &mut Router::new())
            .map(|document| document.unwrap().operations().unwrap().len())
    };
    assert_eq!(join(&json!({"/a": {"get": {}}}), &json!({"/a": {"post": {}}})).unwrap(), 2);
    let told = join(&json!({"/a": {"get": {}}}), &json!({"/a": {"get": {"deprecated": true}}})).unwrap_err();
    assert_eq!(told.to_string(), "two of its descriptions say different things at /paths/~1a/get");
}

#[tokio::test]
async fn a_service_that_is_not_as_it_is_described_does_not_start() {
    let routes = Router::new().route("/items", get(async || ""));
    let service = Service::new("stock").http(routes).openapi(described(&json!({"/other": {"get": {}}})));
    let error = host(service).start().await.unwrap_err();
    assert!(matches!(error, HostError::Interface { .. }), "{error:?}");
    let told = mainstay_core::error::Report::new(&error).to_string();
    assert!(told.contains("`stock`") && told.contains("GET /other described and not routed"), "{told}");
    let error = host(Service::new("stock").openapi("nothing")).start().await.unwrap_err();
    assert!(
        mainstay_core::error::Report::new(&error).to_string().contains("it is no OpenAPI description"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_description_is_on_the_admin_listener_and_public_only_where_the_service_says_so() {
    let service = || {
        let routes = Router::new().route("/items", get(async || ""));
        Service::new("stock").http(routes).openapi(described(&json!({"/items": {"get": {}}})))
    };
    let descriptions = host(service()).descriptions().unwrap();
    for public in [false, true] {
        let service = if public { service().public_openapi("/openapi.json") } else { service() };
        let running = host(service).start().await.unwrap();
        let admin: crate::discovery::Endpoint =
            format!("http://{}", running.admin_address().unwrap()).parse().unwrap();
        let registry = crate::discovery::fixed::Fixed::new().with("admin", [admin]).unwrap();
        let client = crate::Client::new(registry);
        let shown: Value =
            client.get("http://admin/openapi/stock").send().await.unwrap().json().await.unwrap();
        assert_eq!(&shown, descriptions["stock"].as_value());
        let answer = running.client().get("http://stock/openapi.json").send().await.unwrap();
        assert_eq!(answer.status(), if public { 200 } else { 404 });
        running.stop().await.unwrap();
    }
    let taken = host(service().public_openapi("/items")).descriptions().unwrap_err();
    assert!(
        mainstay_core::error::Report::new(&taken).to_string().contains("`/items` can't be where"),
        "{taken:?}"
    );
}

#[test]
fn stored_descriptions_find_what_changed_and_say_how_it_is_accepted() {
    let directory = std::env::temp_dir().join(format!("mainstay-stored-{}", std::process::id()));
    let stored = Stored::new(&directory);
    let with = |paths: Value| {
        let document = Document::new(described(&paths)).unwrap();
        std::collections::BTreeMap::from([("stock".to_owned(), document)])
    };
    let first = with(json!({"/a": {"get": {}}}));
    let told = stored.check(&first).unwrap_err().to_string();
    assert!(told.contains("stock.json: No such file") && told.contains("--export-openapi"), "{told}");
    stored.write(&first).unwrap();
    stored.check(&first).unwrap();
    let told = stored.check(&with(json!({"/a": {"get": {}}, "/b": {"get": {}}}))).unwrap_err();
    assert!(told.breaking.is_empty() && told.outdated.len() == 1, "{told}");
    let told = stored.check(&with(json!({"/b": {"get": {}}}))).unwrap_err().to_string();
    assert!(told.starts_with("`stock` breaks its callers:\nthe path `/a` is gone"), "{told}");
    let told = stored.check(&std::collections::BTreeMap::new()).unwrap_err().to_string();
    assert!(told.contains("no service has this description any more"), "{told}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[derive(Serialize, Deserialize, utoipa::ToSchema)]
struct Charge {
    cents: u32,
}

const PAY: Operation<Charge, Charge> =
    Operation::put("payments", "/payments/{id}").takes().answers().queries(&["dry"]);
const VOID: Operation = Operation::delete("payments", "/payments/{id}");

#[test]
fn what_a_caller_needs_is_held_against_the_description_of_the_other() {
    let expectation = || Expectation::new("orders", "payments").with(&PAY).with(&VOID);
    let payments = |charge: Value, payment: Value, void: &str| {
        let json = |schema: Value| json!({"content": {"application/json": {"schema": schema}}});
        let parameters = json!([
            {"name": "payment", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "dry", "in": "query", "schema": {"type": "boolean"}},
        ]);
        let paths = json!({"/payments/{payment}": {
            "parameters": parameters,
            "put": {"requestBody": json(charge), "responses": {"200": json(payment), "409": {}}},
            "delete": {"responses": {void: {}}},
        }});
        Document::new(described(&paths)).unwrap()
    };
    let object = |required: Value, name: &str| json!({"type": "object", "required": required, "properties": {name: {"type": "integer", "format": "int32", "minimum": 0}, "more": {"type": "string"}}});
    let good = payments(object(json!(["cents"]), "cents"), object(json!(["cents"]), "cents"), "204");
    expectation().check(&good).unwrap();
    let told = |document: Document| expectation().check(&document).unwrap_err().to_string();
    let missing = told(payments(object(json!(["cents"]), "cents"), object(json!([]), "cents"), "204"));
    assert!(
        missing
            .starts_with("`payments` is not described as `orders` calls it:\nPUT /payments/{id}, answer 200"),
        "{missing}"
    );
    assert!(missing.contains("`cents` may be missing"), "{missing}");
    let demanding =
        told(payments(object(json!(["cents", "more"]), "cents"), object(json!(["cents"]), "cents"), "204"));
    assert!(demanding.contains("`more` is required, and callers may leave it out"), "{demanding}");
    let renamed = told(payments(object(json!([]), "amount"), object(json!(["cents"]), "cents"), "204"));
    assert!(renamed.contains("callers may send `cents`, which the service no longer knows"), "{renamed}");
    let elsewhere = Expectation::new("orders", "catalog").with(&PAY).check(&good).unwrap_err().to_string();
    assert_eq!(elsewhere, "PUT http://payments/payments/{id} is no operation of `catalog`");
}
