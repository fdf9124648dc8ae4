//! `mainstay idp`: an identity provider for development, in one command, and the users and clients of one that has a database
//! (`docs/issuer.md`).

mod client;
mod directory;
mod password;
mod user;

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use mainstay_auth::issuer::{Client, Config, Grant, Provider, User, hash_password};
use mainstay_core::{
    config::Loader,
    lifecycle::{Drain, Phase},
    server::{self, Server},
    task::Tasks,
};

/// It ended because of an error while it ran.
const FAILED: u8 = 1;
/// It could not begin with what it was told.
const UNUSABLE: u8 = 78;
/// How long requests under way have when it is told to end.
const GRACE: Duration = Duration::from_secs(5);

/// The client that is built in, for development.
pub(crate) const CLIENT: &str = "dev";
/// No secret: it stands here, and such a provider listens on loopback only.
pub(crate) const SECRET: &str = "development-secret";
const LOGIN: &str = "ada";
const PASSWORD: &str = "development";

/// What `mainstay idp` is told.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without --config there are the client `dev` (secret `development-secret`, back to http://127.0.0.1/callback on \
                  any port), the public client `app` (same way back), and the user `ada` (password `development`).\n\n\
                  EXIT STATUS: 0 it was told to end; 1 it failed; 78 it can't begin with what it was told."
)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where it listens; other addresses than loopback want --config
    #[arg(long, default_value = "127.0.0.1:9400")]
    address: SocketAddr,

    /// Clients, users and all else, TOML, in place of what is built in; it has to say `issuer`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where signing keys are kept; without it tokens end with the process (built-in clients and users only)
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    keys: Option<PathBuf>,

    /// What the built-in clients' tokens may be for, by `aud`; may be given several times
    #[arg(long, value_name = "NAME", default_value = "app", conflicts_with = "config")]
    audience: Vec<String>,

    /// What the built-in clients may ask to do; may be given several times
    #[arg(long, value_name = "SCOPE", conflicts_with = "config")]
    scope: Vec<String>,

    /// Print the argon2id hash of a password that is read from standard input, and end
    #[arg(long, exclusive = true)]
    hash: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add, show, change and remove people in the database of a provider
    User(user::Options),
    /// Add, show, change and remove programs in the database of a provider
    Client(client::Options),
}

pub(crate) async fn main(options: &Options) -> ExitCode {
    match &options.command {
        Some(Command::User(options)) => return user::main(options).await,
        Some(Command::Client(options)) => return client::main(options).await,
        None => {}
    }
    let ended = if options.hash { hash() } else { run(options).await };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("mainstay idp: {message}");
            ExitCode::from(code)
        }
    }
}

type Failure = (u8, String);

fn unusable(error: impl std::fmt::Display) -> Failure {
    (UNUSABLE, error.to_string())
}

fn hash() -> Result<(), Failure> {
    let hash = hash_password(&password::line().map_err(unusable)?).map_err(unusable)?;
    writeln!(std::io::stdout(), "{hash}").map_err(unusable)
}

async fn run(options: &Options) -> Result<(), Failure> {
    // What it warns of; requests under way are not worth a line.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_max_level(tracing::Level::INFO)
        .init();
    if options.config.is_none() && !options.address.ip().is_loopback() {
        let why = "is no loopback address: everybody could log in as the built-in user; expected --config with users of your own";
        return Err(unusable(format!("{} {why}", options.address)));
    }
    let mut listener = server::Config::default();
    listener.address = options.address.to_string().parse().map_err(unusable)?;
    let server = Server::bind(&listener).map_err(unusable)?;
    let address = server.local_addr().unwrap_or(options.address);
    let config = match &options.config {
        Some(path) => {
            let loaded = Loader::new().file(path).tree::<Config>("").load().map_err(unusable)?;
            Config::clone(&loaded.get(""))
        }
        None => built_in(options, address),
    };
    let tasks = Tasks::new();
    let provider = Provider::open(&config, &tasks).await.map_err(unusable)?;
    let (drainer, drain) = Drain::channel();
    let router = provider.router();
    let serving = server.serve(move |_| router.clone(), drain);
    // Whoever does not want to read it needs the provider all the same.
    let _ = tell(options, &provider, address);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = &mut serving => return Err((FAILED, "the server ended by itself".to_owned())),
        signal = told_to_end() => signal.map_err(|error| (FAILED, error.to_string()))?,
    }
    drainer.advance(Phase::Closing);
    if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
        drainer.advance(Phase::Cut);
        // What ends now is cut; nothing that matters is left.
        let _ = tokio::time::timeout(GRACE, &mut serving).await;
    }
    Ok(())
}

fn built_in(options: &Options, address: SocketAddr) -> Config {
    let scopes = ["openid", "profile", "email", "offline_access"]
        .into_iter()
        .chain(options.scope.iter().map(String::as_str));
    let scopes: Vec<_> = scopes.collect();
    let people = [Grant::AuthorizationCode, Grant::RefreshToken];
    let with_all = |client: Client| {
        let client = client.with_grants(people).with_scopes(scopes.iter().copied());
        client.with_audiences(options.audience.iter().cloned()).with_redirect_uri("http://127.0.0.1/callback")
    };
    let dev = with_all(Client::with_secret(SECRET)).with_grants([Grant::ClientCredentials]);
    let mut ada = User::with_password(PASSWORD);
    ada.name = Some("Ada Lovelace".to_owned());
    ada.email = Some("ada@example.org".to_owned());
    let mut config = Config::new(format!("http://{address}"));
    config.keys.file = options.keys.clone();
    config.with_client(CLIENT, dev).with_client("app", with_all(Client::public())).with_user(LOGIN, ada)
}

/// What to do next.
fn tell(options: &Options, provider: &Provider, address: SocketAddr) -> std::io::Result<()> {
    let issuer = provider.issuer();
    let mut out = std::io::stdout();
    writeln!(out, "The identity provider {issuer} listens on {address}.")?;
    if options.config.is_none() {
        let audience = options.audience.first().map_or("app", String::as_str);
        let scope: String = options.scope.iter().map(|scope| format!(" --scope {scope}")).collect();
        let at = if options.address.port() == 9400 { String::new() } else { format!(" --issuer {issuer}") };
        writeln!(
            out,
            "It is for development: its users and secrets are known to everybody.\n\n\
             A service trusts it with this in its mainstay.toml:\n\n    \
             [auth]\n    audience = [\"{audience}\"]\n    [auth.issuers.development]\n    issuer = \"{issuer}\"\n\n\
             A token for it, to be sent along as `Authorization: Bearer …`:\n\n    mainstay token{at}{scope}\n\n\
             For people: user `{LOGIN}`, password `{PASSWORD}`, public client `app`; {issuer}/.well-known/openid-configuration has the rest."
        )?;
    }
    out.flush()
}

#[cfg(unix)]
async fn told_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn told_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
