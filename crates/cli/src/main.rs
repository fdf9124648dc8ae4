//! The `mainstay` command.
//!
//! `mainstay conform URL` checks a running service, in whatever language it is written, against the service
//! contract (`docs/contract.md`). It uses nothing else of the workspace, so that the judge shares no code with the
//! judged; of the commands here, only `idp` and `key` are made of what services are made of.
//!
//! `mainstay inspect URL PAGE` shows what the admin listener of a running service says (`docs/admin.md`).
//!
//! `mainstay export alerts URL` writes the alerts that a running service makes of its objectives (`docs/alerts.md`).
//!
//! `mainstay compat OLD NEW` says what of a service's new description breaks its callers (`docs/interfaces.md`), by the
//! rules of `mainstay-interface`, which no running service uses.
//!
//! `mainstay idp` runs an identity provider for development, and `mainstay token` asks it, or another one, for a token
//! (`docs/issuer.md`). `mainstay key` makes API keys (`docs/auth.md`).

mod compat;
mod conform;
mod export;
mod idp;
mod inspect;
mod key;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a running service against the service contract, from outside
    Conform(Box<conform::Options>),
    /// Show what the admin listener of a running service says: its health, endpoints, configuration
    Inspect(inspect::Options),
    /// Write the alerts, the dashboard or the Alertmanager route that a running service makes of its objectives
    Export(export::Options),
    /// Tell what of a service's new description, OpenAPI or protobuf, breaks those who call it by the old one
    Compat(compat::Options),
    /// Run an identity provider for development: clients and users are built in, or come from a file
    Idp(idp::Options),
    /// Make API keys for programs that have no issuer
    Key(key::Options),
    /// Get an access token for development from an identity provider, by client credentials
    Token(token::Options),
}

// One thread is plenty: the suite waits for the service, it does not race it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Conform(options) => conform::main(*options).await,
        Command::Inspect(options) => inspect::main(&options).await,
        Command::Export(options) => export::main(&options).await,
        Command::Compat(options) => compat::main(&options),
        Command::Idp(options) => idp::main(&options).await,
        Command::Key(options) => key::main(&options),
        Command::Token(options) => token::main(&options).await,
    }
}
