//! `cargo xtask test`: the outside tools, then `cargo test` for the whole workspace.
//!
//! Some tests talk to the server with programs that share no code with it: curl, nghttp2's tools, clients for gRPC,
//! WebSocket and OpenID in Python, and one for OpenID in JavaScript. The first two are looked up on `PATH`; the Python is named
//! in `TEST_PYTHON`, and `TEST_NODE_MODULES` is the folder with the npm packages. Two OpenID providers of others run in tests: one of
//! npm, and Debian's Glewlwyd, whose unpacked package is in the folder `TEST_GLEWLWYD`.

mod glewlwyd;
mod tools;

use crate::process::{Result, cargo, run as run_command};

/// `cargo xtask test [--filter TEXT] [--no-install] [-- ARGUMENTS]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Install nothing: only say what is missing.
    #[arg(long)]
    no_install: bool,
    /// Handed to the test programs as they are, such as `--nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Makes sure of the tools, then runs the tests.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let tools = tools::of_the_tests(!arguments.no_install)?;
    // Every failing test is wanted, not only those of the first program that has one.
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--all-features", "--no-fail-fast"]);
    command.args(&arguments.filter);
    if !arguments.rest.is_empty() {
        command.arg("--").args(&arguments.rest);
    }
    // A change is judged by the same cases each time; `cargo test` alone goes looking for new ones.
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        command.env("PROPTEST_RNG_SEED", "20260801");
    }
    command.env("TEST_PYTHON", &tools.python).env("TEST_NODE_MODULES", &tools.modules);
    run_command(command.env("TEST_GLEWLWYD", &tools.glewlwyd))
}
