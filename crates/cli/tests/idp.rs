//! `mainstay idp` and `mainstay token`, as somebody uses them who begins.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// A provider that ends with the test.
struct Idp {
    process: Child,
    issuer: String,
}

impl Idp {
    fn start(arguments: &[&str]) -> Self {
        let mut command = mainstay(&["idp", "--address", "127.0.0.1:0"]);
        let mut process =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let issuer = first
            .split(' ')
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("{first}"))
            .to_owned();
        Self { process, issuer }
    }

    fn end(mut self) -> Option<i32> {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mainstay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = mainstay(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(index).unwrap()).unwrap())
        .unwrap()
}

#[test]
fn one_command_runs_a_provider_and_one_gets_a_token_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let options = [
        "--keys",
        keys.to_str().unwrap(),
        "--audience",
        "orders",
        "--scope",
        "orders:read",
        "--scope",
        "orders:write",
    ];
    let idp = Idp::start(&options);
    let (code, token, err) = run(&["token", "--issuer", &idp.issuer]);
    assert_eq!(code, Some(0), "{err}");
    let claims = part(&token, 1);
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["sub"]),
        (&idp.issuer.as_str().into(), &"orders".into(), &"dev".into())
    );
    assert_eq!(claims["scope"], "orders:read orders:write");
    let (_, header, _) = run(&[
        "token",
        "--issuer",
        &idp.issuer,
        "--scope",
        "orders:read",
        "--audience",
        "orders",
        "--header",
    ]);
    let token = header.strip_prefix("Authorization: Bearer ").unwrap();
    assert_eq!(part(token, 1)["scope"], "orders:read");
    for (arguments, told) in [
        (["--scope", "admin"], "refuses: invalid_scope"),
        (["--audience", "payments"], "refuses: invalid_target"),
        (["--client", "another"], "expected --secret-file"),
        (["--secret-file", keys.to_str().unwrap()], "refuses: invalid_client"),
        (["--secret-file", "/nowhere"], "/nowhere"),
    ] {
        let (code, out, err) = run(&["token", "--issuer", &idp.issuer, arguments[0], arguments[1]]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
    assert_eq!(idp.end(), Some(0));
    // Its keys are there again the next time.
    let again = Idp::start(&options);
    let (_, next, _) = run(&["token", "--issuer", &again.issuer]);
    assert_eq!(part(&next, 0)["kid"], part(token, 0)["kid"]);
}

#[test]
fn a_provider_runs_by_a_file_and_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, secret) = (folder.path().join("idp.toml"), folder.path().join("secret"));
    let written = |text: &str| std::fs::write(&config, text).unwrap();
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    let at = config.to_str().unwrap();
    // Its URL is that of the gateway before it; whoever asks directly finds that it is called otherwise.
    written(
        "issuer = \"http://127.0.0.1:9/tenant\"\n[clients.batch]\nsecret = \"0123456789abcdef\"\ngrants = [\"client_credentials\"]\n",
    );
    let mut command = mainstay(&["idp", "--address", "127.0.0.1:0", "--config", at]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().trim_end_matches('.').rsplit(' ').next().unwrap().to_owned();
    let idp = Idp { process, issuer: format!("http://{address}/tenant") };
    let (code, _, err) = run(&[
        "token",
        "--issuer",
        &idp.issuer,
        "--client",
        "batch",
        "--secret-file",
        secret.to_str().unwrap(),
    ]);
    assert_eq!(code, Some(2));
    assert!(err.contains("calls itself otherwise"), "{err}");
    assert_eq!(idp.end(), Some(0));
    for (text, told) in [
        ("issuer = \"http://127.0.0.1:9\"\nclient = 1\n", "client"),
        ("issuer = \"http://id.example\"\n", "https"),
        ("[clients.batch]\nsecret = \"short\"\n", "16 to 1024"),
    ] {
        written(text);
        let (code, _, err) = run(&["idp", "--address", "127.0.0.1:0", "--config", at]);
        assert_eq!(code, Some(78), "{err}");
        assert!(err.contains(told) && err.contains("idp.toml"), "{err}");
        assert!(!err.contains("short"), "a secret is not shown: {err}");
    }
}

#[test]
fn what_everybody_knows_is_for_this_machine_only() {
    let (code, _, err) = run(&["idp", "--address", "0.0.0.0:0"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("no loopback address") && err.contains("--config"), "{err}");
}

#[test]
fn a_token_without_a_provider_is_told_as_that() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (issuer, told) in [
        (format!("http://{closed}"), "could not connect"),
        ("https://id.example".to_owned(), "speaks no TLS"),
        ("id.example".to_owned(), "expected an `http://` URL"),
    ] {
        let (code, out, err) = run(&["token", "--issuer", &issuer]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.contains(told), "{err}");
    }
}

#[test]
fn a_password_is_hashed_for_the_configuration() {
    let mut command = mainstay(&["idp", "--hash"]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    let output = process.wait_with_output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && hash.ends_with('\n'), "{hash}");
}

#[cfg(not(feature = "issuer-postgres"))]
#[test]
fn a_database_that_was_not_compiled_in_is_told_by_its_feature() {
    let (code, _, err) = run(&["idp", "user", "list", "--store", "postgres://127.0.0.1/x"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("--store: expected") && err.contains("`issuer-postgres`"), "{err}");
}
