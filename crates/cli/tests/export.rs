//! `mainstay export` and what may answer at an admin address. (That the files of a real service are good is tested with real
//! Prometheus, in the tests of the shop.)

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

/// Answers every request with `body` as JSON.
fn listener(body: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
    let answer = format!("{head} {}\r\n\r\n{body}", body.len());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A directory of its own for each test, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mainstay-export-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn export(address: SocketAddr, out: &Path, more: &[&str]) -> (Option<i32>, String) {
    export_what("alerts", address, out, more)
}

fn export_what(what: &str, address: SocketAddr, out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["export", what, &address.to_string(), "--out"])
        .arg(out)
        .args(more)
        .output();
    let Output { status, stdout, stderr } = command.unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

const PAGE: &str = r#"{"slo": {}, "unknown": {"a.rules.yaml": ["there is no metric `x`"], "d.json": ["no"]}, "files": [
    {"name": "a.rules.yaml", "purpose": "alerts", "service": "a", "text": "groups: []\n"},
    {"name": "d.json", "purpose": "dashboard", "service": null, "text": "{}"}]}"#;

#[test]
fn the_files_that_were_asked_for_are_written_and_replaced() {
    let folder = Folder::new("written");
    let address = listener(PAGE);
    let (code, text) = export(address, &folder.0, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("a.rules.yaml: there is no metric `x`") && !text.contains("d.json"), "{text}");
    assert_eq!(folder.names(), ["a.rules.yaml"]);
    std::fs::write(folder.0.join("a.rules.yaml"), "old").unwrap();
    let (code, text) = export(address, &folder.0, &["--strict"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(std::fs::read_to_string(folder.0.join("a.rules.yaml")).unwrap(), "groups: []\n");
    // What is the same for all services may name what one of them lacks.
    let (code, text) = export_what("dashboard", address, &folder.0, &["--strict"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("d.json: no"), "{text}");
}

#[test]
fn what_is_no_page_of_files_writes_nothing() {
    let evil = |name: &str| {
        format!(
            r#"{{"unknown": {{}}, "files": [{{"name": "good", "purpose": "alerts", "text": ""}}, {{"name": {name:?}, "purpose": "alerts", "text": "x"}}]}}"#
        )
    };
    for (body, told) in [
        ("{}".to_owned(), "is not as expected: missing field `files`"),
        (r#"{"files": [], "unknown": {}}"#.to_owned(), "has no files for `alerts`"),
        (evil("../x"), "no plain name"),
        (evil("/etc/x"), "no plain name"),
        (evil(".profile"), "no plain name"),
        (evil(""), "no plain name"),
    ] {
        let folder = Folder::new("nothing");
        let (code, text) = export(listener(&body), &folder.0, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(told), "{text}");
        assert_eq!(folder.names(), [""; 0]);
    }
    let file = std::env::temp_dir().join(format!("mainstay-export-file-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let (code, text) = export(listener(PAGE), &file, &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&file.display().to_string()), "{text}");
    std::fs::remove_file(file).unwrap();
}
