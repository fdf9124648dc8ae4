//! Token endpoints over real HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    fetch::{Http, Post as _, Url},
    outgoing::Outgoing,
};

const GOOD: &str = r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600}"#;

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

struct Server {
    url: String,
    accepted: std::sync::Arc<AtomicUsize>,
    requests: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers each request with `answer`, so many on one connection.
async fn server(answer: String, on_one: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let accepted = std::sync::Arc::<AtomicUsize>::default();
    let requests = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let (counted, kept) = (accepted.clone(), requests.clone());
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            for _ in 0..on_one {
                let mut text = String::new();
                while !text.ends_with("stock") {
                    let mut bytes = [0; 1024];
                    let read = stream.read(&mut bytes).await.unwrap_or_default();
                    if read == 0 {
                        break;
                    }
                    text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                }
                if text.is_empty() {
                    break;
                }
                kept.lock().unwrap().push(text);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    Server { url, accepted, requests, task }
}

async fn asked(server: &Server, timeout: Duration) -> Result<Option<String>, (Kind, String)> {
    let mut registration = registration().with_token_endpoint(&server.url);
    registration.timeout = timeout.into();
    let config = Config::new(registration).with_target("stock", Target::client_credentials("stock"));
    shown(&Outgoing::open(&config, &Tasks::new()).unwrap().of("orders")).await
}

#[tokio::test]
async fn a_token_is_fetched_over_http() {
    let server = server(ok(GOOD), 1).await;
    assert_eq!(asked(&server, Duration::from_secs(20)).await.unwrap().unwrap(), "Bearer a.b.c");
    let [request] = <[String; 1]>::try_from(server.requests.lock().unwrap().clone()).unwrap();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    for part in [
        "authorization: Basic b3JkZXJzOnMzY3JldA==\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "\r\n\r\ngrant_type=client_credentials&audience=stock",
    ] {
        assert!(request.contains(part), "{request}");
    }
}

#[tokio::test]
async fn answers_that_are_huge_late_cut_off_or_no_http_are_given_up() {
    let huge = "x".repeat(200 << 10);
    for (answer, time, expected) in [
        (ok(&huge), 20_000, "length limit exceeded"),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{GOOD}"), 20_000, "the answer"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), 20_000, "the request"),
        (String::new(), 200, "no answer within 200ms"),
        (
            "HTTP/1.1 307 \r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n".to_owned(),
            20_000,
            "307",
        ),
    ] {
        // Closed after the one request, save for the one that hangs.
        let server = server(answer, if time == 200 { 2 } else { 1 }).await;
        let (kind, text) = asked(&server, Duration::from_millis(time)).await.unwrap_err();
        assert_eq!(kind, Kind::Unavailable);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_one_that_was_closed_meanwhile_is_replaced() {
    let tasks = Tasks::new();
    let http = Http::new(tasks.clone(), Duration::from_secs(20), None);
    let server = server(ok(GOOD), 3).await;
    let url = Url::parse(&server.url).unwrap();
    for _ in 0..5 {
        let reply = http.post(&url, None, "audience=stock".to_owned()).await.unwrap();
        assert_eq!(reply.body, GOOD);
    }
    assert_eq!(server.accepted.load(Ordering::Relaxed), 2);
    assert_eq!(server.requests.lock().unwrap().len(), 5);
    assert_eq!(tasks.len(), 1);
    tasks.stop(Duration::from_secs(20)).await.expect("what is kept keeps nobody");
}
