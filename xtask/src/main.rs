//! The chores of this repository: `cargo xtask --help`.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@test`] | the outside tools that the tests need, then the tests |
//! | [`mod@check`] | everything else that a change must pass: format, lints, docs, features, licences, versions, size |
//! | [`mod@bench`] | the measurements of `benches/`, built with the profile that published figures use |
//! | [`mod@workspace`] | what `cargo metadata` and `cargo tree` say |
//! | [`mod@process`] | starting programs and telling how they ended |
//!
//! Exit status: 0 when all is well, 1 when something failed, 2 for a wrong command line.

mod bench;
mod check;
mod process;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Chores of the Mainstay repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
enum Chore {
    /// Run every test of the workspace, with the real tools that some of them need.
    Test(test::Arguments),
    /// Check format, lints, docs, features, licences, versions and size.
    Check(check::Arguments),
    /// Run one measurement of `benches/` with the profile that published figures use.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Check(arguments) => check::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Chore::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_handed_on() {
        let chore = Chore::parse_from(["xtask", "test", "--filter", "drain", "--", "--nocapture"]);
        let Chore::Test(arguments) = chore else { panic!("{chore:?}") };
        assert!(format!("{arguments:?}").contains(r#"rest: ["--nocapture"]"#), "{arguments:?}");
    }
}
