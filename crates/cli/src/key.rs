//! `mainstay key new`: an API key for a program, and what a service keeps of it (`docs/auth.md`).

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use mainstay_auth::{ApiKey, api_key::Entry};

/// There is no key.
const FAILED: u8 = 2;

/// What `mainstay key` is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key: it stands on standard output, what the service keeps of it on standard error
    #[command(after_help = "EXIT STATUS: 0 the key stands on standard output; 2 there is none.")]
    New(New),
}

#[derive(Debug, Args)]
struct New {
    /// Whose key it is: its subject and client
    #[arg(value_parser = name)]
    name: String,

    /// What its owner may do; may be given several times
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,

    /// When it ends, such as 2027-01-31 [default: never]
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
}

pub(crate) fn main(options: &Options) -> ExitCode {
    let Command::New(new) = &options.command;
    let made = ApiKey::generate().map_err(|error| error.to_string()).and_then(|key| {
        let mut entry = key.entry().with_scopes(&new.scope);
        entry.expires.clone_from(&new.expires);
        entry.check().map_err(|(key, expected)| format!("--{key}: expected {expected}"))?;
        let kept = table(&new.name, &entry);
        writeln!(io::stdout(), "{}", key.expose()).map_err(|error| error.to_string())?;
        writeln!(io::stderr(), "{kept}").map_err(|error| error.to_string())
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mainstay key new: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// As it stands in the configuration.
fn table(name: &str, entry: &Entry) -> String {
    let mut table =
        format!("[auth.api_keys.keys.{name}]\nprefix = {:?}\nsha256 = {:?}", entry.prefix, entry.sha256);
    if !entry.scopes.is_empty() {
        let _ = write!(table, "\nscopes = {:?}", entry.scopes);
    }
    if let Some(expires) = &entry.expires {
        let _ = write!(table, "\nexpires = {expires:?}");
    }
    table
}

/// A bare key of TOML.
fn name(text: &str) -> Result<String, &'static str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || !text.bytes().all(is_good) {
        return Err("expected letters, digits, `-` and `_`");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_key_is_a_table_that_a_service_reads() {
        let key = ApiKey::generate().unwrap();
        let entry = key.entry().with_scopes(["orders:read", "a\"b"]).with_expiry("2027-01-31");
        let table = table("billing", &entry);
        let read: toml::Value = toml::from_str(&table).unwrap();
        let read: Entry = read["auth"]["api_keys"]["keys"]["billing"].clone().try_into().unwrap();
        assert_eq!(read, entry);
        assert!(!table.contains(key.expose()));
        assert!(name("a.b").is_err() && name("").is_err() && name("billing-1").is_ok());
    }
}
