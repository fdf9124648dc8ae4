//! Keys from a file that is watched.
//!
//! Read and compared once an interval rather than watched through the kernel, which sees replaced files, swapped symlinks
//! and network file systems. What changed must be the same twice, so that no file is taken over half-written.

use std::{io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use tokio::time::MissedTickBehavior;

use super::{Set, Shared};

/// How often it is read.
const INTERVAL: Duration = Duration::from_millis(250);

/// The largest that is read, in bytes.
const LARGEST: u64 = 512 << 10;

/// Reads it on a thread that may block.
pub(super) async fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    let read = move || {
        // A pipe would be waited for when it is opened.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        let mut content = Vec::new();
        std::fs::File::open(&path)?.take(LARGEST + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = tokio::task::spawn_blocking(read).await;
    let content = content.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if content.len() as u64 > LARGEST {
        return Err(format!("it has more than {} KiB", LARGEST >> 10));
    }
    Ok(content)
}

/// Takes over what changes; `taken` is what was taken over last.
pub(super) async fn watch(shared: Arc<Shared>, path: PathBuf, rsa: Algorithm, taken: Vec<u8>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = Ok(taken);
    let mut previous = taken.clone();
    loop {
        ticks.tick().await;
        let now = read(path.clone()).await;
        if now == previous && now != taken {
            let earlier = shared.current.load_full();
            let read = now.clone();
            match read.and_then(|content| Set::parse(&content, rsa, &earlier, &shared.name)) {
                Ok(set) => {
                    tracing::info!(
                        issuer = shared.name,
                        keys = set.len(),
                        "the keys of the changed file are in use"
                    );
                    shared.store(set);
                }
                Err(error) => {
                    tracing::warn!(issuer = shared.name, path = %path.display(), error, "the file of keys can't be used, the last known ones stay in use");
                }
            }
            taken.clone_from(&now);
        }
        previous = now;
    }
}
