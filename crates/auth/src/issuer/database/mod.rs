//! A database that several processes may share: SQLite (feature `issuer-sqlite`) or PostgreSQL (`issuer-postgres`).
//!
//! Statements are the same for both: what they give and take is text and whole numbers, and each is a transaction of its own.
//! Every one has the configured time, its wait for a connection included.

mod address;
mod schema;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::pool::PoolConnection;

use self::address::Address;
use super::{config, store::Failure};

/// A handle on it: a pool of connections, made as they are needed. Clones share it.
#[derive(Clone)]
pub(super) struct Database {
    pool: Pool,
    timeout: Duration,
}

#[derive(Clone)]
enum Pool {
    #[cfg(feature = "issuer-sqlite")]
    Sqlite(sqlx::SqlitePool),
    #[cfg(feature = "issuer-postgres")]
    Postgres(sqlx::PgPool),
}

/// What stands in place of `$1` and so on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

/// The same for either database, whose types have nothing in common but their names.
macro_rules! on {
    ($pool:expr, $each:ident => $body:expr) => {
        match $pool {
            #[cfg(feature = "issuer-sqlite")]
            Pool::Sqlite($each) => $body,
            #[cfg(feature = "issuer-postgres")]
            Pool::Postgres($each) => $body,
        }
    };
}
use on;

/// A statement with its values.
macro_rules! bound {
    ($sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query($sql), |query, value| match *value {
            Value::Text(text) => query.bind(text),
            // Neither of both has unsigned ones; what has no end ends late.
            Value::Number(number) => query.bind(i64::try_from(number).unwrap_or(i64::MAX)),
        })
    };
}

impl Database {
    /// Connects, and brings the tables up to date.
    pub(super) async fn open(config: &config::Store) -> Result<Self, Failure> {
        let url = config.url.as_ref().map_or("", |url| url.expose());
        let timeout = config.timeout.get();
        let pool = Address::parse(url)?.pool(config.connections, timeout)?;
        let database = Self { pool, timeout };
        schema::migrate(&database).await?;
        Ok(database)
    }

    /// How many records the statement has changed.
    pub(super) async fn change(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let work = async {
            on!(&self.pool, pool => {
                let mut lease = Lease(Some(pool.acquire().await?));
                let done = bound!(sql, values).execute(&mut **lease).await;
                lease.give_back();
                Ok(done?.rows_affected())
            })
        };
        within(self.timeout, Box::pin(work)).await
    }

    /// The rows that the statement finds; all of their columns have to be text.
    pub(super) async fn rows(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Vec<String>>, Failure> {
        use sqlx::Row as _;
        let work = async {
            on!(&self.pool, pool => {
                let mut lease = Lease(Some(pool.acquire().await?));
                let found = bound!(sql, values).fetch_all(&mut **lease).await;
                lease.give_back();
                found?.iter().map(|row| (0..row.len()).map(|index| row.try_get(index)).collect()).collect()
            })
        };
        within(self.timeout, Box::pin(work)).await
    }

    /// Whether several may write at once, so that statements meet rows that others have locked.
    pub(super) fn has_row_locks(&self) -> bool {
        match self.pool {
            #[cfg(feature = "issuer-sqlite")]
            Pool::Sqlite(_) => false,
            #[cfg(feature = "issuer-postgres")]
            Pool::Postgres(_) => true,
        }
    }
}

/// Boxed where it is called for requests: sqlx's futures have 8 KiB each, and all of ours would have them inside.
async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(done)) => Ok(done),
        // The pool hides why it could not connect.
        Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {
            Err(Failure::new(format!("the database did not answer within {timeout:?}")))
        }
        Ok(Err(error)) => Err(Failure::new(format!("the database: {error}"))),
    }
}

/// A connection of the pool. One that is dropped in the middle of a statement does not go back: the pool would wait for an answer on
/// it, for ever where the network swallows it.
struct Lease<B: sqlx::Database>(Option<PoolConnection<B>>);

impl<B: sqlx::Database> Lease<B> {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl<B: sqlx::Database> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl<B: sqlx::Database> Deref for Lease<B> {
    type Target = PoolConnection<B>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is there until the lease is given back, by value")
    }
}

impl<B: sqlx::Database> DerefMut for Lease<B> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("it is there until the lease is given back, by value")
    }
}

/// Without the address, which may have a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pool {
            #[cfg(feature = "issuer-sqlite")]
            Pool::Sqlite(_) => "Database(SQLite)",
            #[cfg(feature = "issuer-postgres")]
            Pool::Postgres(_) => "Database(PostgreSQL)",
        })
    }
}

#[cfg(test)]
#[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
mod tests;
