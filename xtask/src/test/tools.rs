//! The programs that the tests need, and how to get them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::glewlwyd::Glewlwyd;
use crate::{
    process::{Failure, Result, is_on_path, is_root, quoted, root, run, succeeds},
    workspace::Metadata,
};

/// Programs that tests start, and the Debian package of each.
const PROGRAMS: [(&str, &str); 18] = [
    ("chromium-headless-shell", "chromium-headless-shell"),
    ("curl", "curl"),
    ("etcd", "etcd-server"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("h2load", "nghttp2-client"),
    ("nghttp", "nghttp2-client"),
    ("nats-server", "nats-server"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("nsd", "nsd"),
    ("postgres", "postgresql"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("python3", "python3"),
    ("redis-server", "redis-server"),
    ("setpriv", "util-linux"),
];

/// Ends well if every `name==version` given is installed. Uses the standard library alone, because the
/// environment may be half made.
const INSTALLED: &str = "\
import sys
from importlib.metadata import version
sys.exit(any(version(name) != wanted for name, wanted in (pin.split('==') for pin in sys.argv[1:])))";

/// What is not there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    programs: Vec<&'static str>,
    /// Debian packages, each once.
    packages: Vec<&'static str>,
    environment: bool,
}

/// What the tests are told by their environment.
#[derive(Debug)]
pub(super) struct Tools {
    /// The Python that has what they import.
    pub(super) python: PathBuf,
    /// The folder `node_modules` that has what they import.
    pub(super) modules: PathBuf,
    /// The folder with what is in Debian's package of Glewlwyd.
    pub(super) glewlwyd: PathBuf,
}

/// After everything that the tests need was found or installed.
///
/// # Errors
/// Names what is missing and the one command that installs it.
pub(super) fn of_the_tests(install: bool) -> Result<Tools> {
    let python = python_of_the_tests(install)?;
    let modules = Modules::of_the_workspace()?;
    if !modules.are_ready() {
        if !install {
            let what = format!("the npm packages of {}", modules.wanted.display());
            return Err(Failure::new(format!(
                "the tests need what is not here: {what} (nothing is installed with --no-install)"
            )));
        }
        modules.make()?;
    }
    let glewlwyd = Glewlwyd::of_the_workspace()?;
    if !glewlwyd.is_ready() {
        if !install {
            return Err(glewlwyd.missing("nothing is installed with --no-install"));
        }
        glewlwyd.make()?;
    }
    Ok(Tools { python, modules: modules.folder.join("node_modules"), glewlwyd: glewlwyd.folder })
}

fn python_of_the_tests(install: bool) -> Result<PathBuf> {
    let environment = Environment::of_the_workspace()?;
    let missing = Missing::here(&environment);
    if missing == Missing::default() {
        return Ok(environment.python());
    }
    let is_root = is_root();
    let refused = |why: &str| Failure::new(missing.told(&environment, is_root, why));
    if !install {
        return Err(refused("nothing is installed with --no-install"));
    }
    if !missing.packages.is_empty() {
        let sudo = Sudo::here()
            .ok_or_else(|| refused("installing them wants apt-get, and root or sudo without a password"))?;
        sudo.update()?;
        sudo.install(&missing.packages)?;
    }
    if missing.environment {
        environment.make()?;
    }
    match Missing::here(&environment) {
        still if still == Missing::default() => Ok(environment.python()),
        still => Err(Failure::new(still.told(
            &environment,
            is_root,
            "installing them went well, and still they cannot be used: is PATH as it should be?",
        ))),
    }
}

impl Missing {
    fn here(environment: &Environment) -> Self {
        let environment_is_ready = environment.is_ready();
        // Debian keeps what makes an environment in a package of its own.
        let lacks_venv = !environment_is_ready
            && !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]));
        Self::among(is_there, lacks_venv, !environment_is_ready)
    }

    fn among(is_there: impl Fn(&str) -> bool, lacks_venv: bool, environment: bool) -> Self {
        let (programs, mut packages): (Vec<_>, Vec<_>) =
            PROGRAMS.into_iter().filter(|(program, _)| !is_there(program)).unzip();
        if lacks_venv {
            packages.push("python3-venv");
        }
        packages.dedup();
        Self { programs, packages, environment }
    }

    fn told(&self, environment: &Environment, is_root: bool, why: &str) -> String {
        let mut what = self.programs.clone();
        if self.packages.contains(&"python3-venv") {
            what.push("Python's module venv");
        }
        if self.environment {
            what.push("the Python packages of xtask/requirements.txt");
        }
        let mut commands = Vec::new();
        if !self.packages.is_empty() {
            // A container's root often has no sudo.
            let sudo = if is_root { "" } else { "sudo " };
            let packages = self.packages.join(" ");
            commands.push(format!(
                "{sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {packages}"
            ));
        }
        if self.environment {
            commands.push(environment.written());
        }
        let what = what.join(", ");
        let command = commands.join(" && ");
        format!(
            "the tests need what is not here: {what} ({why}).\nOn Debian and its kin this installs it:\n\n  {command}\n"
        )
    }
}

