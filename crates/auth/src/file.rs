//! Files that are watched.
//!
//! Read and compared once an interval rather than watched through the kernel, which sees replaced files, swapped symlinks
//! and network file systems. What changed must be the same twice, so that no file is taken over half-written.

use std::{io::Read as _, path::PathBuf, time::Duration};

use tokio::time::MissedTickBehavior;

/// How often it is read.
const INTERVAL: Duration = Duration::from_millis(250);

/// The largest that is read, in bytes.
const LARGEST: u64 = 512 << 10;

/// Reads it on a thread that may block.
pub(crate) async fn read(path: PathBuf) -> Result<Vec<u8>, String> {
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

/// Has `take` take over what changes; `taken` is what was taken over last.
pub(crate) async fn watch(path: PathBuf, taken: Vec<u8>, mut take: impl FnMut(Result<&[u8], &str>) + Send) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut taken = Ok(taken);
    let mut previous = taken.clone();
    loop {
        ticks.tick().await;
        let now = read(path.clone()).await;
        if now == previous && now != taken {
            take(now.as_deref().map_err(String::as_str));
            taken.clone_from(&now);
        }
        previous = now;
    }
}
