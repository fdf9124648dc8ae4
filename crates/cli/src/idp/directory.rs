//! The users and clients in the database of a provider, for the commands that change them.

use std::{collections::BTreeMap, io::Write as _, process::ExitCode};

use clap::Args;
use mainstay_auth::issuer::{Directory, config, directory::Refused};
use serde::Serialize;

use super::{FAILED, Failure, UNUSABLE, unusable};

/// Where they are.
#[derive(Debug, Args)]
pub(super) struct Store {
    /// The provider's database, `store.url` of its configuration; others on this machine see arguments, and not the variable
    #[arg(long, value_name = "URL", global = true, env = "MAINSTAY_IDP_STORE", hide_env_values = true)]
    store: Option<String>,
}

impl Store {
    pub(super) async fn open(&self) -> Result<Directory, Failure> {
        let url = self.store.as_deref().filter(|url| !url.is_empty()).ok_or_else(|| {
            let expected =
                "expected --store URL or MAINSTAY_IDP_STORE, such as sqlite:///var/lib/identity/provider.db";
            (UNUSABLE, expected.to_owned())
        })?;
        Directory::open(&config::Store::new(url)).await.map_err(told)
    }
}

/// What went wrong, by the options that people know.
pub(super) fn told(refused: Refused) -> Failure {
    match refused {
        Refused::Wrong { key, expected } => {
            let option = match key.as_str() {
                "url" => "--store".to_owned(),
                "user" | "client" => "the name".to_owned(),
                "password" => "the password".to_owned(),
                "redirect_uris" => "--redirect-uri".to_owned(),
                "post_logout_redirect_uris" => "--logout-uri".to_owned(),
                key => format!("--{}", key.trim_end_matches('s').replace('_', "-")),
            };
            (UNUSABLE, format!("{option}: expected {expected}"))
        }
        other => (FAILED, other.to_string()),
    }
}

/// Prints them as they would stand in the table `name` of a configuration.
pub(super) fn list<T: Serialize>(name: &str, entries: Vec<(String, T)>) -> Result<(), Failure> {
    let entries: BTreeMap<_, _> = entries.into_iter().collect();
    let text = toml::to_string(&BTreeMap::from([(name, entries)])).map_err(unusable)?;
    write!(std::io::stdout(), "{text}").map_err(unusable)
}

pub(super) fn ended(command: &str, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("mainstay idp {command}: {message}");
            ExitCode::from(code)
        }
    }
}
