//! A gateway that closes its routes to who has no token.

#![cfg(feature = "auth")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use http::{Method, Request, Response, StatusCode, header};
use mainstay_auth::{AuthenticateLayer, Hmac, Issuer, Verifier};
use mainstay_core::{Body, task::Tasks};
use mainstay_gateway::{Config, Gateway, config::Route};
use serde_json::json;
use tower::{Layer as _, ServiceExt as _, service_fn};

const SECRET: &str = "a secret of at least thirty-two characters";

#[allow(clippy::disallowed_methods, reason = "a token wants to know what time it is")]
fn token(scope: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://id.example", "aud": "edge", "sub": "alice", "client_id": "web", "jti": "1",
        "iat": now, "exp": now + 600, "scope": scope,
    });
    let header = jsonwebtoken::Header { typ: Some("at+jwt".to_owned()), ..jsonwebtoken::Header::default() };
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

fn config() -> Config {
    let mut orders = Route::prefix("/orders", "orders");
    orders.scopes = vec!["orders:read".to_owned(), "orders:write".to_owned()];
    let mut catalog = Route::prefix("/products", "catalog");
    catalog.public = true;
    catalog.methods = vec!["GET".to_owned()];
    Config::default()
        .with_route("orders", orders)
        .with_route("catalog", catalog)
        .with_route("account", Route::path("/account", "accounts"))
}

/// What reached the services.
type Seen = Arc<Mutex<Vec<Request<Body>>>>;

async fn ask(line: &str, token: Option<&str>, kind: &str, fields: &[(&str, &str)]) -> (Response<Body>, Seen) {
    let seen = Seen::default();
    let service = {
        let seen = seen.clone();
        service_fn(move |request| {
            seen.lock().unwrap().push(request);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        })
    };
    let issuer = Issuer::new("https://id.example").with_secret(SECRET, Hmac::HS256);
    let auth = mainstay_auth::Config::new(["edge"]).with_issuer("main", issuer);
    let verifier = Verifier::open(&auth, &Tasks::new()).await.unwrap();
    let gateway = Gateway::guarded(&config(), service).unwrap();
    let app = AuthenticateLayer::new(verifier).optional().layer(gateway);
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    (app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap(), seen)
}

#[tokio::test]
async fn routes_are_closed_but_for_public_ones_and_want_their_scopes() {
    let (none, one, both) = (token(""), token("orders:read"), token("orders:read orders:write"));
    for (line, token, status) in [
        ("GET /products/7", None, 200),
        ("HEAD /products/7", None, 200),
        ("GET /products/7", Some(&none), 200),
        ("GET /products/7", Some(&"x".to_owned()), 401),
        ("GET /account", None, 401),
        ("GET /account", Some(&none), 200),
        ("GET /orders/7", None, 401),
        ("GET /orders/7", Some(&none), 403),
        ("GET /orders/7", Some(&one), 403),
        ("GET /orders/7", Some(&both), 200),
    ] {
        let (answer, seen) = ask(line, token.map(String::as_str), "", &[]).await;
        assert_eq!(answer.status().as_u16(), status, "{line} with {token:?}");
        assert_eq!(seen.lock().unwrap().len(), usize::from(status == 200), "{line}");
        if status == 403 {
            let challenge = r#"Bearer error="insufficient_scope", scope="orders:read orders:write""#;
            assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], challenge);
        }
    }
}

#[tokio::test]
async fn who_is_not_known_learns_nothing_of_routes() {
    let known = token("");
    for (line, status) in [
        ("GET /nowhere", 404),
        ("POST /products/7", 405),
        ("TRACE /account", 405),
        ("OPTIONS *", 204),
        ("GET /account/%2e%2e/x", 400),
    ] {
        let (answer, _) = ask(line, None, "", &[]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{line}");
        assert!(!answer.headers().contains_key(header::ALLOW), "{line}");
        let (answer, _) = ask(line, Some(&known), "", &[]).await;
        assert_eq!(answer.status().as_u16(), status, "{line}");
    }
    let (answer, _) = ask("POST /no.Service/Method", None, "application/grpc", &[]).await;
    assert_eq!(answer.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn the_token_goes_on_as_it_came_and_claims_of_an_identity_do_not() {
    let known = token("");
    let fields =
        [("x-forwarded-user", "root"), ("X_Auth_Request_Email", "root@example"), ("x-request-id", "7")];
    let (_, seen) = ask("GET /account", Some(&known), "", &fields).await;
    let request = seen.lock().unwrap().pop().unwrap();
    assert_eq!(request.headers()[header::AUTHORIZATION], format!("Bearer {known}"));
    assert_eq!(request.headers()["x-request-id"], "7");
    for (name, _) in &fields[..2] {
        assert!(!request.headers().contains_key(name.to_ascii_lowercase()), "{name}");
    }
    // What this process knows of the caller is not the next one's.
    assert!(request.extensions().get::<mainstay_auth::Principal>().is_none());
}

#[tokio::test]
async fn without_the_layer_nothing_closed_is_reached() {
    let service =
        service_fn(|_: Request<Body>| std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let gateway = Gateway::guarded(&config(), service).unwrap();
    for (path, status) in [("/products", 200), ("/account", 500), ("/nowhere", 500)] {
        let request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).unwrap();
        assert_eq!(gateway.clone().oneshot(request).await.unwrap().status().as_u16(), status, "{path}");
    }
}

#[test]
fn who_may_is_heeded_or_refused() {
    let faults = |config: &Config, is_guarded: bool| {
        let gateway = if is_guarded { Gateway::guarded(config, ()) } else { Gateway::new(config, ()) };
        gateway.err().map(|invalid| invalid.to_string()).unwrap_or_default()
    };
    assert_eq!(faults(&config(), true), "");
    let told = faults(&config(), false);
    assert!(told.contains("routes.catalog.public = true") && told.contains("routes.orders.scopes"), "{told}");
    let mut odd = Route::path("/odd", "odd");
    odd.public = true;
    odd.scopes = vec!["a b".to_owned()];
    assert!(
        faults(&Config::default().with_route("odd", odd.clone()), true)
            .contains("routes.odd.scopes = \"a b\"")
    );
    odd.scopes = vec!["a".to_owned()];
    assert!(faults(&Config::default().with_route("odd", odd), true).contains("either `public` or `scopes`"));
    let mut config = Config::default();
    config.identity_fields = vec!["x user".to_owned()];
    assert!(faults(&config, false).contains("identity_fields = \"x user\""));
}
