//! `mainstay idp user` and `mainstay idp client`, and a provider that lets in whom they add.

#![cfg(feature = "issuer-sqlite")]
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A database of one test.
struct Directory {
    folder: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.file("idp.db").display())
    }

    /// The status, standard output and standard error of a command that reads `input`.
    fn run(&self, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.arg("idp").args(arguments).env("MAINSTAY_IDP_STORE", self.url());
        run(command, input)
    }

    fn done(&self, arguments: &[&str], input: &str) -> String {
        let (code, out, err) = self.run(arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        out
    }
}

fn run(mut command: Command, input: &str) -> (Option<i32>, String, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn people_are_added_shown_changed_and_removed() {
    let directory = Directory::new();
    let add =
        ["user", "add", "ada", "--role", "clerk", "--email", "ada@example.org", "--full-name", "Ada\tL."];
    assert_eq!(directory.done(&add, "correct horse\n"), "");
    let list = directory.done(&["user", "list"], "");
    let listed: toml::Value = toml::from_str(&list).unwrap();
    let ada = &listed["users"]["ada"];
    assert_eq!((ada["email"].as_str(), ada["name"].as_str()), (Some("ada@example.org"), Some("Ada\tL.")));
    assert_eq!(ada["subject"].as_str().unwrap().len(), 43);
    assert!(!list.contains("argon2") && !list.contains("horse"), "{list}");
    directory.done(&["user", "password", "ada"], "another horse\n");

    for (arguments, input, code, told) in [
        (&["user", "add", "ada"][..], "correct horse\n", 1, "`ada` is there already"),
        (&["user", "add", "bob"][..], "short\n", 78, "the password: expected 8 to 256 bytes"),
        (&["user", "add", "bob"][..], "", 78, "the password: expected 8 to 256 bytes"),
        (&["user", "add", ""][..], "correct horse\n", 78, "the name: expected"),
        (&["user", "password", "bob"][..], "correct horse\n", 1, "`bob` is not there"),
        (&["user", "remove", "bob"][..], "", 1, "`bob` is not there"),
        (&["user", "add", "bob", "--password", "correct horse"][..], "", 2, "--password"),
        (&["user", "list", "--store", "mysql://localhost/x"][..], "", 78, "--store: expected a URL"),
        (&["user", "list", "--store", ""][..], "", 78, "MAINSTAY_IDP_STORE"),
        (&["user", "list", "--store", "sqlite:///nowhere/at/all.db"][..], "", 1, "/nowhere/at/all.db"),
    ] {
        let (status, out, err) = directory.run(arguments, input);
        assert_eq!((status, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    directory.done(&["user", "remove", "ada"], "");
    let listed: toml::Value = toml::from_str(&directory.done(&["user", "list"], "")).unwrap();
    assert_eq!(listed["users"].as_table().unwrap().len(), 0);
}

#[test]
fn a_client_gets_tokens_by_the_secret_that_was_shown_once() {
    let directory = Directory::new();
    let config = directory.file("idp.toml");
    let text = format!("issuer = \"http://127.0.0.1:9400\"\n[store]\nurl = {:?}\n", directory.url());
    fs::write(&config, text).unwrap();
    let add = ["client", "add", "billing", "--grant", "client_credentials", "--audience", "orders"];
    let secret = directory.done(&add, "");
    assert_eq!(secret.trim_end().len(), 43, "{secret}");
    let list = directory.done(&["client", "list"], "");
    assert!(list.contains("[clients.billing]") && !list.contains(secret.trim_end()), "{list}");

    let mut idp = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    idp.args(["idp", "--address", "127.0.0.1:0", "--config", config.to_str().unwrap()]);
    let mut idp = Ends(idp.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(idp.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().trim_end_matches('.').rsplit(' ').next().unwrap().to_owned();

    let token = |secret: &str| {
        let mut curl = Command::new("curl");
        let user = format!("billing:{}", secret.trim_end());
        curl.args(["-s", "--max-time", "20", "-u", &user, "-d", "grant_type=client_credentials"]);
        curl.arg(format!("http://{address}/token"));
        run(curl, "").1
    };
    assert!(token(&secret).contains("access_token"), "{}", token(&secret));
    let other = directory.done(&["client", "secret", "billing"], "");
    assert_ne!(secret, other);
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !token(&other).contains("access_token") {
        assert!(tokio::time::Instant::now() < end, "{}", token(&other));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(token(&secret).contains("invalid_client"));
    drop(idp);

    for (arguments, code, told) in [
        (&["client", "add", "billing"][..], 1, "`billing` is there already"),
        (&["client", "add", "a b"][..], 78, "the name: expected an id"),
        (&["client", "add", "x", "--public", "--grant", "client_credentials"][..], 78, "--grant: expected"),
        (&["client", "add", "x", "--grant", "authorization_code"][..], 78, "--redirect-uri: expected"),
        (&["client", "add", "x", "--grant", "password"][..], 2, "authorization_code"),
        (&["client", "add", "x", "--jwks", "/nowhere"][..], 78, "--jwks: /nowhere"),
        (&["client", "secret", "x"][..], 1, "`x` is not there"),
        (&["client", "remove", "x"][..], 1, "`x` is not there"),
    ] {
        let (status, out, err) = directory.run(arguments, "");
        assert_eq!((status, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    let app = [
        "client",
        "add",
        "app",
        "--public",
        "--grant",
        "authorization_code",
        "--redirect-uri",
        "https://a.example/b",
    ];
    assert_eq!(directory.done(&app, ""), "", "it has no secret");
    directory.done(&["client", "remove", "billing"], "");
    let list = directory.done(&["client", "list"], "");
    assert!(!list.contains("billing") && list.contains("[clients.app]"), "{list}");
}

#[cfg(unix)]
#[test]
fn a_password_that_is_typed_is_not_seen() {
    use rustix::pty;
    let directory = Directory::new();
    for (typed, code) in [(["correct horse", "correct horse"], 0), (["correct horse", "another horse"], 78)] {
        let terminal = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
        pty::grantpt(&terminal).unwrap();
        pty::unlockpt(&terminal).unwrap();
        let name = pty::ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let user = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(["idp", "user", "add", "ada"]).env("MAINSTAY_IDP_STORE", directory.url());
        command.stdin(user.try_clone().unwrap()).stdout(user.try_clone().unwrap()).stderr(user);
        let mut child = Ends(command.spawn().unwrap());
        drop(command);
        let mut terminal = fs::File::from(terminal);
        let mut seen = Vec::new();
        // Each line is typed when it is asked for.
        for (prompt, line) in ["Password: ", "Again: "].into_iter().zip(typed) {
            while !String::from_utf8_lossy(&seen).ends_with(prompt) {
                let mut byte = [0];
                terminal.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            writeln!(terminal, "{line}").unwrap();
        }
        assert_eq!(child.0.wait().unwrap().code(), Some(code));
        // It fails when the last one has closed the other end.
        let _ = terminal.read_to_end(&mut seen);
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(!seen.contains("horse"), "{seen}");
        assert_eq!(seen.contains("two different passwords"), code == 78, "{seen}");
        if code == 0 {
            directory.done(&["user", "remove", "ada"], "");
        }
    }
}
