//! Measurements: a door to the programs of `benches/`.

use crate::{
    process::{Failure, Result, cargo, run as run_command},
    workspace::Metadata,
};

const PACKAGE: &str = "mainstay-benches";

/// `cargo xtask bench NAME [-- ARGUMENTS]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The measurement; without it, their names are listed.
    name: Option<String>,
    /// Handed to the measurement as they are.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds the measurement with the profile `measure` and runs it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let metadata = Metadata::read_members()?;
    let known: Vec<&str> = metadata
        .members()
        .into_iter()
        .filter(|package| package.name == PACKAGE)
        .flat_map(|package| package.binaries())
        .collect();
    let Some(name) = &arguments.name else {
        for name in known {
            eprintln!("{name}");
        }
        return Ok(());
    };
    if !known.contains(&name.as_str()) {
        let known = known.join(", ");
        return Err(Failure::new(format!("there is no measurement {name:?}; there are: {known}")));
    }
    run_command(
        cargo()
            .args(["run", "--locked", "--profile=measure", "--package", PACKAGE, "--bin", name, "--"])
            .args(&arguments.rest),
    )
}
