//! The suite passes a service that keeps its promises, and finds each single one that is broken.
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks by owning its process")]

mod auth;
mod call;
mod metrics;
mod service;
mod spans;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

/// Not a test: what `--command` starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs until it is signalled; started by the other tests"]
async fn serve() {
    if std::env::var_os("SERVICE_MAIN").is_some() {
        service::run().await;
    }
}

/// A port that stays free over the restarts of the service: below the range that the kernel takes for outgoing
/// connections (32768 and up on Linux), of which these tests make thousands.
async fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = u16::try_from(20_000 + number % 12_000).expect("is below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

/// Runs the suite on a service that breaks the promise `fault`, or none.
async fn conform(fault: &str, delay: Duration, arguments: &[&str]) -> (BTreeMap<String, String>, String) {
    let (main, admin) = (free_port().await, free_port().await);
    let (dependency, collector, issuer) = (free_port().await, free_port().await, free_port().await);
    let this = std::env::current_exe().expect("a test has a path");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{main}.json"));
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args([
            "conform",
            &format!("http://127.0.0.1:{main}"),
            "--admin",
            &format!("http://127.0.0.1:{admin}"),
        ])
        .args(["--command", &format!("'{}' --exact serve --ignored --nocapture", this.display())])
        .args(["--drain-delay", &format!("{}ms", delay.as_millis())])
        .args(["--drain-timeout", &format!("{}s", service::DRAIN_TIMEOUT.as_secs())])
        .args([
            "--route=/products",
            "--slow-route=/slow",
            "--panic-route=/panic",
            "--hang-route=/hang",
            "--stream-route=/events",
        ])
        .args(["--json-route=POST=/orders", "--json-body={\"quantity\": 1}", "--default-deadline=2s"])
        .args([
            &format!("--issuer=http://127.0.0.1:{issuer}"),
            "--audience=service",
            "--scope=read write",
            "--closed-route=/closed",
            "--scoped-route=/scoped",
            "--public-route=/products",
            "--closed-grpc=service.Closed/Call",
            "--scoped-grpc=service.Scoped/Call",
        ])
        .args(["--header-timeout=1s", "--grpc-service=service.Slow", "--slow-grpc=service.Slow/Call"])
        .args(["--bad-config=SERVICE_SERVER__ADDRESS=nonsense", "--bad-config=SERVICE_DRAIN__TIMEOUT=soon"])
        .arg(format!("--dependency=http://127.0.0.1:{dependency}"))
        .arg(format!("--otlp=http://127.0.0.1:{collector}"))
        .arg("--json")
        .arg(&json)
        .args(arguments)
        .env("SERVICE_MAIN", main.to_string())
        .env("SERVICE_ADMIN", admin.to_string())
        .env("SERVICE_DEPENDENCY", dependency.to_string())
        .env("SERVICE_ISSUER", issuer.to_string())
        .env("SERVICE_BREAKS", fault)
        .env("SERVICE_DELAY_MS", delay.as_millis().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output: Output =
        tokio::time::timeout(Duration::from_secs(500), run).await.expect("it ends").expect("it starts");
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
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
async fn a_service_that_keeps_its_promises_passes_every_check_that_hyper_lets_it() {
    let (states, shown) = conform("", Duration::from_secs(1), &[]).await;
    // hyper answers these itself, before a service sees a request, and with an empty body.
    let by_hyper = ["ERR.1.header-bytes", "ERR.1.header-count", "ERR.1.long-target"];
    assert_eq!(of(&states, "failed"), by_hyper, "{shown}");
    // It calls nobody as the contract wants it.
    let skipped: Vec<&str> =
        shown.lines().map(str::trim).filter(|line| line.starts_with("skipped ")).collect();
    assert!(skipped.iter().all(|line| line.contains("--call-")), "{skipped:#?}");
}

#[tokio::test]
async fn each_broken_promise_is_found_by_its_check() {
    for (fault, check) in [
        ("in-flight", "LIFE.3.in-flight"),
        ("readyz", "LIFE.3.readyz"),
        ("keep-alive", "LIFE.3.keep-alive"),
        ("goaway", "LIFE.3.goaway"),
        ("stops-accepting", "LIFE.3.stops-accepting"),
        ("exit", "LIFE.3.exit"),
        ("exit", "LIFE.3.stuck-peers"),
        ("status", "LIFE.3.exit"),
        ("exit", "LIFE.3.stream"),
        ("second-signal", "LIFE.4.sigterm"),
        ("second-signal", "LIFE.4.sigint"),
        ("refuses", "LIFE.1.refuses"),
        ("reports-all", "LIFE.1.reports-all"),
        ("internals", "ERR.3.no-internals"),
        ("no-bytes", "LIMIT.1.no-bytes"),
        ("own-id", "TRACE.4.echo"),
        ("any-id", "TRACE.4.malformed"),
        ("metrics-type", "METRIC.1.prometheus"),
        ("eof", "METRIC.1.openmetrics"),
        ("uncounted", "METRIC.2.server"),
        ("active", "METRIC.2.active"),
        ("no-target", "METRIC.1.target"),
        ("http2-uncounted", "METRIC.2.http2"),
        ("grpc-uncounted", "METRIC.2.grpc"),
        ("paths", "METRIC.3.bounded"),
    ] {
        let only = ["--only", check];
        let (broken, kept) =
            tokio::join!(conform(fault, Duration::ZERO, &only), conform("", Duration::ZERO, &only));
        assert_eq!(of(&broken.0, "failed"), [check], "{fault}: {}", broken.1);
        assert_eq!(of(&kept.0, "passed"), [check], "no fault: {}", kept.1);
    }
}

#[tokio::test]
async fn each_broken_promise_about_tokens_is_found_by_its_checks() {
    let arguments = ["--only=AUTH"];
    let (kept, shown) = conform("", Duration::ZERO, &arguments).await;
    assert_eq!(of(&kept, "passed").len(), kept.len(), "{shown}");
    for (fault, checks) in [
        ("error-for-nothing", &["AUTH.2.challenge"][..]),
        ("any-scope", &["AUTH.2.grpc-scope", "AUTH.2.scope"]),
        ("none", &["AUTH.3.none"]),
        ("confusion", &["AUTH.3.confusion"]),
        ("embedded", &["AUTH.3.embedded"]),
        ("lure", &["AUTH.3.lure"]),
        ("any-crit", &["AUTH.3.crit"]),
        ("any-audience", &["AUTH.3.audience"]),
        ("any-issuer", &["AUTH.3.issuer"]),
        ("any-time", &["AUTH.3.time"]),
        ("any-typ", &["AUTH.3.typ"]),
        ("asks-once", &["AUTH.4.rotation"]),
        ("always-asks", &["AUTH.4.away", "AUTH.4.hammer"]),
        ("hammers", &["AUTH.4.hammer"]),
    ] {
        let (states, shown) = conform(fault, Duration::ZERO, &arguments).await;
        assert_eq!(of(&states, "failed"), checks, "{fault}: {shown}");
    }
    for (fault, check) in [
        ("open", "AUTH.1.closed"),
        ("forbidden", "AUTH.2.invalid"),
        ("unsigned", "AUTH.3.signature"),
        ("internal", "AUTH.2.grpc"),
    ] {
        let (states, shown) = conform(fault, Duration::ZERO, &["--only", check]).await;
        assert_eq!(of(&states, "failed"), [check], "{fault}: {shown}");
    }
}

/// Of the calls that it makes the service keeps and breaks what is promised of their trace, and of what is counted.
#[tokio::test]
async fn each_broken_promise_about_calls_is_found_by_its_checks() {
    let arguments = ["--call-route=/call", "--only=TRACE,METRIC.2"];
    let (kept, shown) = conform("", Duration::ZERO, &arguments).await;
    assert_eq!(of(&kept, "passed").len(), kept.len(), "{shown}");
    for (fault, checks) in [
        ("http2-untraced", &["TRACE.1.http2"][..]),
        ("no-random", &["TRACE.1.flags"]),
        ("any-flag", &["TRACE.1.flags"]),
        ("only-00", &["TRACE.1.higher-version"]),
        ("one-line", &["TRACE.1.http2", "TRACE.1.lines"]),
        ("short", &["TRACE.1.whole"]),
        ("cut", &["TRACE.1.too-much"]),
        ("state-alone", &["TRACE.1.begun", "TRACE.1.malformed"]),
        ("one-trace", &["TRACE.1.begun"]),
        ("any-parent", &["TRACE.1.malformed"]),
        ("any-state", &["TRACE.1.malformed-state"]),
        ("span-name", &["TRACE.2.server"]),
        ("no-route", &["TRACE.2.server"]),
        ("no-parent", &["TRACE.2.server"]),
        ("lonely-span", &["TRACE.2.client"]),
        ("other-span", &["TRACE.2.attempt", "TRACE.2.client"]),
        ("no-error-type", &["TRACE.2.attempt"]),
        ("no-id", &["TRACE.4.made", "TRACE.4.passed-on"]),
        ("another-id", &["TRACE.4.made"]),
        ("calls-uncounted", &["METRIC.2.client", "METRIC.2.client-error"]),
        ("no-error", &["METRIC.2.client-error"]),
    ] {
        let (states, shown) = conform(fault, Duration::ZERO, &arguments).await;
        assert_eq!(of(&states, "failed"), checks, "{fault}: {shown}");
    }
    let (states, shown) = conform("same-span", Duration::ZERO, &arguments).await;
    assert!(of(&states, "failed").contains(&"TRACE.1.passed-on"), "{shown}");
}

#[tokio::test]
async fn a_process_named_by_its_number_is_ended_once_and_the_other_checks_say_so() {
    let (main, admin) = (free_port().await, free_port().await);
    let mut service = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "serve", "--ignored"])
        .env("SERVICE_MAIN", main.to_string())
        .env("SERVICE_ADMIN", admin.to_string())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    while tokio::net::TcpStream::connect(("127.0.0.1", main)).await.is_err() {
        assert!(service.try_wait().expect("can be asked").is_none(), "it did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = service.id().expect("it runs").to_string();
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["conform", &format!("http://127.0.0.1:{main}"), "--pid", &pid, "--only", "LIFE.3"])
        .args(["--route=/products", "--slow-route=/slow", "--drain-timeout=3s"])
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(120), run).await.expect("it ends").expect("it starts");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("1 passed, 0 failed"), "{shown}");
    assert!(shown.contains("LIFE.3.exit: needs --command: the process of --pid was ended"), "{shown}");
    assert!(service.wait().await.expect("it ended").success());
}

/// The service is in a process group of its own, so nobody but the suite would end it.
#[tokio::test]
async fn a_suite_that_is_told_to_stop_takes_the_service_with_it() {
    let (main, admin) = (free_port().await, free_port().await);
    let this = std::env::current_exe().expect("a test has a path");
    let mut suite = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["conform", &format!("http://127.0.0.1:{main}"), "--only", "LIMIT.1.no-bytes"])
        .args(["--command", &format!("'{}' --exact serve --ignored", this.display())])
        .env("SERVICE_MAIN", main.to_string())
        .env("SERVICE_ADMIN", admin.to_string())
        .env("SERVICE_BREAKS", "no-bytes")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", main)).await.is_ok();
    while !listens().await {
        assert!(suite.try_wait().expect("can be asked").is_none(), "it did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = suite.id().expect("it runs").to_string();
    let kill = Command::new("/bin/kill").args(["-TERM", &pid]).status().await.expect("kill runs");
    assert!(kill.success());
    let status = tokio::time::timeout(Duration::from_secs(60), suite.wait())
        .await
        .expect("it ends")
        .expect("a status");
    assert_eq!(status.code(), Some(143));
    let gone = async {
        while listens().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the service is gone too");
}
