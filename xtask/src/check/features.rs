//! Each feature of each library crate alone.

use crate::{
    process::{Failure, Result, cargo, run, written},
    workspace::{Metadata, Package},
};

/// Lints each published library without features, with its default ones, and with each feature alone.
///
/// Clippy and not `cargo check`: `--deny=warnings` after its `--` reaches our crates only, while RUSTFLAGS would
/// make cargo compile every dependency once more.
pub(super) fn check() -> Result {
    let metadata = Metadata::read_members()?;
    let mut failed = Vec::new();
    for package in metadata.published().into_iter().filter(|package| package.is_library()) {
        for options in combinations(package) {
            let mut command = cargo();
            command.args(["clippy", "--quiet", "--locked", "--package", &package.name]);
            command.args(&options).args(["--", "--deny=warnings"]);
            if run(&mut command).is_err() {
                failed.push(written(&command));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("these do not pass:\n  {}", failed.join("\n  "))))
}

/// The options of one run each.
fn combinations(package: &Package) -> Vec<Vec<&str>> {
    let mut runs = vec![vec!["--no-default-features"]];
    // A crate with nothing in `default` has just been checked as that.
    if package.features.get("default").is_some_and(|features| !features.is_empty()) {
        runs.push(Vec::new());
    }
    let alone = package.features.keys().filter(|feature| *feature != "default");
    runs.extend(alone.map(|feature| vec!["--no-default-features", "--features", feature.as_str()]));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &serde_json::Value) -> Package {
        serde_json::from_value(serde_json::json!({
            "name": "some", "version": "1.0.0", "id": "some", "source": null, "license": null,
            "rust_version": null, "publish": null, "features": features, "targets": [],
        }))
        .unwrap()
    }

    #[test]
    fn none_default_and_each_alone() {
        let package = package(&serde_json::json!({ "default": ["a"], "a": [], "b": ["dep:b"] }));
        assert_eq!(
            combinations(&package),
            [
                vec!["--no-default-features"],
                vec![],
                vec!["--no-default-features", "--features", "a"],
                vec!["--no-default-features", "--features", "b"],
            ]
        );
    }

    #[test]
    fn an_empty_default_is_not_checked_twice() {
        assert_eq!(
            combinations(&package(&serde_json::json!({ "default": [] }))),
            [vec!["--no-default-features"]]
        );
    }
}
