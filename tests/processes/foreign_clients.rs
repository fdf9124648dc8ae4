//! Programs that others wrote, in other languages, talk to one port.

use std::{env, path::PathBuf, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::harness::{PATIENCE, Process};

/// Runs a program to its end; its output, if it succeeded.
async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let run = timeout(PATIENCE, command.output()).await;
    let output = run.unwrap_or_else(|_| panic!("{program} {arguments:?} does not end"));
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

/// Runs one of the Python peers.
async fn peer(name: &str, argument: &str) -> String {
    let python = env::var("TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("processes/foreign_clients/peers").join(name);
    run(&python, &[script.to_str().unwrap(), argument]).await
}

#[tokio::test]
async fn curl_speaks_both_versions_of_http() {
    let process = Process::specimen(&[]).await;
    let url = format!("http://{}/hello", process.main);
    for (version, code) in [("--http1.1", "1.1 200"), ("--http2-prior-knowledge", "2 200")] {
        let arguments = ["-sS", "--max-time", "30", version, "-w", "%{http_version} %{http_code}", &url];
        assert_eq!(run("curl", &arguments).await, format!("hello{code}"));
    }
    let echo = format!("http://{}/echo", process.main);
    let body = "x".repeat(300_000);
    let answer = run(
        "curl",
        &[
            "-sS",
            "--max-time",
            "30",
            "--http2-prior-knowledge",
            "-H",
            "Content-Type: text/plain",
            "-d",
            &body[..100_000],
            &echo,
        ],
    )
    .await;
    assert_eq!(answer.len(), 100_000);
}

#[tokio::test]
async fn nghttp_and_h2load_speak_http2() {
    let process = Process::specimen(&[]).await;
    let url = format!("http://{}/hello", process.main);
    let frames = run("nghttp", &["-nv", "--timeout=30", &url]).await;
    assert!(frames.contains(":status: 200"), "{frames}");
    let report = run("h2load", &["-n2000", "-c10", "-m20", &url]).await;
    assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
    let report = run("h2load", &["--h1", "-n2000", "-c10", &url]).await;
    assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
}

#[tokio::test]
async fn grpcio_speaks_grpc_health_and_reflection() {
    let process = Process::specimen(&[]).await;
    let lines = peer("grpc_peer.py", &process.main.to_string()).await;
    for line in
        ["reflection", "unary", "bidirectional streaming", "error details", "panic", "deadline", "health"]
    {
        assert!(lines.lines().any(|said| said == line), "no {line:?} in:\n{lines}");
    }
}

#[tokio::test]
async fn a_python_websocket_client_is_echoed() {
    let process = Process::specimen(&[]).await;
    let lines = peer("websocket_peer.py", &format!("ws://{}/chat", process.main)).await;
    assert_eq!(lines, "echo\nclose\n");
}

#[tokio::test]
async fn all_of_them_at_once_on_one_port() {
    let process = Process::specimen(&["--set", "server.shape=per-core"]).await;
    let main = process.main.to_string();
    let (http, chat) = (format!("http://{main}/hello"), format!("ws://{main}/chat"));
    let (load, once) = (["-n2000", "-c4", "-m10", &http], ["-sS", "--max-time", "30", &http]);
    tokio::join!(
        run("h2load", &load),
        run("curl", &once),
        peer("grpc_peer.py", &main),
        peer("websocket_peer.py", &chat),
    );
}
