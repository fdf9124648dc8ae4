//! The SQLite database of one service.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainstay::{
    Error, Result,
    error::Kind,
    lifecycle::{self, Component},
};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tempfile::TempDir;

/// How long a statement waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database that belongs to one service. Started before the service answers, closed after its last request.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    path: PathBuf,
    schema: &'static str,
    pool: SqlitePool,
    temporary: Option<Arc<TempDir>>,
}

impl Database {
    /// A database in the file at `path`, or in a temporary one. It is opened at the start.
    ///
    /// Not in memory: there a database lives as long as its connection, and a request that is cancelled while it
    /// begins a transaction takes its connection with it.
    pub(crate) fn new(path: Option<&Path>, schema: &'static str) -> Result<Self> {
        let (path, temporary) = match path {
            Some(path) => (path.to_owned(), None),
            None => {
                let directory = tempfile::Builder::new().prefix("shop-").tempdir()?;
                (directory.path().join("data.db"), Some(Arc::new(directory)))
            }
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool =
            SqlitePoolOptions::new().max_connections(4).acquire_timeout(PATIENCE).connect_lazy_with(options);
        Ok(Self { path, schema, pool, temporary })
    }

    /// For single statements.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that writes. It takes the write lock at once: one that reads first and writes later
    /// would fail where another wrote between. Rolled back on drop.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| match error {
            // Too many wait for their turn: no fault, and it passes.
            sqlx::Error::PoolTimedOut => Error::new(Kind::Unavailable).with_source(error),
            error => error.into(),
        })
    }

    /// Makes the tables, unless they are there.
    pub(crate) async fn create(&self) -> Result<()> {
        sqlx::raw_sql(self.schema).execute(&self.pool).await.map_err(|error| {
            let detail = format!("cannot open the database {}", self.path.display());
            Error::new(Kind::Unavailable).with_detail(detail).with_source(error)
        })?;
        Ok(())
    }
}

impl Component for Database {
    fn name(&self) -> &str {
        "database"
    }

    async fn start(&self, _: lifecycle::Context) -> Result<()> {
        self.create().await
    }

    async fn ready(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    async fn stop(&self) -> Result<()> {
        self.pool.close().await;
        if let Some(directory) = &self.temporary {
            std::fs::remove_dir_all(directory.path())?;
        }
        Ok(())
    }
}

/// Where a service keeps its database: a path, in place of a temporary file.
pub(crate) type Location = Option<PathBuf>;
