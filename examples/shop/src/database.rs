//! The SQLite database of one service.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mainstay::{
    Result,
    lifecycle::{self, Component},
};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// A database that belongs to one service. Started before the service answers, closed after its last request.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    name: String,
    schema: &'static str,
    pool: SqlitePool,
}

impl Database {
    /// The database of `service`, in the file at `path`, or in memory. Nothing is opened before the start.
    pub(crate) fn new(service: &str, path: Option<&Path>, schema: &'static str) -> Self {
        let options = SqliteConnectOptions::new().foreign_keys(true).busy_timeout(Duration::from_secs(3));
        let pool = SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(3));
        let pool = match path {
            Some(path) => {
                let options = options
                    .filename(path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal);
                pool.max_connections(4).connect_lazy_with(options)
            }
            // A database in memory lives as long as its one connection.
            None => pool.max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(options),
        };
        Self { name: format!("{service}.database"), schema, pool }
    }

    /// For single statements.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that writes. It takes the write lock at once: one that reads first and writes later
    /// would fail where another wrote between. Rolled back on drop.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Makes the tables, unless they are there.
    pub(crate) async fn create(&self) -> Result<()> {
        sqlx::raw_sql(self.schema).execute(&self.pool).await?;
        Ok(())
    }
}

impl Component for Database {
    fn name(&self) -> &str {
        &self.name
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
        Ok(())
    }
}

/// Where a service keeps its database: a path, in place of memory.
pub(crate) type Location = Option<PathBuf>;
