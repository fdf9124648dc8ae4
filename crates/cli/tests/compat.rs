//! `mainstay compat` as it is run in CI.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A directory of its own for each test, gone when it ends.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("mainstay-compat-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn described(paths: &str) -> String {
    format!(r#"{{"openapi": "3.1.0", "info": {{"title": "x", "version": "1"}}, "paths": {{{paths}}}}}"#)
}

fn compat(old: &Path, new: &Path, option: &[&str]) -> (Option<i32>, String) {
    let command =
        Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("compat").args([old, new]).args(option).output();
    let Output { status, stdout, stderr } = command.unwrap();
    (status.code(), format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
}

#[test]
fn the_status_says_whether_something_breaks() {
    let files = Files::new("status");
    let old = files.file("old.json", &described(r#""/a": {"get": {}}"#));
    let new = files.file("new.json", &described(r#""/a": {"get": {}}, "/b": {"get": {}}"#));
    let (code, text) = compat(&old, &new, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ok  added") && text.contains("0 breaking changes, 1 compatible"), "{text}");
    let (code, text) = compat(&new, &old, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("BREAKING  the path `/b` is gone\n    at  /paths/~1b\n"), "{text}");
    let (code, text) = compat(&new, &old, &["--json", "--quiet"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["breaking"][0]["pointer"].as_str()), (Some(1), Some("/paths/~1b")));
    assert_eq!(json["compatible"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_file_that_is_no_description_is_named() {
    let files = Files::new("unusable");
    let good = files.file("good.json", &described(""));
    for (text, told) in [
        ("{", "it is not JSON: EOF while parsing"),
        ("{}", "it is no OpenAPI description: `openapi` is not there"),
    ] {
        let bad = files.file("bad.json", text);
        let (code, output) = compat(&good, &bad, &[]);
        assert_eq!(code, Some(2), "{output}");
        assert!(output.contains("bad.json") && output.contains(told), "{output}");
    }
    let (code, output) = compat(&good, &files.0.join("none.json"), &[]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("none.json"), "{output}");
}

#[test]
fn descriptions_of_grpc_are_compared_from_their_source_or_encoded() {
    let files = Files::new("protobuf");
    let described = |fields: &str| {
        format!(
            "syntax = \"proto3\"; package shop.v1; import \"google/protobuf/timestamp.proto\";
             message Item {{ google.protobuf.Timestamp at = 9; {fields} }}
             service Items {{ rpc Show(Item) returns (Item); }}"
        )
    };
    let old = files.file("old.proto", &described("string sku = 1;"));
    let renamed = files.file("renamed.proto", &described("string code = 1;"));
    let retyped = files.file("retyped.proto", &described("uint32 sku = 1;"));

    let (code, text) = compat(&old, &old, &[]);
    assert_eq!((code, text.as_str()), (Some(0), "0 breaking changes, 0 compatible\n"));
    let (code, text) = compat(&old, &retyped, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("BREAKING  shop.v1.Item.sku: ") && text.contains("string sku = 1"), "{text}");
    let (code, text) = compat(&old, &renamed, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("SOURCE  shop.v1.Item.sku: it is named `code` now"), "{text}");
    assert_eq!(compat(&old, &renamed, &["--source"]).0, Some(1));

    let set = protox::compile([&retyped], [&files.0]).unwrap();
    let encoded = files.0.join("set.bin");
    std::fs::write(&encoded, protox::prost::Message::encode_to_vec(&set)).unwrap();
    assert_eq!(compat(&encoded, &retyped, &[]).0, Some(0));
    assert_eq!(compat(&old, &encoded, &[]).0, Some(1));

    let broken = files.file("broken.proto", "syntax = \"proto3\"; message {");
    let openapi = files.file("openapi.json", &self::described(""));
    for (new, told) in [(&broken, "broken.proto"), (&openapi, "one is OpenAPI, the other one protobuf")] {
        let (code, text) = compat(&old, new, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(told), "{text}");
    }
}
