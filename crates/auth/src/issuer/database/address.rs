//! Where the database is, and how it is spoken to.

use std::time::Duration;

use super::{Failure, Pool};

/// So long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(300);

/// A URL that was understood.
pub(super) enum Address {
    #[cfg(feature = "issuer-sqlite")]
    Sqlite(std::path::PathBuf),
    #[cfg(feature = "issuer-postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
}

impl Address {
    /// Of a URL whose scheme was checked.
    pub(super) fn parse(url: &str) -> Result<Self, Failure> {
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        match scheme {
            #[cfg(feature = "issuer-sqlite")]
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                Ok(Self::Sqlite(path.into()))
            }
            #[cfg(feature = "issuer-postgres")]
            "postgres" | "postgresql" => {
                let options: sqlx::postgres::PgConnectOptions = url.parse().map_err(|error| match error {
                    // What is quoted of it could be a password.
                    sqlx::Error::Configuration(_) => {
                        Failure::new("expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`")
                    }
                    error => Failure::new(error.to_string()),
                })?;
                Ok(Self::Postgres(Box::new(options)))
            }
            _ => {
                let _ = rest;
                Err(Failure::new("expected the URL of a database that this program was compiled for"))
            }
        }
    }

    /// Connections are made when they are needed.
    pub(super) fn pool(self, connections: u32, timeout: Duration) -> Result<Pool, Failure> {
        match self {
            #[cfg(feature = "issuer-sqlite")]
            Self::Sqlite(path) => {
                use sqlx::sqlite::{
                    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
                };
                private(&path)?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    // With less a power failure brings back refresh tokens that were used.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(timeout);
                let pool = SqlitePoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(timeout)
                    .idle_timeout(IDLE);
                Ok(Pool::Sqlite(pool.connect_lazy_with(options)))
            }
            #[cfg(feature = "issuer-postgres")]
            Self::Postgres(options) => {
                use sqlx::postgres::PgPoolOptions;
                let limit = timeout.as_millis().to_string();
                let options = encrypted(*options).options([
                    // What nobody waits for any more ends there too.
                    ("statement_timeout", limit.as_str()),
                    ("idle_in_transaction_session_timeout", limit.as_str()),
                    // Compare-and-swap by one UPDATE wants no more, and with more it would fail where it can wait.
                    ("default_transaction_isolation", "read committed"),
                ]);
                let pool = PgPoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(timeout)
                    .idle_timeout(IDLE);
                Ok(Pool::Postgres(pool.connect_lazy_with(options)))
            }
        }
    }
}

/// libpq's default, `prefer`, is encrypted for whoever does not mind. On another machine nothing less than a certificate for its
/// name is taken, unless `sslmode` says so.
#[cfg(feature = "issuer-postgres")]
pub(super) fn encrypted(options: sqlx::postgres::PgConnectOptions) -> sqlx::postgres::PgConnectOptions {
    use sqlx::postgres::PgSslMode;
    let host = options.get_host();
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match options.get_ssl_mode() {
        PgSslMode::Prefer if is_here => options.ssl_mode(PgSslMode::Disable),
        PgSslMode::Prefer => options.ssl_mode(PgSslMode::VerifyFull),
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => options,
        weak => {
            if !is_here {
                tracing::warn!(sslmode = ?weak, "the database of the identity provider is not asked who it is");
            }
            options
        }
    }
}

/// There are hashes of passwords in it, and signing keys. SQLite gives what it writes beside the file the mode of the file.
#[cfg(feature = "issuer-sqlite")]
fn private(path: &std::path::Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => drop(made.map_err(failed)?),
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(Failure::new(format!("{path}: others may read it (mode {mode:o}); expected 600")));
        }
    }
    Ok(())
}
