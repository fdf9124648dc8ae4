//! Services of one host that call each other with tokens of an issuer that the tests run.

#![allow(clippy::disallowed_methods, reason = "tests own their tasks")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Form, Json, Router, extract::Path, routing::get};
use http::{HeaderMap, Method, StatusCode};
use mainstay_auth::{Claims, Principal};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::tests::{ask, at, token, with_issuer};
use crate::{Client, Host, Service, host::tests::bare};

/// What was asked for: who asked, and how.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Issues tokens for whom is asked, of the client itself or for the owner of another token.
async fn issuer() -> (String, Asked) {
    let asked = Asked::default();
    let kept = asked.clone();
    let answer = move |headers: HeaderMap, Form(form): Form<HashMap<String, String>>| async move {
        let client = match headers["authorization"].to_str().unwrap() {
            // printf 'front:s3cret' | base64
            "Basic ZnJvbnQ6czNjcmV0" => "front",
            // printf 'back:s3cret' | base64
            "Basic YmFjazpzM2NyZXQ=" => "back",
            other => panic!("{other}"),
        };
        let grant = form["grant_type"].rsplit(':').next().unwrap().to_owned();
        kept.lock().unwrap().push((client.to_owned(), grant.clone()));
        let claims = match grant.as_str() {
            "client_credentials" => json!({ "sub": client, "client_id": client, "aud": form["audience"] }),
            _ => json!({
                "sub": "alice", "client_id": client, "aud": form["audience"], "act": { "sub": client },
                "was": form["subject_token"].len(),
            }),
        };
        Json(json!({
            "access_token": token(&claims), "token_type": "Bearer", "expires_in": 600,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let routes = Router::new().route("/token", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, asked)
}

/// `front` calls whom it is told to; the others tell who called.
fn services(host: Host) -> Host {
    let call = |client: Client, Path(name): Path<String>| async move {
        let answer = client.get(format!("http://{name}/who")).send().await?;
        let status = answer.status().as_u16();
        Ok::<_, crate::Error>(format!("{status} {}", answer.text().await?))
    };
    let who = |who: Principal, Claims(claims): Claims<Value>| async move {
        let actor = claims["act"]["sub"].as_str().unwrap_or("nobody").to_owned();
        format!("{} of {} by {actor}", who.subject().unwrap(), who.client().unwrap())
    };
    let service = |name: &str| {
        Service::new(name).http(Router::new().route("/call/{name}", get(call)).route("/who", get(who)))
    };
    ["front", "back", "exchange", "forward", "bare"]
        .into_iter()
        .fold(host, |host, name| host.service(service(name)))
}

fn configured(host: Host, url: &str) -> Host {
    let host = ["front", "back"].into_iter().fold(with_issuer(host), |host, name| {
        let key = format!("auth.outgoing.clients.{name}");
        host.set(format!("{key}.token_endpoint={url}"))
            .set(format!("{key}.client_id={name}"))
            .set(format!("{key}.client_secret=s3cret"))
    });
    host.set("auth.outgoing.targets.back.mode=client_credentials")
        .set("auth.outgoing.targets.back.audience=orders")
        .set("auth.outgoing.targets.exchange.mode=token_exchange")
        .set("auth.outgoing.targets.exchange.audience=orders")
        .set("auth.outgoing.targets.forward.mode=forward")
}

#[tokio::test]
async fn calls_show_whose_token_is_configured_as_functions_and_over_the_wire() {
    for in_process in ["call", "wire"] {
        let (url, asked) = issuer().await;
        let host = configured(services(bare()), &url).set(format!("host.in_process={in_process}"));
        let host = host.set("services.back.address=127.0.0.1:0").set("services.bare.address=127.0.0.1:0");
        let running = host.start().await.unwrap();
        let alice = token(&json!({}));
        let call = async |from: &str, to: &str| {
            let door = match from {
                "front" => running.address().unwrap(),
                from => running.address_of(from).unwrap(),
            };
            let answer = ask(&at(door), Method::GET, &format!("http://door/call/{to}"), Some(&alice)).await;
            (answer.status(), answer.text().await.unwrap())
        };
        for (from, to, expected) in [
            ("front", "back", "200 front of front by nobody"),
            ("front", "back", "200 front of front by nobody"),
            ("back", "back", "200 back of back by nobody"),
            ("front", "exchange", "200 alice of front by front"),
            ("front", "exchange", "200 alice of front by front"),
            ("front", "forward", "200 alice of web by nobody"),
        ] {
            assert_eq!(call(from, to).await, (StatusCode::OK, expected.to_owned()), "{in_process}");
        }
        // Nobody has said that it may be shown anything.
        let (_, answer) = call("front", "bare").await;
        assert!(answer.starts_with("401 "), "{answer}");
        // Not known to the issuer: it does not go without.
        assert_eq!(call("bare", "back").await.0, StatusCode::INTERNAL_SERVER_ERROR);
        let expected =
            [("front", "client_credentials"), ("back", "client_credentials"), ("front", "token-exchange")];
        let expected = expected.map(|(client, grant)| (client.to_owned(), grant.to_owned()));
        assert_eq!(*asked.lock().unwrap(), expected);
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn calls_show_what_the_file_says_also_when_it_changes() {
    let (url, asked) = issuer().await;
    let directory = std::env::temp_dir().join(format!("mainstay-outgoing-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("mainstay.toml");
    std::fs::write(&file, "").unwrap();
    let place = directory.clone();
    let host = services(with_issuer(bare())).load_with(move |loader| loader.directory(&place));
    let running = host.start().await.unwrap();
    let door = at(running.address().unwrap());
    let alice = token(&json!({}));
    let call =
        async || ask(&door, Method::GET, "http://door/call/back", Some(&alice)).await.text().await.unwrap();
    assert!(call().await.starts_with("401 "), "nobody is shown anything");
    let text = format!(
        "[auth.outgoing.client]\ntoken_endpoint = \"{url}\"\nclient_id = \"front\"\nclient_secret = \"s3cret\"\n\
         [auth.outgoing.targets.back]\nmode = \"client_credentials\"\naudience = \"orders\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let mut answer = call().await;
    while answer.starts_with("401 ") && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = call().await;
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(answer, "200 front of front by nobody");
    assert_eq!(asked.lock().unwrap().len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_is_away_makes_calls_unavailable() {
    let running = configured(services(bare()), "http://127.0.0.1:1/token").start().await.unwrap();
    let door = at(running.address().unwrap());
    let answer = ask(&door, Method::GET, "http://door/call/back", Some(&token(&json!({})))).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = answer.json().await.unwrap();
    assert!(!problem.to_string().contains("127.0.0.1"), "{problem}");
    running.stop().await.unwrap();
}
