//! Files that are watched.

use std::{future::ready, path::PathBuf, time::Duration};

use mainstay_core::file;

/// How often it is read.
const INTERVAL: Duration = Duration::from_millis(250);

/// The largest that is read, in bytes.
const LARGEST: u64 = 512 << 10;

/// Reads it on a thread that may block.
pub(crate) async fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    let content = tokio::task::spawn_blocking(move || file::read(&path, LARGEST)).await;
    content.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Has `take` take over what changes; `taken` is what was taken over last.
pub(crate) async fn watch(path: PathBuf, taken: Vec<u8>, mut take: impl FnMut(Result<&[u8], &str>) + Send) {
    let read = || read(path.clone());
    file::watch(INTERVAL, Ok(taken), read, |now: Result<Vec<u8>, String>| {
        take(now.as_deref().map_err(String::as_str));
        ready(())
    })
    .await;
}
