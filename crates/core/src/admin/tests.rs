use std::time::Duration;

use axum::Router;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    Body,
    health::{Check, Registry},
};

async fn send(router: &Router, method: Method, path: &str, accept: &str) -> (http::response::Parts, String) {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store", "{path}");
    (parts, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn get(router: &Router, path: &str) -> (u16, String) {
    let (parts, body) = send(router, Method::GET, path, "*/*").await;
    (parts.status.as_u16(), body)
}

fn with_checks() -> Registry {
    let health = Registry::new();
    health.register(Check::readiness("database", || async { Ok(()) }));
    let refused = || async { Err(std::io::Error::other("refused\nby 10.0.0.7").into()) };
    health.register(Check::readiness("cache", refused));
    health
}

#[tokio::test(start_paused = true)]
async fn probes_say_200_or_503_and_why() {
    let health = Registry::new();
    let router = Admin::new(health.clone()).router();
    assert_eq!(get(&router, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&router, "/startupz").await, (503, "not ok: starting\n".to_owned()));
    assert_eq!(get(&router, "/readyz").await, (503, "not ok: starting\n".to_owned()));
    health.start();
    assert_eq!(get(&router, "/startupz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&router, "/readyz").await, (200, "ok\n".to_owned()));
    health.drain();
    assert_eq!(get(&router, "/readyz").await, (503, "not ok: draining\n".to_owned()));
    assert_eq!(get(&router, "/livez").await, (200, "ok\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_verbose_probe_lists_each_check_with_state_age_and_error_on_one_line() {
    let health = with_checks();
    let router = Admin::new(health.clone()).router();
    health.start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let expected = "[+] database: passing, 1.5s ago\n\
                    [-] cache: failing, 0.5s ago, 2 failures: refused by 10.0.0.7\n\
                    not ok: cache\n";
    for path in ["/readyz?verbose", "/readyz?a=b&verbose=1"] {
        assert_eq!(get(&router, path).await, (503, expected.to_owned()));
    }
    assert_eq!(get(&router, "/readyz").await, (503, "not ok: cache\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_gives_json_to_whoever_accepts_it() {
    let health = with_checks();
    let router = Admin::new(health.clone()).router();
    health.start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (parts, body) = send(&router, Method::GET, "/readyz", "text/html, Application/JSON;q=0.9").await;
    assert_eq!(parts.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["status"], "fail");
    assert_eq!(body["checks"][0]["state"], "passing");
    assert_eq!(body["checks"][1]["consecutive_failures"], 2);
    assert!(body["checks"][1]["age_seconds"].as_f64().unwrap() < 1.0);
}

#[tokio::test]
async fn other_methods_and_paths_get_problems() {
    let router = Admin::new(Registry::new()).router();
    let (parts, _) = send(&router, Method::HEAD, "/livez", "*/*").await;
    assert_eq!(parts.status, StatusCode::OK);
    for (method, path, status) in
        [(Method::POST, "/livez", 405), (Method::DELETE, "/", 405), (Method::GET, "/healthz", 404)]
    {
        let (parts, body) = send(&router, method, path, "*/*").await;
        assert_eq!(parts.status, status);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(parts.headers.get(header::ALLOW).is_some(), status == 405);
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test]
async fn pages_are_made_anew_listed_and_replaced_by_a_later_one_of_their_path() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let next = move || json!({"seen": count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)});
    let router = Admin::new(Registry::new())
        .with_status("lifecycle", || json!({"stage": "running"}))
        .with_page(Page::new("/config", "replaced", || json!(1)))
        .with_page(Page::new("/config", "what is <set>", next))
        .with_route("/metrics", "metrics", axum::routing::get(async || "up 1\n"))
        .router();
    assert_eq!(get(&router, "/config").await, (200, r#"{"seen":0}"#.to_owned()));
    assert_eq!(get(&router, "/config").await, (200, r#"{"seen":1}"#.to_owned()));
    assert_eq!(get(&router, "/metrics").await, (200, "up 1\n".to_owned()));
    assert_eq!(get(&router, "/status").await, (200, r#"{"lifecycle":{"stage":"running"}}"#.to_owned()));
    let (_, index) = get(&router, "/").await;
    assert!(index.contains("<a href=\"/config\">/config</a></dt><dd>what is &lt;set&gt;"), "{index}");
    assert!(
        ["/livez", "/readyz", "/startupz", "/metrics", "/status"].iter().all(|path| index.contains(path))
    );
}

#[test]
#[should_panic(expected = "`/{id}` is no path of an admin page")]
fn a_path_that_means_something_to_the_router_is_refused() {
    let _ = Page::new("/{id}", "", || json!(null));
}

#[test]
fn the_listener_is_on_loopback_unless_configured() {
    let config: Config = serde_json::from_str("{}").unwrap();
    assert!(config.enabled && config.address.ip().is_loopback());
    assert!(serde_json::from_str::<Config>(r#"{"adress": "0.0.0.0:1"}"#).is_err());
}
