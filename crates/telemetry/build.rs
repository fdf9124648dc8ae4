//! Tells the crate which compiler made it: `process.runtime.version`.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(compiler).arg("--version").output().ok();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // `rustc 1.88.0 (hash date)`.
    let version = said.split_ascii_whitespace().nth(1).unwrap_or_default();
    println!("cargo::rustc-env=MAINSTAY_RUSTC_VERSION={version}");
}
