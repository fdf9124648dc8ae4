//! A provider of somebody else that runs: on loopback, in a folder of its own, ended by its id.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{ConnectOptions as _, Connection as _, Executor as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// npm's `oidc-provider`.
    OidcProvider,
    /// The same, with tokens that say nothing by themselves.
    OpaqueOidcProvider,
    /// Debian's `glewlwyd`.
    Glewlwyd,
}

pub(crate) struct Provider {
    kind: Kind,
    process: Process,
    folder: TempDir,
    /// Where it listens.
    url: String,
    /// So often it has read its keys.
    loaded: u32,
}

impl Kind {
    /// Its name in `docs/auth.md`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OidcProvider => "oidc-provider",
            Self::OpaqueOidcProvider => "oidc-provider, opaque tokens",
            Self::Glewlwyd => "glewlwyd",
        }
    }

    /// What a rotation goes through: ids and algorithms.
    pub(crate) fn keys(self) -> [&'static str; 3] {
        match self {
            Self::Glewlwyd => ["first RS256", "second ES256", "third RS256"],
            _ => ["first ES256", "second Ed25519", "third PS256"],
        }
    }
}

impl Provider {
    /// Signs with the first of these keys, and publishes all of them.
    pub(crate) async fn start(kind: Kind, keys: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        write_keys(folder.path(), keys);
        let (process, url) = match kind {
            Kind::OidcProvider => oidc_provider(folder.path(), "jwt"),
            Kind::OpaqueOidcProvider => oidc_provider(folder.path(), "opaque"),
            Kind::Glewlwyd => glewlwyd(folder.path()).await,
        };
        let mut provider = Self { kind, process, folder, url, loaded: 0 };
        provider.load();
        provider
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What stands in `iss`.
    pub(crate) fn issuer(&self) -> String {
        match self.kind {
            Kind::Glewlwyd => format!("{}/api/oidc", self.url),
            _ => self.url.clone(),
        }
    }

    /// From now on it has these keys.
    pub(crate) fn rotate(&mut self, keys: &[&str]) {
        write_keys(self.folder.path(), keys);
        if self.kind != Kind::Glewlwyd {
            self.process.signal("HUP");
        }
        self.load();
    }

    /// What it is told about its keys, or tells.
    fn load(&mut self) {
        self.loaded += 1;
        if self.kind == Kind::Glewlwyd {
            let folder = self.folder.path().display().to_string();
            node("glewlwyd.mjs", &[&self.url, &folder]);
        } else {
            let told = format!("keys {}", self.loaded);
            self.process.find("keys", |line| (line == told).then_some(()));
        }
    }

    /// An access token for the program `shopper`, by client credentials.
    pub(crate) fn token(&self, scope: &str) -> String {
        self.relying_party("program", scope)
    }

    /// An access token for somebody who logs in, by an authorization code with PKCE.
    pub(crate) fn log_in(&self, scope: &str) -> String {
        self.relying_party("person", scope)
    }

    fn relying_party(&self, who: &str, scope: &str) -> String {
        let output = node("relying_party.mjs", &[&self.issuer(), who, scope]);
        let token = output.lines().find_map(|line| line.strip_prefix("token "));
        token.unwrap_or_else(|| panic!("no token:\n{output}")).to_owned()
    }

    /// The program `shopper` has no use any more for this token.
    pub(crate) fn revoke(&self, token: &str) {
        node("relying_party.mjs", &[&self.issuer(), "revoke", token]);
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(self) {
        self.process.kill();
    }
}

fn write_keys(folder: &Path, keys: &[&str]) {
    fs::write(folder.join("keys"), keys.join("\n")).expect("it is written");
}

/// One of the scripts beside this file.
fn script(name: &str) -> Command {
    let modules =
        env::var_os("TEST_NODE_MODULES").expect("TEST_NODE_MODULES is set, as `cargo xtask test` does");
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shop/providers").join(name));
    command.env("TEST_NODE_MODULES", modules);
    command
}

/// Runs a script to its end; what it printed.
fn node(name: &str, arguments: &[&str]) -> String {
    let mut command = script(name);
    command.args(arguments);
    let (status, output) = Process::start(command).wait();
    assert!(status.success(), "{name} {arguments:?}: {status}\n{output}");
    output
}

fn oidc_provider(folder: &Path, format: &str) -> (Process, String) {
    let mut command = script("oidc_provider.mjs");
    command.arg(folder).arg(format);
    let mut process = Process::start(command);
    let url = process.find("issuer", |line| line.strip_prefix("issuer ").map(str::to_owned));
    (process, url)
}

/// With a new database; nothing is set up yet.
async fn glewlwyd(folder: &Path) -> (Process, String) {
    let files = env::var_os("TEST_GLEWLWYD").expect("TEST_GLEWLWYD is set, as `cargo xtask test` does");
    let files = PathBuf::from(files).join("usr");
    let schema = files.join("share/dbconfig-common/data/glewlwyd/install/sqlite3");
    let schema = fs::read_to_string(&schema).unwrap_or_else(|error| panic!("{}: {error}", schema.display()));
    let database = folder.join("glewlwyd.db");
    let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    let mut connection = options.connect().await.expect("it is made");
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(schema))).await.expect("it is filled");
    connection.close().await.expect("it is written");

    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(files.join("bin/glewlwyd"));
    command.arg("--env-variables").env_clear();
    for (name, value) in [
        ("PORT", port.to_string()),
        ("BIND_ADDRESS", "127.0.0.1".to_owned()),
        ("EXTERNAL_URL", url.clone()),
        ("API_PREFIX", "api".to_owned()),
        ("LOGIN_URL", "login.html".to_owned()),
        ("DATABASE_TYPE", "sqlite3".to_owned()),
        ("DATABASE_SQLITE3_PATH", database.display().to_string()),
        ("HASH_ALGORITHM", "SHA512".to_owned()),
        ("ADMIN_SCOPE", "g_admin".to_owned()),
        ("PROFILE_SCOPE", "g_profile".to_owned()),
        ("SESSION_KEY", "GLEWLWYD2_SESSION_ID".to_owned()),
        ("SESSION_EXPIRATION", "3600".to_owned()),
        // It listens without TLS.
        ("COOKIE_SECURE", "0".to_owned()),
        ("LOG_MODE", "console".to_owned()),
        ("LOG_LEVEL", "INFO".to_owned()),
    ] {
        command.env(format!("GLWD_{name}"), value);
    }
    for (name, at) in [
        ("USER_MODULE", "user"),
        ("CLIENT_MODULE", "client"),
        ("AUTH_SCHEME_MODULE", "scheme"),
        ("PLUGIN_MODULE", "plugin"),
    ] {
        command.env(format!("GLWD_{name}_PATH"), files.join("lib/glewlwyd").join(at));
    }
    let mut process = Process::start(command);
    process.find("port", |line| line.contains("Glewlwyd started on port").then_some(()));
    (process, url)
}

/// One that is given to nobody else here, below those that the system gives to whoever asks for any. Two Glewlwyds would share one.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = std::process::id().wrapping_mul(97);
    let port = || 10_000 + from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
    let mut ports = (0..20_000).map(|_| u16::try_from(port()).expect("it is less"));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("one of them is free")
}
