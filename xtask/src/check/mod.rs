//! `cargo xtask check`: what a change must pass besides its tests.
//!
//! | stage | fails when |
//! |---|---|
//! | `lock` | `Cargo.lock` does not fit the manifests |
//! | `format` | `cargo fmt` would change a file |
//! | `licences` | a dependency's licence, source or name is not allowed by `deny.toml` |
//! | `msrv` | a dependency of a published crate wants a newer Rust than we promise, or does not say |
//! | `size` | `examples/hello` compiles more crates than it may |
//! | `lints` | clippy has anything to say, all features on |
//! | `docs` | rustdoc has anything to say |
//! | `features` | a library crate does not compile, free of warnings, with each of its features alone |

mod dependencies;
mod features;
mod licences;
mod msrv;

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    process::{Failure, Result, cargo, run as run_command},
    workspace::Metadata,
};

/// `cargo xtask check [STAGE…] [--keep-going]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these; without any, all of them.
    stages: Vec<Stage>,
    /// Run the later stages also when one has failed.
    #[arg(long)]
    keep_going: bool,
}

/// Cheap ones first, then in the order in which they can use each other's compiled dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    Lock,
    Format,
    Licences,
    Msrv,
    Size,
    Lints,
    Docs,
    Features,
}

/// Runs the stages and prints how long each took.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let stages = if arguments.stages.is_empty() { Stage::value_variants() } else { &arguments.stages };
    let mut report = Report::default();
    for &stage in stages {
        eprintln!("\n== {}", stage.name());
        let clock = Clock::start();
        let outcome = stage.run();
        if let Err(failure) = &outcome {
            eprintln!("xtask: {failure}");
        }
        report.add(stage, clock.elapsed(), outcome.is_ok());
        if outcome.is_err() && !arguments.keep_going {
            break;
        }
    }
    eprint!("\n{}", report.table());
    report.verdict()
}

impl Stage {
    fn run(self) -> Result {
        match self {
            Self::Lock => Metadata::read_members().map(drop),
            Self::Format => run_command(cargo().args(["fmt", "--all", "--check"])),
            Self::Licences => licences::check(),
            Self::Msrv => msrv::check(),
            Self::Size => dependencies::check(),
            Self::Lints => run_command(cargo().args([
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "--deny=warnings",
            ])),
            Self::Docs => run_command(
                cargo()
                    .args(["doc", "--locked", "--workspace", "--no-deps", "--all-features"])
                    .env("RUSTDOCFLAGS", "--deny=warnings"),
            ),
            Self::Features => features::check(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How each stage went.
#[derive(Debug, Default)]
struct Report(Vec<(String, Duration, bool)>);

impl Report {
    fn add(&mut self, stage: Stage, took: Duration, passed: bool) {
        self.0.push((stage.name(), took, passed));
    }

    fn table(&self) -> String {
        let line = |(name, took, passed): &(String, Duration, bool)| {
            let verdict = if *passed { "ok" } else { "FAILED" };
            format!("check {name:<10}{:>8.1} s  {verdict}\n", took.as_secs_f64())
        };
        self.0.iter().map(line).collect()
    }

    fn verdict(&self) -> Result {
        let failed: Vec<_> =
            self.0.iter().filter(|(_, _, passed)| !passed).map(|(name, ..)| name.as_str()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("check failed: {}", failed.join(", "))))
    }
}

/// How long a stage takes, for a person to read.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "this program has no tokio, and no test that looks at the time")]
struct Clock(std::time::Instant);

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this program has no tokio, and no test that looks at the time"
    )]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_stage_fails_the_whole_and_is_named() {
        let mut report = Report::default();
        report.add(Stage::Format, Duration::from_millis(1500), true);
        assert!(report.verdict().is_ok());
        report.add(Stage::Msrv, Duration::from_secs(2), false);
        report.add(Stage::Docs, Duration::from_secs(3), true);
        assert_eq!(report.verdict().unwrap_err().to_string(), "check failed: msrv");
        assert_eq!(
            report.table(),
            "check format         1.5 s  ok\ncheck msrv           2.0 s  FAILED\ncheck docs           3.0 s  ok\n"
        );
    }
}
