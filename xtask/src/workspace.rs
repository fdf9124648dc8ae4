//! What cargo knows about the workspace and its dependencies.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Deserialize;

use crate::process::{Failure, Result, cargo, output};

/// `cargo metadata`, as far as it is read here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
    workspace_members: Vec<String>,
}

/// One package at one version.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    id: String,
    /// The registry or repository it came from; none for the packages of this workspace.
    pub(crate) source: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) rust_version: Option<String>,
    /// `Some(empty)` is `publish = false`.
    publish: Option<Vec<String>>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A package's name and version.
pub(crate) type Release = (String, String);

impl Metadata {
    /// Every package that the lock file names, for all platforms and features.
    ///
    /// # Errors
    /// Also fails when the lock file does not fit the manifests.
    pub(crate) fn read() -> Result<Self> {
        Self::from_cargo(&["--all-features"])
    }

    /// The packages of this workspace alone: needs no network and no dependency's source.
    pub(crate) fn read_members() -> Result<Self> {
        Self::from_cargo(&["--no-deps"])
    }

    fn from_cargo(options: &[&str]) -> Result<Self> {
        let text = output(cargo().args(["metadata", "--format-version=1", "--locked"]).args(options))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("cannot read what `cargo metadata` wrote: {error}")))
    }

    /// The packages of this workspace, in the order of their names.
    pub(crate) fn members(&self) -> Vec<&Package> {
        let mut members: Vec<_> =
            self.packages.iter().filter(|package| self.workspace_members.contains(&package.id)).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    /// The packages that are published: what a user's build contains.
    pub(crate) fn published(&self) -> Vec<&Package> {
        let is_published = |package: &&Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
        self.members().into_iter().filter(is_published).collect()
    }
}

impl Package {
    pub(crate) fn is_library(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "lib"))
    }

    /// The names of its programs.
    pub(crate) fn binaries(&self) -> Vec<&str> {
        let is_binary = |target: &&Target| target.kind.iter().any(|kind| kind == "bin");
        self.targets.iter().filter(is_binary).map(|target| target.name.as_str()).collect()
    }

    /// All of its features but these, as cargo takes them for several packages at once.
    pub(crate) fn features_but(&self, names: &[String]) -> Vec<String> {
        let others = self.features.keys().filter(|feature| !names.contains(feature));
        others.map(|feature| format!("{}/{feature}", self.name)).collect()
    }

    pub(crate) fn release(&self) -> Release {
        (self.name.clone(), self.version.clone())
    }
}

/// Which part of the dependency tree is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Default features, on the platform at hand: what `cargo build` compiles.
    Default,
    /// All features, on all platforms: what any user's build can contain.
    Everything,
}

/// Everything that a build of `packages` compiles, themselves included, without their tests.
pub(crate) fn compiled(packages: &[&str], reach: Reach) -> Result<BTreeSet<Release>> {
    let mut options = vec!["--edges=normal,build"];
    if reach == Reach::Everything {
        options.extend(["--all-features", "--target=all"]);
    }
    options.extend(packages.iter().flat_map(|package| ["--package", package]));
    tree(&options)
}

/// Everything that a build of `packages` with these features compiles on any platform, themselves included, without their tests.
pub(crate) fn compiled_with(packages: &[&str], features: &[String]) -> Result<BTreeSet<Release>> {
    let features = format!("--features={}", features.join(","));
    let mut options = vec!["--edges=normal,build", "--target=all", &features];
    options.extend(packages.iter().flat_map(|package| ["--package", package]));
    tree(&options)
}

/// Everything that anybody who works on this repository compiles, tests included, on any platform.
pub(crate) fn compiled_by_anybody() -> Result<BTreeSet<Release>> {
    tree(&["--edges=normal,build,dev", "--workspace", "--all-features", "--target=all"])
}

/// `cargo tree` and not the graph in `cargo metadata` or the lock file: those name also what no set of features
/// can turn on, and what only other members of the workspace turn on.
fn tree(options: &[&str]) -> Result<BTreeSet<Release>> {
    let text = output(cargo().args(["tree", "--locked", "--prefix=none", "--format={p}"]).args(options))?;
    Ok(text.lines().filter_map(release_in).collect())
}

/// Reads a line such as `axum-core v0.5.5 (proc-macro) (*)`.
fn release_in(line: &str) -> Option<Release> {
    let (name, rest) = line.split_once(" v")?;
    let version = rest.split(' ').next()?;
    Some((name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_gives_name_and_version() {
        let release = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        assert_eq!(release_in("bytes v1.10.0"), release("bytes", "1.10.0"));
        assert_eq!(release_in("clap_derive v4.6.0 (proc-macro) (*)"), release("clap_derive", "4.6.0"));
        assert_eq!(release_in("hello v0.1.0 (/some/v1/hello)"), release("hello", "0.1.0"));
        assert_eq!(release_in(""), None);
    }

    #[test]
    fn the_facade_is_published_and_this_program_is_not() {
        let metadata = Metadata::read_members().unwrap();
        let names: Vec<_> = metadata.published().iter().map(|package| package.name.as_str()).collect();
        assert!(names.contains(&"mainstay"), "{names:?}");
        assert!(names.contains(&"mainstay-core"), "{names:?}");
        assert!(!names.contains(&"xtask"), "{names:?}");
    }
}
