//! Who gets where: routes, methods, and what leads nowhere.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    routing::{any, get, post},
};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use jsonwebtoken::Algorithm;
use mainstay_core::{
    context::Ambient,
    metrics::{Point, Registry},
    middleware::context::ContextLayer,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_layer::Layer as _;

use super::*;
use crate::{
    AuthenticateLayer, Methods, Require,
    authorize::{Guarded, Open},
};

fn signer() -> Signer {
    Signer::new("k", Algorithm::EdDSA)
}

/// Of alice, by the client `web`.
fn token(signer: &Signer, change: impl FnOnce(&mut Value)) -> String {
    signer.token_with(|_, claims| {
        claims["scope"] = json!("");
        claims["roles"] = json!([]);
        change(claims);
    })
}

async fn ask<S>(app: &S, method: Method, path: &str, kind: &str, token: Option<&str>) -> Response<String>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let (head, body) = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.into()).unwrap())
}

async fn get_as<S>(app: &S, path: &str, token: Option<&str>) -> Response<String>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    ask(app, Method::GET, path, "", token).await
}

fn challenge(answer: &Response<String>) -> Option<&str> {
    answer.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn one_line_on_a_route_lets_in_who_has_what_is_wanted() {
    let signer = signer();
    let verifier = trusting(&[&signer]).await;
    let app = Router::new()
        .route("/scope", get(async || "in").layer(Require::scope("orders:write")))
        .route("/role", get(async || "in").layer(Require::role("clerk")))
        .route("/client", get(async || "in").layer(Require::client("importer")))
        .route("/both", get(async || "in").layer(Require::scope("a").and(Require::role("clerk"))))
        .route("/either", get(async || "in").layer(Require::role("clerk").or(Require::client("importer"))))
        .route("/any", get(async || "in").layer(Require::authenticated()))
        .layer(AuthenticateLayer::new(verifier));
    let scope = token(&signer, |claims| claims["scope"] = json!("x orders:write"));
    let near = token(&signer, |claims| claims["scope"] = json!("orders:writes orders"));
    let clerk = token(&signer, |claims| claims["roles"] = json!(["clerk"]));
    let clerk_a = token(&signer, |claims| {
        claims["roles"] = json!(["clerk"]);
        claims["scope"] = json!("a");
    });
    let importer = token(&signer, |claims| claims["client_id"] = json!("importer"));
    let everything = [&scope, &near, &clerk, &clerk_a, &importer];
    for (path, let_in) in [
        ("/scope", &[&scope][..]),
        ("/role", &[&clerk, &clerk_a]),
        ("/client", &[&importer]),
        ("/both", &[&clerk_a]),
        ("/either", &[&clerk, &clerk_a, &importer]),
        ("/any", &everything),
    ] {
        for token in everything {
            let status = get_as(&app, path, Some(token)).await.status();
            let expected = if let_in.contains(&token) { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn who_lacks_a_scope_is_told_which_and_who_lacks_a_role_is_told_nothing() {
    let signer = signer();
    let verifier = trusting(&[&signer]).await;
    let scopes = Require::scope("b").and(Require::scope("a").and(Require::role("clerk")));
    let app = Router::new()
        .route("/scopes", get(async || "in").layer(scopes))
        .route("/role", get(async || "in").layer(Require::role("clerk")))
        .route("/odd", get(async || "in").layer(Require::scope("a\"b")))
        .layer(AuthenticateLayer::new(verifier));
    let plain = token(&signer, |_| {});
    let answer = get_as(&app, "/scopes", Some(&plain)).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(challenge(&answer), Some(r#"Bearer error="insufficient_scope", scope="a b""#));
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(problem["status"], 403);
    let answer = get_as(&app, "/role", Some(&plain)).await;
    assert_eq!((answer.status(), challenge(&answer)), (StatusCode::FORBIDDEN, None));
    assert!(!answer.body().contains("clerk"), "{}", answer.body());
    let answer = get_as(&app, "/odd", Some(&plain)).await;
    assert_eq!(challenge(&answer), Some(r#"Bearer error="insufficient_scope", scope="a\"b""#));
    // With the scopes and without the role no other scope would help.
    let both = token(&signer, |claims| claims["scope"] = json!("a b"));
    assert_eq!(challenge(&get_as(&app, "/scopes", Some(&both)).await), None);
}

#[tokio::test]
async fn in_a_host_the_challenge_has_its_realm_and_refusals_are_counted() {
    let signer = signer();
    let verifier = opened(
        config(Issuer::new(ISSUER).with_jwks(jwks(&[&signer]))).with_resource("https://api.example/v1"),
    )
    .await;
    let ambient = Ambient::default().with(verifier.clone());
    let app = Router::new()
        .route("/scope", get(async || "in").layer(Require::scope("a")))
        .layer(AuthenticateLayer::new(verifier.clone()))
        .layer(ContextLayer::default().with_ambient(ambient));
    let base = r#"Bearer realm="orders", resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#;
    let denied = get_as(&app, "/scope", Some(&signer.token())).await;
    let expected = format!(r#"{base}, error="insufficient_scope", scope="a""#);
    assert_eq!(challenge(&denied), Some(expected.as_str()));
    assert_eq!(challenge(&get_as(&app, "/scope", None).await), Some(base));
    let bad = format!(r#"{base}, error="invalid_token""#);
    for token in ["x", "y"] {
        assert_eq!(challenge(&get_as(&app, "/scope", Some(token)).await), Some(bad.as_str()));
    }

    let registry = Registry::new();
    registry.observe(move |to| verifier.observe(to));
    let metrics = registry.read();
    let refused = metrics.iter().find(|metric| metric.name == "mainstay.auth.refused").unwrap();
    let mut counted: Vec<_> = refused
        .series
        .iter()
        .map(|series| {
            let label = |name| series.labels.get(name).unwrap().to_owned();
            let Point::Counter(count) = series.point else { panic!("a counter") };
            (label("kind"), label("reason"), count)
        })
        .collect();
    counted.sort();
    let row = |kind: &str, reason: &str, count| (kind.to_owned(), reason.to_owned(), count);
    assert_eq!(
        counted,
        [
            row("anonymous", "no_credentials", 1),
            row("denied", "insufficient_scope", 1),
            row("invalid", "not_a_token", 2)
        ]
    );
}

#[tokio::test]
async fn where_nobody_said_anything_nobody_gets_in() {
    let app: Router = Router::new().route("/", get(async || "in").layer(Require::authenticated()));
    assert_eq!(get_as(&app, "/", Some("x")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let app = app.layer(ContextLayer::default());
    assert_eq!(get_as(&app, "/", None).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let guarded = Guarded::new(Router::new().route("/", get(async || "in")), Router::new());
    assert_eq!(get_as(&guarded, "/", None).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_process_that_says_so_lets_in_everybody_and_still_knows_nobody() {
    let layer = ContextLayer::default().with_ambient(Ambient::default().with(Open));
    let app = Router::new()
        .route("/", get(async || "in").layer(Require::scope("a")))
        .route("/who", get(async |_: Principal| "in"))
        .layer(layer);
    assert_eq!(get_as(&app, "/", None).await.body(), "in");
    let answer = get_as(&app, "/who", None).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.body().contains("authenticates nobody"), "{}", answer.body());
}

#[tokio::test]
async fn an_open_process_with_an_anonymous_caller_of_a_layer_is_not_open_there() {
    let verifier = trusting(&[&signer()]).await;
    let app = Router::new()
        .route("/", get(async || "in").layer(Require::authenticated()))
        .layer(AuthenticateLayer::new(verifier).optional())
        .layer(ContextLayer::default().with_ambient(Ambient::default().with(Open)));
    assert_eq!(get_as(&app, "/", None).await.status(), StatusCode::UNAUTHORIZED);
}

/// Closed and public routes, also on one path, with what axum answers by itself.
fn guarded(verifier: Verifier) -> crate::authenticate::Authenticate<Guarded> {
    let nested = Router::new().route("/deep", get(async || "deep")).fallback(async || "own fallback");
    let closed = Router::new()
        .route("/orders", post(async || "placed").delete(async || "gone"))
        .route("/any", any(async || "any"))
        .route("/items", post(async || "added"))
        .route("/items/{id}", get(async || "one"))
        .nest("/nested", nested)
        .route_service(
            "/service/{*rest}",
            tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>("service")),
        );
    let public = Router::new()
        .route("/about", get(async || "about"))
        .route("/items", get(async || "listed"))
        .route("/me", get(async |who: Option<Principal>| if who.is_some() { "known" } else { "unknown" }));
    AuthenticateLayer::new(verifier).optional().layer(Guarded::new(closed, public))
}

#[tokio::test]
async fn without_a_token_there_is_nothing_but_what_is_public() {
    let app = guarded(trusting(&[&signer()]).await);
    for (path, body) in [("/about", "about"), ("/items", "listed"), ("/me", "unknown")] {
        let answer = get_as(&app, path, None).await;
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, body));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (method, path) in [
        (Method::POST, "/orders"),
        (Method::DELETE, "/orders"),
        (Method::GET, "/orders"),
        (Method::OPTIONS, "/orders"),
        (Method::HEAD, "/items/7"),
        (Method::GET, "/any"),
        (Method::POST, "/items"),
        (Method::PUT, "/items"),
        (Method::GET, "/items/7"),
        (Method::PATCH, "/items/7"),
        (Method::GET, "/nested/deep"),
        (Method::POST, "/nested/deep"),
        (Method::GET, "/nested/nowhere"),
        (Method::GET, "/service/x"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/nowhere"),
        (Method::GET, "/"),
        (Method::GET, "/orders/"),
        (Method::GET, "/%ff"),
    ] {
        let answer = ask(&app, method.clone(), path, "", None).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        let fields: Vec<_> =
            answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        if method != Method::HEAD {
            let mut problem: Value = serde_json::from_str(answer.body()).unwrap();
            problem.as_object_mut().unwrap().retain(|name, _| name != "trace_id" && name != "instance");
            seen.insert((fields, problem.to_string()));
        }
    }
    assert_eq!(seen.len(), 1, "no answer tells of a route: {seen:?}");
}

#[tokio::test]
async fn over_grpc_a_closed_path_tells_no_more_than_one_that_is_none() {
    let app = guarded(trusting(&[&signer()]).await);
    let mut seen = std::collections::BTreeSet::new();
    for path in ["/items/7", "/orders", "/nowhere/Method", "/service/Method"] {
        let answer = ask(&app, Method::POST, path, "application/grpc", None).await;
        assert_eq!(answer.headers()["grpc-status"], "16", "{path}");
        seen.insert(answer.headers().keys().map(ToString::to_string).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn with_a_token_everything_is_as_it_was() {
    let signer = signer();
    let app = guarded(trusting(&[&signer]).await);
    let token = signer.token();
    for (method, path, status, body) in [
        (Method::POST, "/orders", 200, "placed"),
        (Method::GET, "/about", 200, "about"),
        (Method::GET, "/me", 200, "known"),
        (Method::GET, "/items", 200, "listed"),
        (Method::POST, "/items", 200, "added"),
        (Method::GET, "/nested/nowhere", 200, "own fallback"),
        (Method::GET, "/service/x", 200, "service"),
        (Method::GET, "/nowhere", 404, ""),
        (Method::GET, "/orders", 405, ""),
    ] {
        let answer = ask(&app, method.clone(), path, "", Some(&token)).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (status, body), "{method} {path}");
        if status == 405 {
            assert_eq!(answer.headers()[header::ALLOW], "POST,DELETE");
        }
    }
    // A bad one is refused where none is wanted, too.
    for path in ["/about", "/orders", "/nowhere"] {
        let answer = get_as(&app, path, Some("x")).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(challenge(&answer).unwrap().ends_with(r#"error="invalid_token""#));
    }
}

#[tokio::test]
async fn a_fallback_is_as_open_as_the_routes_it_was_given_with() {
    let signer = signer();
    let verifier = trusting(&[&signer]).await;
    let route = |path: &str| Router::new().route(path, get(async || "route"));
    let wrap = |closed, public| {
        AuthenticateLayer::new(verifier.clone()).optional().layer(Guarded::new(closed, public))
    };
    let closed = wrap(route("/closed").fallback(async || "fallback"), route("/public"));
    assert_eq!(get_as(&closed, "/nowhere", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(get_as(&closed, "/nowhere", Some(&signer.token())).await.body(), "fallback");
    let public = wrap(route("/closed"), route("/public").fallback(async || "fallback"));
    assert_eq!(get_as(&public, "/nowhere", None).await.body(), "fallback");
    assert_eq!(get_as(&public, "/closed", None).await.status(), StatusCode::UNAUTHORIZED);
    let post = ask(&public, Method::POST, "/closed", "", None).await;
    assert_eq!((post.status(), post.headers().get(header::ALLOW)), (StatusCode::UNAUTHORIZED, None));
    // No routes at all, and nothing but public ones: what leads nowhere is closed.
    for app in [wrap(Router::new(), Router::new()), wrap(Router::new(), route("/public"))] {
        assert_eq!(get_as(&app, "/nowhere", None).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(get_as(&app, "/nowhere", Some(&signer.token())).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn of_a_grpc_service_each_method_has_its_line_and_one_without_is_closed() {
    let signer = signer();
    let verifier = trusting(&[&signer]).await;
    let methods = Methods::new()
        .method("Reserve", Require::client("orders"))
        .method("Restock", Require::scope("stock:write"))
        .public("Describe");
    let service =
        tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let app =
        |methods: &Methods| AuthenticateLayer::new(verifier.clone()).optional().layer(methods.layer(service));
    let status = async |methods: &Methods, method: &str, token: Option<&str>| {
        let path = format!("/inventory.v1.Inventory/{method}");
        let answer = ask(&app(methods), Method::POST, &path, "application/grpc", token).await;
        let status = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        (status, challenge(&answer).map(ToOwned::to_owned))
    };
    let plain = signer.token();
    let orders = token(&signer, |claims| claims["client_id"] = json!("orders"));
    let in_ = (None, None);
    let unauthenticated = (Some("16".to_owned()), Some(r#"Bearer realm="orders""#.to_owned()));
    let denied = (Some("7".to_owned()), None);
    let scope = Some(r#"Bearer error="insufficient_scope", scope="stock:write""#.to_owned());
    assert_eq!(status(&methods, "Reserve", Some(&orders)).await, in_);
    assert_eq!(status(&methods, "Reserve", Some(&plain)).await, denied);
    assert_eq!(status(&methods, "Reserve", None).await, unauthenticated);
    assert_eq!(status(&methods, "Restock", Some(&orders)).await, (Some("7".to_owned()), scope));
    assert_eq!(status(&methods, "Describe", None).await, in_);
    assert_eq!(status(&methods, "Reserves", Some(&orders)).await, denied);
    assert_eq!(status(&methods, "", Some(&orders)).await, denied);
    assert_eq!(status(&methods, "Forgotten", None).await, unauthenticated);
    let methods = methods.others(Require::authenticated());
    assert_eq!(status(&methods, "Forgotten", Some(&plain)).await, in_);
    assert_eq!(status(&methods, "Forgotten", None).await, unauthenticated);
}

#[tokio::test]
async fn clients_find_out_whose_tokens_are_taken() {
    let issuer = Issuer::new(ISSUER).with_jwks(jwks(&[&signer()]));
    let secret = Issuer::new("internal").with_secret("of at least thirty-two characters", crate::Hmac::HS256);
    let plain = config(issuer).with_issuer("secret", secret);
    let config = plain.clone().with_resource("https://api.example/v1");
    let app = crate::authenticate::metadata(&config);
    let answer = get_as(&app, "/.well-known/oauth-protected-resource/v1", None).await;
    assert_eq!(
        serde_json::from_str::<Value>(answer.body()).unwrap(),
        json!({
            "resource": "https://api.example/v1",
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
        })
    );
    assert!(!crate::authenticate::metadata(&plain).has_routes());
    for resource in
        ["api.example", "http://api.example", "https://api.example/#a", "https://api.example/?a", ""]
    {
        let wrong = plain.clone().with_resource(resource).wrong();
        assert_eq!(wrong.len(), 1, "{resource}");
        assert_eq!(wrong[0].0, "resource");
    }
    assert_eq!(plain.with_resource("http://127.0.0.1:8080").wrong(), []);
}

#[tokio::test]
async fn a_token_in_the_query_string_is_taken_where_that_was_declared() {
    let signer = signer();
    let mut config = config(Issuer::new(ISSUER).with_jwks(jwks(&[&signer])));
    config.query_token = true;
    let app = guarded(opened(config).await);
    let answer = ask(&app, Method::POST, &format!("/orders?access_token={}", signer.token()), "", None).await;
    assert_eq!(answer.body(), "placed");
    assert_eq!(
        ask(&app, Method::POST, "/orders?access_token=x", "", None).await.status(),
        StatusCode::UNAUTHORIZED
    );
}
