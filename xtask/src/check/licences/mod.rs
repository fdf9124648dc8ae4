//! `deny.toml`, enforced without cargo-deny.
//!
//! cargo-deny does more (it reads licence texts and advisories) and reads the same file, but building it costs more
//! than all the other stages together. So the parts that `cargo metadata` alone can decide are decided here: the
//! declared licences, the sources and the banned names.

mod expression;

use std::fs;

use serde::Deserialize;

use crate::{
    process::{Failure, Result, root},
    workspace::{Metadata, Package, compiled_by_anybody},
};

/// The part of `deny.toml` that is read here.
#[derive(Debug, Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Sources {
    #[serde(rename = "allow-registry")]
    registries: Vec<String>,
}

/// Holds every package that is ever compiled against `deny.toml`.
pub(super) fn check() -> Result {
    let file = root().join("deny.toml");
    let text =
        fs::read_to_string(&file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let policy: Policy =
        toml::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let compiled = compiled_by_anybody()?;
    let mut packages = Metadata::read()?.packages;
    packages.retain(|package| compiled.contains(&package.release()));
    let complaints: Vec<_> = packages.iter().flat_map(|package| policy.complaints(package)).collect();
    if complaints.is_empty() {
        eprintln!("{} packages, all as deny.toml allows", packages.len());
        return Ok(());
    }
    Err(Failure::new(format!("deny.toml does not allow:\n  {}", complaints.join("\n  "))))
}

impl Policy {
    fn complaints(&self, package: &Package) -> Vec<String> {
        let what = format!("{} {}", package.name, package.version);
        let found = [self.about_licence(package), self.about_name(package), self.about_source(package)];
        found.into_iter().flatten().map(|complaint| format!("{what}: {complaint}")).collect()
    }

    fn about_licence(&self, package: &Package) -> Option<String> {
        let Some(licence) = &package.license else { return Some("declares no licence".to_owned()) };
        match expression::is_satisfied(licence, |id| self.licenses.allow.iter().any(|allowed| allowed == id))
        {
            Ok(true) => None,
            Ok(false) => Some(format!("licence {licence:?} cannot be met with what licenses.allow lists")),
            Err(error) => Some(format!("licence {licence:?} cannot be read: {error}")),
        }
    }

    fn about_name(&self, package: &Package) -> Option<String> {
        let ban = self.bans.deny.iter().find(|ban| ban.name == package.name)?;
        Some(format!("banned: {}", ban.reason))
    }

    fn about_source(&self, package: &Package) -> Option<String> {
        let source = package.source.as_ref()?;
        let is_allowed = |registry: &String| source.strip_prefix("registry+") == Some(registry);
        let is_known = self.sources.registries.iter().any(is_allowed);
        (!is_known).then(|| format!("comes from {source}, which is not in sources.allow-registry"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        toml::from_str(
            r#"
            [licenses]
            allow = ["MIT"]
            [bans]
            deny = [{ crate = "openssl", reason = "rustls is the one TLS" }]
            [sources]
            allow-registry = ["https://registry.example/index"]
            "#,
        )
        .unwrap()
    }

    fn package(name: &str, license: Option<&str>, source: Option<&str>) -> Package {
        serde_json::from_value(serde_json::json!({
            "name": name, "version": "1.0.0", "id": name, "source": source, "license": license,
            "rust_version": null, "publish": null, "features": {}, "targets": [],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_allowed_passes() {
        let source = Some("registry+https://registry.example/index");
        assert_eq!(policy().complaints(&package("some", Some("MIT OR GPL-3.0-only"), source)), [""; 0]);
        assert_eq!(policy().complaints(&package("ours", Some("MIT"), None)), [""; 0]);
    }

    #[test]
    fn licence_name_and_source_are_each_complained_of() {
        let complaints =
            policy().complaints(&package("openssl", Some("GPL-3.0-only"), Some("git+https://x.example/y#1")));
        assert_eq!(
            complaints,
            [
                "openssl 1.0.0: licence \"GPL-3.0-only\" cannot be met with what licenses.allow lists",
                "openssl 1.0.0: banned: rustls is the one TLS",
                "openssl 1.0.0: comes from git+https://x.example/y#1, which is not in sources.allow-registry",
            ]
        );
    }

    #[test]
    fn no_licence_and_a_garbled_one_are_complained_of() {
        assert_eq!(policy().complaints(&package("some", None, None)), ["some 1.0.0: declares no licence"]);
        let complaints = policy().complaints(&package("some", Some("MIT AND"), None));
        assert_eq!(
            complaints,
            ["some 1.0.0: licence \"MIT AND\" cannot be read: a licence is missing at the end"]
        );
    }
}