/// The Python environment of the tests, kept in the target folder.
#[derive(Debug)]
struct Environment {
    folder: PathBuf,
    requirements: PathBuf,
}

impl Environment {
    fn of_the_workspace() -> Result<Self> {
        let folder = Metadata::read_members()?.target_directory.join("venv");
        Ok(Self { folder, requirements: root().join("xtask/requirements.txt") })
    }

    fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    fn is_ready(&self) -> bool {
        let Ok(text) = fs::read_to_string(&self.requirements) else { return false };
        succeeds(Command::new(self.python()).args(["-c", INSTALLED]).args(pins(&text)))
    }

    /// Makes it anew: an environment does not survive its interpreter, and pip never removes what was unpinned.
    fn make(&self) -> Result {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        run(Command::new(self.python())
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--timeout=30", "--retries=3", "--only-binary=:all:", "--requirement"])
            .arg(&self.requirements))
    }

    fn written(&self) -> String {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        format!(
            "python3 -m venv --clear {} && {} -m pip install --only-binary=:all: --requirement {}",
            path(&self.folder),
            path(&self.python()),
            path(&self.requirements)
        )
    }
}

/// The npm packages of the tests, kept in the target folder.
#[derive(Debug)]
struct Modules {
    folder: PathBuf,
    /// Where `package.json` and `package-lock.json` are.
    wanted: PathBuf,
}

impl Modules {
    const FILES: [&str; 2] = ["package.json", "package-lock.json"];

    fn of_the_workspace() -> Result<Self> {
        let folder = Metadata::read_members()?.target_directory.join("npm");
        Ok(Self { folder, wanted: root().join("xtask/npm") })
    }

    /// npm writes what it has installed last of all.
    fn are_ready(&self) -> bool {
        let is_same = |name: &&str| match (fs::read(self.wanted.join(name)), fs::read(self.folder.join(name)))
        {
            (Ok(wanted), Ok(here)) => wanted == here,
            _ => false,
        };
        Self::FILES.iter().all(is_same) && self.folder.join("node_modules/.package-lock.json").is_file()
    }

    fn make(&self) -> Result {
        let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", self.folder.display()));
        fs::create_dir_all(&self.folder).map_err(failed)?;
        for name in Self::FILES {
            fs::copy(self.wanted.join(name), self.folder.join(name)).map_err(failed)?;
        }
        // As locked, by their hashes; what packages want to run when they are installed is not run.
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&self.folder))
    }
}

/// Debian keeps servers out of the path of ordinary users, who may start them all the same, and each PostgreSQL in its own folder.
fn is_there(program: &str) -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.push("/usr/sbin".into());
    is_on_path(program) || folders.iter().any(|folder| folder.join(program).is_file())
}

