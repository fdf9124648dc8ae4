//! Changed files, taken over as a whole or not at all.

use std::{sync::Arc, time::Duration};

use mainstay_core::file;

use super::{Set, Shared, Source, source::Wrong};

/// How often the files are read.
const INTERVAL: Duration = Duration::from_millis(500);

/// Takes over what changes; `taken` is what is in use.
pub(super) async fn run(shared: Arc<Shared>, taken: Source) {
    let config = &shared.config;
    if config.paths.is_empty() && config.schema_file.is_none() && config.entities_file.is_none() {
        return;
    }
    let read = || {
        let shared = shared.clone();
        blocking(move || Source::read(&shared.config))
    };
    let take = |now: Result<Source, Wrong>| {
        let shared = shared.clone();
        async move {
            let understood = {
                let shared = shared.clone();
                blocking(move || Set::understand(&now?, &shared.config))
            };
            shared.take(understood.await);
        }
    };
    file::watch(INTERVAL, Ok(taken), read, take).await;
}

impl Shared {
    /// In place of what is in use, if it is good.
    pub(super) fn take(&self, set: Result<Set, Wrong>) {
        self.counts.reloaded(set.is_ok());
        match set {
            Ok(set) => {
                let [policies, actions, entities] = set.size();
                tracing::info!(policies, actions, entities, "the changed policies are in use");
                self.current.store(Arc::new(set));
                self.refused.send_replace(None);
            }
            Err((key, error)) => {
                tracing::error!(
                    key = format!("auth.policy.{key}"),
                    error,
                    "the changed policies can't be used, the last ones stay in use"
                );
                self.refused.send_replace(Some(error));
            }
        }
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Wrong> + Send + 'static,
) -> Result<T, Wrong> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(("paths", error.to_string())))
}
