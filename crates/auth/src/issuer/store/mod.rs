//! What a provider remembers: small records, each with a kind and a name, most with an end.
//!
//! Whatever must happen once (a code, a refresh token, the id of an assertion) happens by [`Store::insert`] or
//! [`Store::swap`], which one of several callers wins, also where they are several processes on one database.

mod memory;
mod sql;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use self::memory::Memory;
use self::sql::Sql;
use super::refused::Refused;

/// Where records are. Clones share them.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Memory(Arc<Memory>),
    Sql(Sql),
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// By the hash of a code: what it is good for.
    Code,
    /// By a random id: what somebody granted a client. When it goes, everything issued under it goes.
    Grant,
    /// By the hash of a refresh token: the grant that it belongs to.
    Refresh,
    /// By the hash of a cookie: who is logged in there.
    Session,
    /// By user and client: what was consented to.
    Consent,
    /// By client and `jti`: an assertion that was used.
    Assertion,
    /// By `jti`: an access token that was revoked.
    Revoked,
    /// One: the signing keys.
    Keys,
}

impl Kind {
    /// What stands in databases, and never changes.
    fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Grant => "grant",
            Self::Refresh => "refresh",
            Self::Session => "session",
            Self::Consent => "consent",
            Self::Assertion => "assertion",
            Self::Revoked => "revoked",
            Self::Keys => "keys",
        }
    }
}

/// A record, as it is: what [`Store::swap`] compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    text: String,
}

/// The store could not be asked, or it is full. For the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        tracing::error!(error = %failure, "the store of the identity provider failed");
        Self::unavailable()
    }
}

impl Store {
    pub(super) fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(super) fn in_database(database: super::database::Database) -> Self {
        Self::Sql(Sql::new(database))
    }

    /// The record, if it has not ended by `now`, in seconds since 1970 as all times here.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
        now: u64,
    ) -> Result<Option<Found<T>>, Failure> {
        let text = match self {
            Self::Memory(memory) => memory.get(kind, name, now),
            Self::Sql(sql) => sql.get(kind, name, now).await?,
        };
        let read = |text: String| match serde_json::from_str(&text) {
            Ok(value) => Ok(Found { value, text }),
            Err(error) => Err(Failure(format!("a record of the kind {kind:?} can't be read: {error}"))),
        };
        text.map(read).transpose()
    }

    /// Adds a record that ends at `until`. False where there is one already.
    pub(super) async fn insert<T: Serialize + Sync>(
        &self,
        kind: Kind,
        name: &str,
        value: &T,
        until: u64,
        now: u64,
    ) -> Result<bool, Failure> {
        let text = written(value)?;
        match self {
            Self::Memory(memory) => memory.insert(kind, name, text, until, now),
            Self::Sql(sql) => sql.insert(kind, name, &text, until, now).await,
        }
    }

    /// Replaces a record that is still as it was found; its end stays. False where it is another or gone.
    pub(super) async fn swap<T: Serialize + Sync>(
        &self,
        kind: Kind,
        name: &str,
        found: &Found<T>,
        value: &T,
    ) -> Result<bool, Failure> {
        let text = written(value)?;
        match self {
            Self::Memory(memory) => Ok(memory.swap(kind, name, &found.text, text)),
            Self::Sql(sql) => sql.swap(kind, name, &found.text, &text).await,
        }
    }

    /// Lets a record end later. False where there is none.
    pub(super) async fn keep(&self, kind: Kind, name: &str, until: u64, now: u64) -> Result<bool, Failure> {
        match self {
            Self::Memory(memory) => Ok(memory.keep(kind, name, until, now)),
            Self::Sql(sql) => sql.keep(kind, name, until, now).await,
        }
    }

    /// Adds a record or replaces it.
    pub(super) async fn put<T: Serialize + Sync>(
        &self,
        kind: Kind,
        name: &str,
        value: &T,
        until: u64,
        now: u64,
    ) -> Result<(), Failure> {
        let text = written(value)?;
        match self {
            Self::Memory(memory) => memory.put(kind, name, text, until, now),
            Self::Sql(sql) => sql.put(kind, name, &text, until).await,
        }
    }

    pub(super) async fn remove(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        match self {
            Self::Memory(memory) => memory.remove(kind, name),
            Self::Sql(sql) => sql.remove(kind, name).await?,
        }
        Ok(())
    }

    /// All records of a store in memory.
    #[cfg(test)]
    pub(super) fn dump(&self) -> Vec<String> {
        match self {
            Self::Memory(memory) => memory.dump(),
            Self::Sql(_) => Vec::new(),
        }
    }

    /// Forgets what has ended by `now`.
    pub(super) async fn sweep(&self, now: u64) -> Result<(), Failure> {
        match self {
            Self::Memory(memory) => memory.sweep(now),
            Self::Sql(sql) => sql.sweep(now).await?,
        }
        Ok(())
    }
}

fn written(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure(error.to_string()))
}

#[cfg(test)]
#[cfg(all(feature = "issuer-sqlite", feature = "issuer-postgres"))]
mod tests;
