//! Where keys outlive the process.

use std::{path::PathBuf, sync::Arc};

use super::{SigningKey, blocking, file, signing::Content};
use crate::issuer::{
    config,
    store::{Failure, Found, Kind, Store},
};

/// There is one record for all of them: they change together.
const NAME: &str = "keys";

pub(super) enum Kept {
    Nowhere,
    /// For one process.
    File(PathBuf),
    /// For all processes that use the database. The keys stand there as they are: who may read it may sign.
    Database(Store),
}

/// What was read, for a change to compare with; none where nothing was.
pub(super) type Version = Option<Found<Content>>;

impl Kept {
    pub(super) fn of(config: &config::Config, store: &Store) -> Self {
        match &config.keys.file {
            Some(path) => Self::File(path.clone()),
            None if config.store.url.is_some() => Self::Database(store.clone()),
            None => Self::Nowhere,
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// Which setting says so.
    pub(super) fn key(&self) -> &'static str {
        if self.is_shared() { "store.url" } else { "keys.file" }
    }

    /// The keys, if they are others than those of `known`. None of them where none are kept yet.
    pub(super) async fn read(
        &self,
        known: &Version,
        now: u64,
    ) -> Result<Option<(Vec<Arc<SigningKey>>, Version)>, String> {
        match self {
            Self::Nowhere => Ok(None),
            Self::File(path) => {
                let path = path.clone();
                let keys = blocking(move || file::read(&path)).await?;
                Ok(Some((keys, None)))
            }
            Self::Database(store) => {
                let found = store.get::<Content>(Kind::Keys, NAME, now).await.map_err(told)?;
                let Some(found) = found.filter(|found| known.as_ref() != Some(found)) else {
                    return Ok(None);
                };
                let keys = found.value.read().map_err(|why| format!("the keys in the database: {why}"))?;
                Ok(Some((keys, Some(found))))
            }
        }
    }

    /// False where another process has changed them since `known`.
    pub(super) async fn write(
        &self,
        known: &Version,
        keys: &[Arc<SigningKey>],
        now: u64,
    ) -> Result<bool, String> {
        match self {
            Self::Nowhere => Ok(true),
            Self::File(path) => {
                let (path, keys) = (path.clone(), keys.to_vec());
                blocking(move || file::write(&path, &keys)).await.map(|()| true)
            }
            Self::Database(store) => {
                let content = Content::of(keys);
                let written = match known {
                    None => store.insert(Kind::Keys, NAME, &content, u64::MAX, now).await,
                    Some(known) => store.swap(Kind::Keys, NAME, known, &content).await,
                };
                written.map_err(told)
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn told(failure: Failure) -> String {
    failure.to_string()
}
