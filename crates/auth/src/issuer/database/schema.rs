//! The tables, and how they come to be: numbered steps, each of which is done once, whoever begins first.

use std::time::Duration;

use super::{Database, Failure, Pool, on, within};

/// Step N brings the tables from version N to N + 1. One that was released is never changed.
const STEPS: [&[&str]; 1] = [&[
    "CREATE TABLE mainstay_idp_records (
        kind TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL, ends_at BIGINT NOT NULL,
        PRIMARY KEY (kind, name)
    )",
    "CREATE INDEX mainstay_idp_records_ends_at ON mainstay_idp_records (ends_at)",
    "CREATE TABLE mainstay_idp_users (
        login TEXT NOT NULL PRIMARY KEY, subject TEXT NOT NULL UNIQUE, content TEXT NOT NULL
    )",
    "CREATE TABLE mainstay_idp_clients (id TEXT NOT NULL PRIMARY KEY, content TEXT NOT NULL)",
]];

/// All steps together, and the wait for another process that does them.
const PATIENCE: Duration = Duration::from_secs(30);

const VERSION: &str = "SELECT CAST(COALESCE(MAX(version), 0) AS TEXT) FROM mainstay_idp_schema";

/// Does the steps that were not done yet.
pub(super) async fn migrate(database: &Database) -> Result<(), Failure> {
    // First without any right to make tables, which the provider need not have once they are there.
    if let Ok(done) = version(database).await
        && is_current(done)?
    {
        return Ok(());
    }
    within(PATIENCE, steps(database)).await?;
    is_current(version(database).await?).map(drop)
}

fn is_current(done: usize) -> Result<bool, Failure> {
    if done > STEPS.len() {
        return Err(Failure::new(format!(
            "the tables are of version {done}, made by a newer program; expected at most {}",
            STEPS.len()
        )));
    }
    Ok(done == STEPS.len())
}

async fn version(database: &Database) -> Result<usize, Failure> {
    let rows = database.rows(VERSION, &[]).await?;
    let version = rows.first().and_then(|row| row.first()?.parse().ok());
    version.ok_or_else(|| Failure::new("the table `mainstay_idp_schema` has no version"))
}

async fn steps(database: &Database) -> Result<(), sqlx::Error> {
    // One at a time: SQLite lets one write, PostgreSQL has locks for whatever one likes, here by the bytes of `mainstay`.
    let (begin, lock): (&'static str, &[&'static str]) = match database.pool {
        #[cfg(feature = "issuer-sqlite")]
        Pool::Sqlite(_) => ("BEGIN IMMEDIATE", &[]),
        #[cfg(feature = "issuer-postgres")]
        Pool::Postgres(_) => (
            "BEGIN",
            &["SET LOCAL statement_timeout = '30s'", "SELECT pg_advisory_xact_lock(7881702227260170617)"],
        ),
    };
    on!(&database.pool, pool => {
        let mut transaction = pool.begin_with(begin).await?;
        for statement in lock {
            sqlx::query(*statement).execute(&mut *transaction).await?;
        }
        sqlx::query("CREATE TABLE IF NOT EXISTS mainstay_idp_schema (version BIGINT NOT NULL PRIMARY KEY)")
            .execute(&mut *transaction)
            .await?;
        let done: String = sqlx::query_scalar(VERSION).fetch_one(&mut *transaction).await?;
        let done: usize = done.parse().unwrap_or(usize::MAX);
        for (index, step) in STEPS.iter().enumerate().skip(done) {
            for statement in *step {
                sqlx::query(*statement).execute(&mut *transaction).await?;
            }
            sqlx::query("INSERT INTO mainstay_idp_schema (version) VALUES ($1)")
                .bind(i64::try_from(index + 1).unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    })
}
