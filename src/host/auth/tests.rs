//! Hosts whose issuer shares a secret with the tests, met over their sockets and within the process.

use std::time::{Duration, SystemTime};

use axum::{
    Router,
    routing::{get, post},
};
use http::{Method, StatusCode, header};
use mainstay_auth::{Principal, Require};
use mainstay_client::{Client, Response};
use mainstay_core::lifecycle::Exit;
use mainstay_discovery::fixed::Fixed;
use serde_json::{Value, json};

use crate::{
    Host, Service,
    host::tests::{bare, refused},
};

const SECRET: &str = "a secret of at least thirty-two characters";

#[allow(clippy::disallowed_methods, reason = "a token wants to know what time it is")]
pub(super) fn token(claims: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut all = json!({
        "iss": "https://id.example", "aud": "orders", "sub": "alice", "client_id": "web", "jti": "1",
        "iat": now, "exp": now + 600,
    });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let header = jsonwebtoken::Header { typ: Some("at+jwt".to_owned()), ..jsonwebtoken::Header::default() };
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, &all, &key).unwrap()
}

fn orders() -> Service {
    let who = async |who: Option<Principal>| {
        who.and_then(|who| who.subject().map(ToOwned::to_owned)).unwrap_or_default()
    };
    let closed = Router::new()
        .route("/orders", post(who).layer(Require::scope("orders:write")))
        .route("/mine", get(who))
        .route("/about", post(who));
    Service::new("orders").http(closed).public_http(Router::new().route("/about", get(who)))
}

pub(super) fn with_issuer(host: Host) -> Host {
    host.set("auth.audience=orders")
        .set("auth.issuers.main.issuer=https://id.example")
        .set(format!("auth.issuers.main.secret={SECRET}"))
        .set("drain.delay=0s")
}

pub(super) async fn ask(client: &Client, method: Method, url: &str, token: Option<&str>) -> Response {
    let mut request = client.request(method, url);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.send().await.unwrap()
}

pub(super) fn at(address: std::net::SocketAddr) -> Client {
    Client::new(Fixed::new().with("door", [address.into()]).unwrap())
}

