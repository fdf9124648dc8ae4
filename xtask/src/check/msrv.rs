//! The Rust version that we promise, held against what the dependencies promise.
//!
//! Where a toolchain of that version is installed, the published crates are also compiled with it. Some features want a newer Rust,
//! and say so in `xtask/msrv.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde::Deserialize;

use crate::{
    process::{Failure, Result, output, quiet, root, run},
    workspace::{Metadata, Package, Reach, Release, compiled, compiled_with},
};

/// `xtask/msrv.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(rename_all = "kebab-case")]
struct Ledger {
    floor: Floor,
    features_apart: FeaturesApart,
    undeclared: BTreeMap<String, Entry>,
}

/// The oldest Rust of a promise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Floor {
    rust_version: String,
    released: String,
}

/// Features that are not covered by it, and what they want.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FeaturesApart {
    names: Vec<String>,
    floor: Floor,
}

/// A dependency that does not say which Rust it needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: String,
    /// When this version was released: compilers stay able to compile what an older one could.
    released: Option<String>,
    /// Why it is known to compile, where the date does not say so.
    reason: Option<String>,
}

/// Checks what the dependencies of the published crates say.
pub(super) fn check() -> Result {
    let file = root().join("xtask/msrv.toml");
    let text =
        fs::read_to_string(&file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let ledger: Ledger =
        toml::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;

    let metadata = Metadata::read()?;
    let apart = &ledger.features_apart.names;
    let unknown =
        |name: &&String| metadata.published().iter().all(|package| !package.features.contains_key(*name));
    if let Some(name) = apart.iter().find(unknown) {
        return Err(Failure::new(format!("xtask/msrv.toml: no published crate has the feature `{name}`")));
    }
    let published: Vec<&str> = metadata.published().iter().map(|package| package.name.as_str()).collect();
    let features: Vec<String> =
        metadata.published().iter().flat_map(|package| package.features_but(apart)).collect();
    let by_most = compiled_with(&published, &features)?;
    let by_all = compiled(&published, Reach::Everything)?;
    let among = |releases: &BTreeSet<Release>| {
        metadata.packages.iter().filter(|package| releases.contains(&package.release())).collect::<Vec<_>>()
    };
    let (packages, others) = (among(&by_most), among(&by_all.difference(&by_most).cloned().collect()));

    let complaints = ledger.complaints(&packages, &others);
    if !complaints.is_empty() {
        return Err(Failure::new(format!(
            "of xtask/msrv.toml and Cargo.lock:\n  {}",
            complaints.join("\n  ")
        )));
    }
    eprintln!(
        "{} packages promise to compile with Rust {} or older, and {} more of {} with {}; {} of them by xtask/msrv.toml",
        packages.len(),
        ledger.floor.rust_version,
        others.len(),
        apart.join(", "),
        ledger.features_apart.floor.rust_version,
        ledger.undeclared.len()
    );
    let target = metadata.target_directory.join("msrv");
    compile_with(&ledger.floor.rust_version, &published, &features, &target)
}

/// Compiles the published crates with that very toolchain, if it is there.
fn compile_with(version: &str, published: &[&str], features: &[String], target: &Path) -> Result {
    let Ok(listed) = quiet(Command::new("rustup").args(["toolchain", "list"])) else {
        eprintln!("not compiled with Rust {version}: there is no rustup to ask for it");
        return Ok(());
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let Some(toolchain) = listed.split_whitespace().find(|name| is_toolchain(name, version)) else {
        eprintln!("not compiled with Rust {version}: `rustup toolchain install {version}` would change that");
        return Ok(());
    };
    let path = output(Command::new("rustup").args(["which", "cargo", "--toolchain", toolchain]))?;
    let mut command = Command::new(path.trim());
    // `cargo run` points these at the toolchain that compiled this program.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "LD_LIBRARY_PATH"] {
        command.env_remove(variable);
    }
    // A folder of its own: two compilers would take turns at replacing each other's files.
    command.current_dir(root()).env("RUSTUP_TOOLCHAIN", toolchain).env("CARGO_TARGET_DIR", target);
    command.args(["check", "--locked", "--features", &features.join(",")]);
    for package in published {
        command.args(["--package", package]);
    }
    run(&mut command)
}

fn is_toolchain(name: &str, version: &str) -> bool {
    name.strip_prefix(version).is_some_and(|rest| {
        let rest = rest
            .strip_prefix('.')
            .map_or(rest, |patch| patch.trim_start_matches(|c: char| c.is_ascii_digit()));
        rest.is_empty() || rest.starts_with('-')
    })
}

impl Ledger {
    /// Of what most features bring, and of what only the others do.
    fn complaints(&self, packages: &[&Package], others: &[&Package]) -> Vec<String> {
        let each = packages.iter().filter_map(|package| self.complaint(package, &self.floor));
        let of_others: Vec<_> =
            others.iter().filter_map(|package| self.complaint(package, &self.features_apart.floor)).collect();
        let stale = self.undeclared.iter().filter(|(name, entry)| {
            let is_meant = |package: &&Package| {
                package.name == name_in(name)
                    && package.version == entry.version
                    && package.rust_version.is_none()
            };
            !packages.iter().chain(others).any(is_meant)
        });
        let stale = stale.map(|(name, entry)| {
            let (name, version) = (name_in(name), &entry.version);
            format!(
                "{name} {version}: listed, but it is not used, or it says what it needs: take the line out"
            )
        });
        each.chain(of_others).chain(stale).collect()
    }

    fn complaint(&self, package: &Package, floor: &Floor) -> Option<String> {
        let what = format!("{} {}", package.name, package.version);
        let Floor { rust_version: floor, released } = floor;
        let Some(needed) = &package.rust_version else {
            return self
                .undeclared_complaint(package, released)
                .map(|complaint| format!("{what}: {complaint}"));
        };
        // The members promise exactly what the ledger is about.
        let is_fine =
            if package.source.is_none() { needed == floor } else { triple(needed)? <= triple(floor)? };
        (!is_fine).then(|| format!("{what}: wants Rust {needed}, and Rust {floor} is promised"))
    }

    fn undeclared_complaint(&self, package: &Package, floor_released: &str) -> Option<String> {
        let mut listed = self.undeclared.iter();
        let is_meant = |(name, entry): &(&String, &Entry)| {
            package.name == name_in(name) && package.version == entry.version
        };
        let Some((_, entry)) = listed.find(is_meant) else {
            return Some(
                "does not say which Rust it needs, and is not listed at this version: list it with its date of \
                 release, or with the reason why it compiles"
                    .to_owned(),
            );
        };
        match (&entry.released, &entry.reason) {
            // ISO dates sort as text.
            (Some(date), None) if date.as_str() < floor_released => None,
            (Some(date), None) => Some(format!(
                "released {date}, after the Rust that is promised: a reason is needed, not a date"
            )),
            (None, Some(reason)) if !reason.trim().is_empty() => None,
            _ => Some("wants either `released` or `reason`".to_owned()),
        }
    }
}

/// The package of a line. Where several versions of one are used, the others are listed as `NAME@VERSION`.
fn name_in(key: &str) -> &str {
    key.split('@').next().unwrap_or(key)
}

/// `1.88` and `1.88.0` as numbers; none for what is no version, which cargo itself would have refused.
fn triple(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let triple = [numbers.next()??, numbers.next().unwrap_or(Some(0))?, numbers.next().unwrap_or(Some(0))?];
    numbers.next().is_none().then_some(triple)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        toml::from_str(
            r#"
            [floor]
            rust-version = "1.88"
            released = "2025-06-26"
            [features-apart]
            names = ["newer"]
            floor = { rust-version = "1.94", released = "2026-03-05" }
            [undeclared]
            old = { version = "1.0.0", released = "2020-01-01" }
            new = { version = "1.0.0", released = "2026-01-01" }
            read = { version = "1.0.0", reason = "its tests run with 1.60" }
            "read@0.9.0" = { version = "0.9.0", reason = "its tests run with 1.60" }
            "#,
        )
        .unwrap()
    }

    fn package(name: &str, version: &str, rust_version: Option<&str>) -> Package {
        serde_json::from_value(serde_json::json!({
            "name": name, "version": version, "id": name, "source": "registry+https://registry.example",
            "license": null, "rust_version": rust_version, "publish": null, "features": {}, "targets": [],
        }))
        .unwrap()
    }

    fn complaint(name: &str, version: &str, rust_version: Option<&str>) -> Option<String> {
        let ledger = ledger();
        ledger.complaint(&package(name, version, rust_version), &ledger.floor)
    }

    #[test]
    fn what_declares_no_newer_rust_passes() {
        assert_eq!(complaint("some", "1.0.0", Some("1.88")), None);
        assert_eq!(complaint("some", "1.0.0", Some("1.88.0")), None);
        assert_eq!(complaint("some", "1.0.0", Some("1.9")), None);
        assert_eq!(
            complaint("some", "1.0.0", Some("1.88.1")).unwrap(),
            "some 1.0.0: wants Rust 1.88.1, and Rust 1.88 is promised"
        );
        assert!(complaint("some", "1.0.0", Some("1.94.0")).is_some());
    }

    #[test]
    fn what_declares_nothing_passes_by_an_old_release_or_a_reason() {
        assert_eq!(complaint("read", "0.9.0", None), None);
        assert_eq!(complaint("old", "1.0.0", None), None);
        assert_eq!(complaint("read", "1.0.0", None), None);
        assert!(complaint("new", "1.0.0", None).unwrap().contains("a reason is needed, not a date"));
        assert!(complaint("other", "1.0.0", None).unwrap().contains("is not listed at this version"));
        assert!(complaint("old", "1.0.1", None).unwrap().contains("is not listed at this version"));
    }

    #[test]
    fn a_line_that_no_longer_applies_is_complained_of() {
        let (old, read) = (package("old", "1.0.0", None), package("read", "1.0.0", Some("1.60")));
        let complaints = ledger().complaints(&[&old, &read], &[]);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints.iter().all(|complaint| complaint.contains("take the line out")), "{complaints:?}");
    }

    #[test]
    fn what_only_features_apart_bring_may_want_their_newer_rust_and_no_newer_one() {
        let of = |rust_version| package("some", "1.0.0", Some(rust_version));
        let told = |others: &[&Package]| {
            let complaints = ledger().complaints(&[], others);
            complaints
                .into_iter()
                .filter(|complaint| !complaint.contains("take the line out"))
                .collect::<Vec<_>>()
        };
        assert!(told(&[&of("1.94.0"), &of("1.60")]).is_empty());
        assert_eq!(told(&[&of("1.95")]), ["some 1.0.0: wants Rust 1.95, and Rust 1.94 is promised"]);
        assert!(told(&[&package("new", "1.0.0", None)]).is_empty(), "it came out before 1.94");
    }

    #[test]
    fn only_the_promised_version_counts_as_its_toolchain() {
        assert!(is_toolchain("1.88-x86_64-unknown-linux-gnu", "1.88"));
        assert!(is_toolchain("1.88.0-x86_64-unknown-linux-gnu", "1.88"));
        assert!(is_toolchain("1.88.0", "1.88"));
        assert!(!is_toolchain("1.889.0-x86_64-unknown-linux-gnu", "1.88"));
        assert!(!is_toolchain("stable-x86_64-unknown-linux-gnu", "1.88"));
    }
}