/// The `name==version` lines of a requirements file.
fn pins(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The right to install Debian packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sudo {
    IsRoot,
    WithoutPassword,
}

impl Sudo {
    pub(super) fn here() -> Option<Self> {
        if !is_on_path("apt-get") {
            return None;
        }
        if is_root() {
            return Some(Self::IsRoot);
        }
        succeeds(Command::new("sudo").args(["-n", "true"])).then_some(Self::WithoutPassword)
    }

    /// Learns what there is to install.
    pub(super) fn update(self) -> Result {
        run(self.apt_get().arg("update"))
    }

    pub(super) fn install(self, packages: &[&str]) -> Result {
        run(self.apt_get().args(["install", "-y", "--no-install-recommends", "--no-upgrade"]).args(packages))
    }

    fn apt_get(self) -> Command {
        // `env` carries the variable through sudo, which drops the environment.
        let mut command = match self {
            Self::IsRoot => Command::new("env"),
            Self::WithoutPassword => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                command
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        // A mirror that hangs, or another apt that runs, is waited for, but not for ever.
        command.args([
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Acquire::http::Timeout=30",
            "-o",
            "DPkg::Lock::Timeout=120",
        ]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment { folder: "/t/venv".into(), requirements: "/r/requirements.txt".into() }
    }

    #[test]
    fn two_programs_of_one_package_are_installed_by_one_command() {
        let missing = Missing::among(|program| program == "python3", false, false);
        let told = missing.told(&environment(), false, "because");
        assert!(
            told.contains(
                "chromium-headless-shell, curl, etcd, ip, tc, h2load, nghttp, nats-server, node, npm, nsd, postgres, prometheus, \
                 promtool, prometheus-alertmanager, redis-server, setpriv (because)"
            ),
            "{told}"
        );
        assert!(
            told.contains(
                "sudo apt-get install -y --no-install-recommends chromium-headless-shell curl etcd-server iproute2 nghttp2-client nats-server \
                 nodejs npm nsd postgresql prometheus prometheus-alertmanager redis-server util-linux\n"
            ),
            "{told}"
        );
        assert!(!told.contains("venv"), "{told}");
    }

    #[test]
    fn a_bare_machine_is_told_everything_in_one_line() {
        let told = Missing::among(|_| false, true, true).told(&environment(), false, "because");
        let command = told.lines().find(|line| line.contains("apt-get")).unwrap();
        assert_eq!(
            command.trim(),
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends chromium-headless-shell curl etcd-server \
             iproute2 nghttp2-client nats-server nodejs npm nsd postgresql prometheus prometheus-alertmanager python3 redis-server \
             util-linux python3-venv && python3 -m venv --clear /t/venv && /t/venv/bin/python -m pip install \
             --only-binary=:all: --requirement /r/requirements.txt"
        );
    }

    #[test]
    fn root_is_told_a_command_without_sudo() {
        let told = Missing::among(|_| false, false, false).told(&environment(), true, "because");
        assert!(told.contains("  apt-get update && apt-get install -y"), "{told}");
        assert!(!told.contains("sudo"), "{told}");
    }

    #[test]
    fn nothing_is_missing_where_everything_is() {
        assert_eq!(Missing::among(|_| true, false, false), Missing::default());
    }

    #[test]
    fn an_environment_that_was_never_made_is_not_ready() {
        assert!(!environment().is_ready());
    }

    #[test]
    fn modules_are_ready_when_what_is_wanted_was_installed() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules { folder: folder.path().join("npm"), wanted: root().join("xtask/npm") };
        assert!(!modules.are_ready());
        fs::create_dir_all(modules.folder.join("node_modules")).unwrap();
        for name in Modules::FILES {
            fs::copy(modules.wanted.join(name), modules.folder.join(name)).unwrap();
        }
        assert!(!modules.are_ready(), "npm has not ended");
        fs::write(modules.folder.join("node_modules/.package-lock.json"), "{}").unwrap();
        assert!(modules.are_ready());
        fs::write(modules.folder.join("package-lock.json"), "{}").unwrap();
        assert!(!modules.are_ready(), "something else is wanted now");
    }

    #[test]
    fn every_requirement_is_pinned() {
        let text = fs::read_to_string(root().join("xtask/requirements.txt")).unwrap();
        let pins = pins(&text);
        assert!(pins.len() >= 5, "{pins:?}");
        for pin in pins {
            assert!(
                pin.split_once("==").is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()),
                "{pin}"
            );
        }
    }
}
