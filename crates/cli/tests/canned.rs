//! Answers written out byte for byte: what no library lets a service say, and what a hostile one would.
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks by owning its runtime")]

use std::{process::Output, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
    time::timeout,
};

/// A service that reads until its peer pauses, and then says `answer`, whatever it was asked.
async fn saying(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut sink = [0; 64 << 10];
                while let Ok(Ok(1..)) = timeout(Duration::from_millis(300), stream.read(&mut sink)).await {}
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                // Reading on keeps the kernel from resetting the connection over what it still gets.
                while matches!(stream.read(&mut sink).await, Ok(1..)) {}
            });
        }
    });
    url
}

async fn conform(arguments: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .arg("conform")
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output: Output = timeout(Duration::from_secs(120), run).await.expect("it ends").expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn problem(status: u16) -> String {
    let body = format!(
        r#"{{"type":"about:blank","title":"No","status":{status},"instance":"/","trace_id":"{}"}}"#,
        "ab".repeat(16)
    );
    format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn bounds_of_the_header_pass_with_a_problem_of_their_own_status_and_fail_with_another() {
    for (check, right, wrong) in [
        ("ERR.1.header-bytes", 431, 400),
        ("ERR.1.header-count", 431, 404),
        ("ERR.1.long-target", 414, 404),
        ("ERR.1.two-lengths", 400, 411),
        ("ERR.1.slow-header", 408, 400),
    ] {
        let url = saying(problem(right)).await;
        let (status, shown) = conform(&[&url, "--only", check, "--require-all"]).await;
        assert_eq!(status, Some(0), "{shown}");
        let url = saying(problem(wrong)).await;
        let (status, shown) = conform(&[&url, "--only", check]).await;
        assert_eq!(status, Some(1), "{shown}");
        assert!(shown.contains(&format!("because  status is {wrong}")), "{shown}");
    }
}

#[tokio::test]
async fn a_hostile_answer_reaches_the_terminal_only_as_text() {
    for (answer, shown_as) in [
        (
            &b"HTTP/1.1 404 \x1b[2J\r\ncontent-type: \x1b]0;owned\x07\r\ncontent-length: 5\r\n\r\n\x1b[0m\n"
                [..],
            "\\u{1b}[0m\\n",
        ),
        (b"\x1b[2J\x1b[1;1H it is fine", "not HTTP: expected no status line"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "not HTTP: content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n", "more than is read"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n", "a chunk size"),
        (b"", "closed without an answer"),
    ] {
        let url = saying(answer).await;
        let (status, shown) = conform(&[&url, "--only", "ERR.1.not-found"]).await;
        assert_eq!(status, Some(1), "{shown}");
        assert!(shown.contains(shown_as), "{shown}\nshould contain: {shown_as}");
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    }
}

#[tokio::test]
async fn a_service_that_never_answers_fails_within_the_bound_and_does_not_hang_the_suite() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    let arguments =
        [&url, "--only", "ERR.1.not-found,ERR.2,LIMIT.1.rapid-reset", "--grpc", "--header-timeout=1s"];
    let (status, shown) = conform(&[&arguments[..], &["--timeout=6s"]].concat()).await;
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("0 passed, 3 failed"), "{shown}");
    assert_eq!(shown.matches("not decided within --timeout 6s").count(), 3, "{shown}");
}

#[tokio::test]
async fn a_profile_gives_what_the_command_line_does_not() {
    let url = saying(problem(431)).await;
    let profile =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.toml", std::process::id()));
    let text = format!("url = '{url}'\nonly = ['ERR.1.header-bytes', 'ERR.1.method']\nrequire-all = true\n");
    std::fs::write(&profile, text).expect("can be written");
    let profile = profile.to_str().expect("is text");

    let (status, shown) = conform(&["--profile", profile]).await;
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("1 passed, 0 failed, 1 skipped"), "{shown}");

    let (status, shown) = conform(&["--profile", profile, "--only", "ERR.1.header-bytes"]).await;
    assert_eq!(status, Some(0), "{shown}");
}
