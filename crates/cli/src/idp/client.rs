//! `mainstay idp client`: the programs in the database of a provider.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use mainstay_auth::issuer::{Client, Grant};
use mainstay_core::config::Secret;

use super::{
    Failure,
    directory::{Store, ended, list, told},
    unusable,
};

/// What `mainstay idp client` is told.
#[derive(Debug, Args)]
#[command(after_help = "A running provider sees a change within 5 s.\n\n\
                  EXIT STATUS: 0 it is done; 1 it is not, such as for an id that is taken; 78 it can't be with what it was told.")]
pub(super) struct Options {
    #[command(flatten)]
    store: Store,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a client; its secret is made, and stands on standard output this once
    Add(Box<Add>),
    /// Show all clients, as they would stand in a configuration
    List,
    /// Remove a client: it gets no more tokens
    Remove {
        /// Its id
        id: String,
    },
    /// Make another secret for a client, in place of the one that it has; it stands on standard output this once
    Secret {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct Add {
    /// Its id
    id: String,

    /// What people are asked to consent to is asked for by this name
    #[arg(long)]
    name: Option<String>,

    /// It can't keep a secret: a program in a browser or on somebody's machine
    #[arg(long, conflicts_with = "jwks")]
    public: bool,

    /// It signs its requests in place of having a secret: its public keys, a JWK set
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,

    /// Its secret may also stand in the body of a request
    #[arg(long)]
    secret_in_body: bool,

    /// How it may get tokens; may be given several times
    #[arg(long, value_parser = GRANTS)]
    grant: Vec<String>,

    /// Where people are sent back to after a login; may be given several times
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,

    /// Where people may be sent after a logout; may be given several times
    #[arg(long, value_name = "URI")]
    logout_uri: Vec<String>,

    /// What it may ask to do; may be given several times
    #[arg(long)]
    scope: Vec<String>,

    /// Whom its tokens may be for, by `aud`; may be given several times
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,

    /// `roles` of tokens that it gets for itself; may be given several times
    #[arg(long)]
    role: Vec<String>,

    /// People are not asked before it gets tokens that act for them
    #[arg(long)]
    no_consent: bool,

    /// It may ask what any token says
    #[arg(long)]
    introspects: bool,
}

const GRANTS: [&str; 4] = ["authorization_code", "refresh_token", "client_credentials", "token_exchange"];

pub(super) async fn main(options: &Options) -> ExitCode {
    ended("client", run(options).await)
}

async fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.store.open().await?;
    match &options.command {
        Command::Add(add) => {
            let (client, secret) = client(add)?;
            directory.add_client(&add.id, &client).await.map_err(told)?;
            secret.map_or(Ok(()), |secret| show(&secret))
        }
        Command::List => list("clients", directory.clients().await.map_err(told)?),
        Command::Remove { id } => directory.remove_client(id).await.map_err(told),
        Command::Secret { id } => {
            let secret = generated()?;
            directory.set_client_secret(id, &secret).await.map_err(told)?;
            show(&secret)
        }
    }
}

fn client(add: &Add) -> Result<(Client, Option<Secret>), Failure> {
    let (client, secret) = if add.public {
        (Client::public(), None)
    } else if let Some(path) = &add.jwks {
        let jwks = std::fs::read_to_string(path)
            .map_err(|error| unusable(format!("--jwks: {}: {error}", path.display())))?;
        (Client::with_jwks(jwks), None)
    } else {
        let secret = generated()?;
        (Client::with_secret(secret.clone()), Some(secret))
    };
    let grants = add.grant.iter().map(|grant| serde_json::from_value(grant.as_str().into()));
    let grants: Vec<Grant> = grants.collect::<Result<_, _>>().map_err(unusable)?;
    let mut client = client
        .with_grants(grants)
        .with_scopes(add.scope.iter().cloned())
        .with_audiences(add.audience.iter().cloned());
    client.name.clone_from(&add.name);
    client.redirect_uris.clone_from(&add.redirect_uri);
    client.post_logout_redirect_uris.clone_from(&add.logout_uri);
    client.roles.clone_from(&add.role);
    (client.secret_in_body, client.introspects, client.consent) =
        (add.secret_in_body, add.introspects, !add.no_consent);
    Ok((client, secret))
}

/// 256 bits, which nobody guesses.
fn generated() -> Result<Secret, Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| unusable("there are no random numbers"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

fn show(secret: &Secret) -> Result<(), Failure> {
    eprintln!("The secret stands here this once; the provider keeps its hash.");
    writeln!(std::io::stdout(), "{}", secret.expose()).map_err(unusable)
}
