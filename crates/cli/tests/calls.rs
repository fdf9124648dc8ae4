//! Two services that call others as nobody should: the suite says what is wrong with each.
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks by owning its runtime")]

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::StatusCode, routing::get};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

/// What a service does about a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Asks every endpoint in turn, whatever the request, until one answers; thrice at most.
    TriesAgain,
    /// Never asks an endpoint again that failed once, nor repeats a call.
    GivesUp,
}

#[derive(Debug)]
struct Caller {
    habit: Habit,
    endpoints: [u16; 2],
    failed: [AtomicUsize; 2],
    turn: AtomicUsize,
}

impl Caller {
    async fn answer(&self, method: Method) -> Result<Bytes, StatusCode> {
        let attempts = if self.habit == Habit::TriesAgain { 3 } else { 1 };
        for _ in 0..attempts {
            let Some(index) = self.choose() else { break };
            match ask(&method, self.endpoints[index]).await {
                Ok(answer) => return Ok(answer),
                Err(_) => self.failed[index].fetch_add(1, Ordering::SeqCst),
            };
        }
        Err(StatusCode::BAD_GATEWAY)
    }

    fn choose(&self) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let mut order = (0..2).map(|offset| (turn + offset) % 2);
        match self.habit {
            Habit::TriesAgain => order.next(),
            Habit::GivesUp => order.find(|index| self.failed[*index].load(Ordering::SeqCst) == 0),
        }
    }
}

async fn ask(method: &Method, port: u16) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/items").header("host", "dependency");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string().into());
    }
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("is bound").port()
}

async fn verdicts(habit: Habit, only: &str) -> (BTreeMap<String, String>, String) {
    let endpoints = [free_port().await, free_port().await];
    let caller = Arc::new(Caller { habit, endpoints, failed: Default::default(), turn: AtomicUsize::new(0) });
    let route = |method: Method| {
        let caller = caller.clone();
        move || async move { caller.answer(method).await.map(Body::from) }
    };
    let routes = Router::new().route("/call", get(route(Method::GET)).post(route(Method::POST)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{}.json", endpoints[0]));
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["conform", &url, "--call-route=/call", "--call-post=POST=/call"])
        .args(endpoints.map(|port| format!("--dependency=http://127.0.0.1:{port}")))
        .args(["--only", only])
        .arg("--json")
        .arg(&json)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(500), run).await.expect("it ends").expect("it starts");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = std::fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let document: Value = serde_json::from_str(&document).expect("is JSON");
    let text = |check: &Value, member: &str| check[member].as_str().expect(member).to_owned();
    let checks = document["checks"].as_array().expect("has checks");
    (checks.iter().map(|check| (text(check, "id"), text(check, "state"))).collect(), shown)
}

fn of<'a>(states: &'a BTreeMap<String, String>, state: &str) -> Vec<&'a str> {
    states.iter().filter(|(_, is)| *is == state).map(|(id, _)| id.as_str()).collect()
}

#[tokio::test]
async fn one_that_repeats_everything_and_passes_nothing_on() {
    let (states, shown) =
        verdicts(Habit::TriesAgain, "CALL,TRACE,DEADLINE.1.passed-on,DEADLINE.1.gives-up").await;
    let failed = [
        "CALL.2.answer-begun",
        "CALL.2.budget",
        "CALL.2.unsafe",
        "CALL.3.ejected",
        "CALL.4.once",
        "CALL.4.passed-on",
        "DEADLINE.1.gives-up",
        "DEADLINE.1.passed-on",
        "TRACE.1.begun",
        "TRACE.1.flags",
        "TRACE.1.higher-version",
        "TRACE.1.http2",
        "TRACE.1.lines",
        "TRACE.1.malformed",
        "TRACE.1.malformed-state",
        "TRACE.1.passed-on",
        "TRACE.1.too-much",
        "TRACE.1.whole",
        "TRACE.4.made",
        "TRACE.4.passed-on",
    ];
    assert_eq!(of(&states, "failed"), failed, "{shown}");
    assert_eq!(
        of(&states, "passed"),
        ["CALL.1.reached", "CALL.2.safe", "CALL.3.all-out", "CALL.3.let-back"],
        "{shown}"
    );
}

#[tokio::test]
async fn one_that_gives_endpoints_up() {
    let (states, shown) = verdicts(Habit::GivesUp, "CALL.2.safe,CALL.3.let-back").await;
    assert_eq!(of(&states, "failed"), ["CALL.2.safe", "CALL.3.let-back"], "{shown}");
}