#[tokio::test]
async fn a_process_that_nobody_told_whose_tokens_to_take_does_not_start() {
    let (text, exit) = refused(bare().service(orders())).await;
    for part in ["auth.required: wrong value", "[auth.issuers.NAME]", "auth.required = false"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert_eq!(exit, Exit::Configuration);
    // Said, or in the profile of developers, it serves everybody.
    for host in [bare().set("auth.required=false"), bare().load_with(|loader| loader.profile("dev"))] {
        let running = host.service(orders()).set("drain.delay=0s").start().await.unwrap();
        let door = at(running.address().unwrap());
        for (method, path) in [(Method::GET, "about"), (Method::GET, "mine"), (Method::POST, "orders")] {
            let answer = ask(&door, method, &format!("http://door/{path}"), Some("not looked at")).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
        running.stop().await.unwrap();
    }
    // A developer may want it strict.
    let strict = bare().load_with(|loader| loader.profile("dev")).set("auth.required=true");
    assert!(refused(strict.service(orders())).await.0.contains("auth.required: wrong value"));
}

#[tokio::test]
async fn what_is_wrong_with_an_issuer_is_named() {
    let host = with_issuer(bare().service(orders())).set("auth.issuers.main.secret=short");
    let (text, exit) = refused(host).await;
    assert!(text.contains("auth.issuers.main.secret: wrong value") && !text.contains("\"short\""), "{text}");
    assert_eq!(exit, Exit::Configuration);
    let host =
        bare().service(orders()).set("auth.audience=a").set("auth.issuers.main.issuer=https://id.example");
    let (text, exit) = refused(host.set("auth.issuers.main.jwks_file=/nonexistent/keys")).await;
    assert!(text.contains("`auth.issuers.main.jwks_file`"), "{text}");
    assert_eq!(exit, Exit::Configuration);
}

#[tokio::test]
async fn routes_are_closed_on_every_way_to_them_unless_they_were_declared_public() {
    for in_process in ["call", "wire"] {
        let front = Service::new("front");
        let host = with_issuer(bare().service(front).service(orders()));
        let host = host.set("services.orders.address=127.0.0.1:0");
        let running = host.set(format!("host.in_process={in_process}")).start().await.unwrap();
        let door = at(running.address_of("orders").unwrap());
        let (plain, writer) = (token(&json!({})), token(&json!({"scope": "orders:write"})));
        for (client, name) in [(&door, "door"), (running.client(), "orders")] {
            for (method, path, token, status, body) in [
                (Method::GET, "/about", None, 200, Some("")),
                (Method::GET, "/about", Some(&plain), 200, Some("alice")),
                (Method::GET, "/about", Some(&"x".to_owned()), 401, None),
                (Method::POST, "/about", None, 401, None),
                (Method::DELETE, "/about", None, 401, None),
                (Method::GET, "/mine", None, 401, None),
                (Method::GET, "/mine", Some(&plain), 200, Some("alice")),
                (Method::POST, "/mine", None, 401, None),
                (Method::POST, "/mine", Some(&plain), 405, None),
                (Method::GET, "/nowhere", None, 401, None),
                (Method::GET, "/nowhere", Some(&plain), 404, None),
                (Method::POST, "/orders", None, 401, None),
                (Method::POST, "/orders", Some(&plain), 403, None),
                (Method::POST, "/orders", Some(&writer), 200, Some("alice")),
            ] {
                let url = format!("http://{name}{path}");
                let answer = ask(client, method.clone(), &url, token.map(String::as_str)).await;
                let asked = format!("{method} {url} with {token:?}");
                assert_eq!(answer.status().as_u16(), status, "{asked}");
                let field = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                let challenge = match (status, token) {
                    (401, None) => Some(r#"Bearer realm="orders""#),
                    (401, Some(_)) => Some(r#"Bearer realm="orders", error="invalid_token""#),
                    (403, _) => {
                        Some(r#"Bearer realm="orders", error="insufficient_scope", scope="orders:write""#)
                    }
                    _ => None,
                };
                assert_eq!(field("www-authenticate").as_deref(), challenge, "{asked}");
                assert_eq!(field("allow").is_some(), status == 405, "{asked}");
                match body {
                    Some(body) => assert_eq!(answer.text().await.unwrap(), body, "{asked}"),
                    None => {
                        let problem: Value = answer.json().await.unwrap();
                        assert_eq!(problem["status"], status, "{asked}");
                        assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
                    }
                }
            }
        }
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_layers_of_a_service_meet_only_requests_that_may_pass() {
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = {
        let seen = seen.clone();
        axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            next.run(request)
        })
    };
    let running = with_issuer(bare().service(orders().layer(count))).start().await.unwrap();
    let door = at(running.address().unwrap());
    assert_eq!(ask(&door, Method::GET, "http://door/mine", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 0);
    let token = token(&json!({}));
    assert_eq!(ask(&door, Method::GET, "http://door/mine", Some(&token)).await.status(), StatusCode::OK);
    assert_eq!(ask(&door, Method::GET, "http://door/about", None).await.status(), StatusCode::OK);
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn scripts_of_other_origins_need_no_token_to_ask_and_may_read_a_refusal() {
    let mut config = mainstay_core::middleware::cors::Config::default();
    config.origins = vec!["https://shop.example".to_owned()];
    let cors = mainstay_core::middleware::cors::CorsLayer::new(&config).unwrap();
    let running = with_issuer(bare().service(orders().cors(cors))).start().await.unwrap();
    let door = at(running.address().unwrap());
    let send = async |method: Method, path: &str, token: Option<&str>| {
        let request = door.request(method, format!("http://door{path}"));
        let mut request = request.header("origin", "https://shop.example");
        request = request.header("access-control-request-method", "POST");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = request.send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").cloned();
        assert_eq!(allowed.unwrap(), "https://shop.example");
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    // The same for every path: it tells of no route.
    for path in ["/orders", "/nowhere"] {
        assert_eq!(send(Method::OPTIONS, path, None).await.0, 200);
        assert_eq!(send(Method::POST, path, None).await.0, 401);
        assert_eq!(send(Method::POST, path, Some("x")).await.0, 401);
    }
    let writer = token(&json!({"scope": "orders:write"}));
    assert_eq!(send(Method::POST, "/orders", Some(&writer)).await, (200, "alice".to_owned()));
    assert_eq!(send(Method::POST, "/orders", Some(&token(&json!({})))).await.0, 403);
    assert_eq!(send(Method::GET, "/about", None).await.0, 200);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_process_is_as_a_resource_is_for_everybody_to_read() {
    let host = with_issuer(bare().service(orders()).service(Service::new("other")));
    let running = host.set("auth.resource=https://api.example").start().await.unwrap();
    let door = at(running.address().unwrap());
    let answer = ask(&door, Method::GET, "http://door/mine", None).await;
    let place = "https://api.example/.well-known/oauth-protected-resource";
    let expected = format!(r#"Bearer realm="orders", resource_metadata="{place}""#);
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], expected);
    let url = "http://door/.well-known/oauth-protected-resource";
    let document: Value = ask(&door, Method::GET, url, None).await.json().await.unwrap();
    assert_eq!(document["resource"], "https://api.example");
    assert_eq!(document["authorization_servers"], json!(["https://id.example"]));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn while_no_key_is_known_the_process_is_not_ready() {
    let ready = async |address: std::net::SocketAddr| {
        let answer = ask(&at(address), Method::GET, "http://door/readyz?verbose", None).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    // Nobody listens there.
    let host = bare().service(orders()).set("auth.audience=orders").set("drain.delay=0s");
    let host =
        host.set("auth.issuers.main.issuer=http://127.0.0.1:1").set("auth.issuers.main.cool_down=100ms");
    let running = host.start().await.unwrap();
    let until = async |wanted: u16, address| {
        let wait = async {
            loop {
                let (status, text) = ready(address).await;
                if status == wanted && (wanted == 200 || text.contains("no key of any issuer is known yet")) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    };
    until(503, running.admin_address().unwrap()).await;
    let page = auth_page(&running).await;
    let issuer = &page["issuers"]["main"];
    assert_eq!((&issuer["keys"], &issuer["read"]), (&json!([]), &Value::Null), "{page}");
    assert!(issuer["failed"]["error"].as_str().unwrap().contains("127.0.0.1:1"), "{page}");
    running.stop().await.unwrap();
    let running = with_issuer(bare().service(orders())).start().await.unwrap();
    until(200, running.admin_address().unwrap()).await;
    running.stop().await.unwrap();
}

async fn auth_page(running: &crate::Running) -> Value {
    let admin = at(running.admin_address().unwrap());
    ask(&admin, Method::GET, "http://door/auth", None).await.json().await.unwrap()
}

#[tokio::test]
async fn the_admin_page_tells_of_issuers_and_refusals_and_no_secrets() {
    let running = with_issuer(bare().service(orders())).start().await.unwrap();
    let door = at(running.address().unwrap());
    ask(&door, Method::GET, "http://door/mine", None).await;
    ask(&door, Method::GET, "http://door/mine", Some("x")).await;
    let page = auth_page(&running).await;
    assert_eq!(page["refused"], json!({"no_credentials": 1, "not_a_token": 1}), "{page}");
    let issuer = &page["issuers"]["main"];
    assert_eq!(
        (&issuer["issuer"], &page["is_open"]),
        (&json!("https://id.example"), &json!(false)),
        "{page}"
    );
    assert_eq!(issuer["keys"][0]["algorithm"], "HS256", "{page}");
    assert!(!page.to_string().contains(SECRET), "{page}");
    running.stop().await.unwrap();
    let open =
        bare().set("auth.required=false").set("drain.delay=0s").service(orders()).start().await.unwrap();
    assert_eq!(auth_page(&open).await, json!({"is_open": true}));
    open.stop().await.unwrap();
}

#[cfg(feature = "telemetry")]
#[tokio::test]
async fn refusals_are_metrics() {
    let running = with_issuer(bare().service(orders())).start().await.unwrap();
    let door = at(running.address().unwrap());
    let token = token(&json!({}));
    for (path, token) in
        [("orders", None), ("orders", Some("x")), ("orders", Some(&*token)), ("nowhere", None)]
    {
        ask(&door, Method::POST, &format!("http://door/{path}"), token).await;
    }
    let admin = at(running.admin_address().unwrap());
    let metrics = ask(&admin, Method::GET, "http://door/metrics", None).await.text().await.unwrap();
    let of = |reason: &str| {
        let line =
            metrics.lines().find(|line| line.starts_with("mainstay_auth_refused") && line.contains(reason));
        line.unwrap_or_else(|| panic!("no {reason} in {metrics}")).rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(of("no_credentials"), "2");
    assert_eq!(of("not_a_token"), "1");
    assert_eq!(of("insufficient_scope"), "1");
    running.stop().await.unwrap();
}

/// An identity provider and a service that takes its tokens, both of one process.
#[cfg(feature = "issuer")]
#[tokio::test]
async fn an_issuer_may_be_a_service_of_the_same_process() {
    use mainstay_auth::issuer;

    for in_process in ["call", "wire"] {
        // Nobody listens there: what counts is the name of the service.
        let url = "http://127.0.0.1:1/id";
        let web = issuer::Client::with_secret("a secret for the tests")
            .with_grants([issuer::Grant::ClientCredentials])
            .with_scopes(["orders:write"])
            .with_audiences(["orders"]);
        let config = issuer::Config::new(url).with_client("web", web);
        let provider = issuer::Provider::open(&config, &mainstay_core::task::Tasks::new()).await.unwrap();
        let identity = Service::new("identity").public_http(provider.router());
        let host =
            bare().service(orders()).service(identity).set("drain.delay=0s").set("auth.audience=orders");
        let host =
            host.set(format!("auth.issuers.main.issuer={url}")).set("auth.issuers.main.service=identity");
        let running = host.set(format!("host.in_process={in_process}")).start().await.unwrap();
        let request = running.client().post("http://identity/id/token");
        let form = "grant_type=client_credentials&scope=orders:write&client_id=web";
        let basic = "Basic d2ViOmElMjBzZWNyZXQlMjBmb3IlMjB0aGUlMjB0ZXN0cw==";
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("authorization", basic).body(form).send().await.unwrap();
        let issued: Value = answer.json().await.unwrap();
        let token = issued["access_token"].as_str().unwrap_or_else(|| panic!("{issued}"));
        let url = "http://orders/orders";
        let status = ask(running.client(), Method::POST, url, None).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let answer = ask(running.client(), Method::POST, url, Some(token)).await;
        assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "web"));
        running.stop().await.unwrap();
    }
}
