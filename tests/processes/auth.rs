//! Who is let in, as a peer of the process sees it.

use std::{
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Answer, Process, binary, exchange, get, metrics};

const SECRET: &str = "a secret of at least thirty-two characters";

pub(crate) fn token(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://id.example", "aud": "specimen", "sub": subject, "client_id": "web", "jti": "1",
        "iat": now, "exp": now + 600,
    });
    let header = jsonwebtoken::Header { typ: Some("at+jwt".to_owned()), ..jsonwebtoken::Header::default() };
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

async fn closed() -> Process {
    closed_with(&[]).await
}

pub(crate) async fn closed_with(arguments: &[&str]) -> Process {
    let secret = format!("auth.issuers.main.secret={SECRET}");
    let issuer = "auth.issuers.main.issuer=https://id.example";
    let closed = ["--set", "auth.audience=specimen", "--set", issuer, "--set", &secret];
    Process::specimen(&[&closed, arguments].concat()).await
}

pub(crate) async fn ask(process: &Process, line: &str, fields: &str) -> Answer {
    exchange(process.main, &format!("{line} HTTP/1.1\r\nHost: test\r\n{fields}Connection: close\r\n\r\n"))
        .await
}

#[tokio::test]
async fn what_is_not_public_wants_a_token_and_tells_nobody_what_there_is() {
    let specimen = closed().await;
    let with_token = format!("Authorization: Bearer {}\r\n", token("alice"));
    assert_eq!(ask(&specimen, "GET /public", "").await.body, "for everybody");
    assert_eq!(ask(&specimen, "GET /hello", &with_token).await.body, "hello");
    assert_eq!(ask(&specimen, "GET /nowhere", &with_token).await.status, 404);
    assert_eq!(ask(&specimen, "DELETE /hello", &with_token).await.status, 405);
    for line in ["GET /hello", "DELETE /hello", "POST /hello", "GET /nowhere", "OPTIONS /hello", "GET /"] {
        let answer = ask(&specimen, line, "").await;
        assert_eq!(answer.status, 401, "{line}");
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains("www-authenticate: bearer realm=\"specimen\""), "{line}: {head}");
        assert!(!head.contains("\r\nallow:"), "{line}: {head}");
    }
    assert_eq!(ask(&specimen, "GET /public", "Authorization: Bearer x\r\n").await.status, 401);
    // Probes and metrics have a listener of their own.
    assert_eq!(get(specimen.admin, "/readyz").await.status, 200);
    let refused: f64 = metrics(&specimen)
        .await
        .iter()
        .filter(|(series, _)| series.starts_with("mainstay_auth_refused"))
        .map(|(_, value)| value)
        .sum();
    assert!(refused >= 7.0, "{refused}");
}

#[tokio::test]
async fn over_grpc_health_is_for_everybody_and_what_there_is_to_call_is_not() {
    let specimen = closed().await;
    // An empty message.
    let call = async |method: &str| {
        let fields = "Content-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n";
        let request =
            format!("POST {method} HTTP/1.1\r\nHost: test\r\n{fields}Connection: close\r\n\r\n\0\0\0\0\0");
        exchange(specimen.main, &request).await.head.to_ascii_lowercase()
    };
    let health = call("/grpc.health.v1.Health/Check").await;
    assert!(!health.contains("grpc-status: 16") && health.starts_with("http/1.1 200"), "{health}");
    for method in [
        "/specimen.v1.Echo/Say",
        "/specimen.v1.None/Say",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let answer = call(method).await;
        assert!(answer.contains("grpc-status: 16"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_program_that_was_not_told_whose_tokens_to_take_ends_with_78_unless_a_developer_runs_it() {
    let start = |arguments: &[&str], profile: &str| {
        let mut command = Process::command(&binary("hello"), arguments);
        command.env("MAINSTAY_PROFILE", profile);
        command
    };
    let refused = start(&[], "production").stdout(Stdio::null()).kill_on_drop(true).output();
    let refused = timeout(Duration::from_secs(60), refused).await.expect("it does not start").unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("auth.required") && told.contains("auth.required = false"), "{told}");
    for (arguments, profile, line) in
        [(&["--set", "auth.required=false"][..], "production", "INFO"), (&[], "dev", "WARN")]
    {
        let hello = Process::spawn(start(arguments, profile)).await;
        assert_eq!(ask(&hello, "GET /", "").await.body, "hello, world\n");
        let said = |text: &str| text.contains("nobody is authenticated") && text.contains(line);
        let lines: Vec<_> =
            hello.log().text().lines().filter(|text| said(text)).map(ToOwned::to_owned).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}
