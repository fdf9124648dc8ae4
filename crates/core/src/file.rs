//! Files that settings name, read while the process runs.
//!
//! They are read and compared once an interval, rather than watched through the kernel: that sees editors that replace the file,
//! configuration maps that swap a symlink, and file systems on which file events fail.

use std::{
    future::Future,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use tokio::time::MissedTickBehavior;

/// What is in the file at `path`. Blocks.
///
/// # Errors
/// Those of reading; where it is no regular file, or has more than `largest` bytes.
///
/// ```
/// use mainstay_core::file;
///
/// let error = file::read("/".as_ref(), 1 << 10).unwrap_err();
/// assert_eq!(error.to_string(), "it is not a file");
/// ```
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    // A pipe would be waited for when it is opened.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        return Err(io::Error::other(format!("it has more than {} KiB", largest >> 10)));
    }
    Ok(content)
}

/// Has `take` take over what `read` gives, once every `interval`: what is new, and was the same twice in a row, so that nothing is
/// taken over half-written. `taken` is what was taken over last. Goes on until it is dropped.
///
/// # Panics
/// When `interval` is zero.
///
/// # Cancel safety
/// Dropping it ends the watch; what was being taken over then is dropped with it.
pub async fn watch<T, R, A>(
    interval: Duration,
    mut taken: T,
    mut read: impl FnMut() -> R,
    mut take: impl FnMut(T) -> A,
) where
    T: PartialEq + Clone,
    R: Future<Output = T>,
    A: Future<Output = ()>,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut previous = taken.clone();
    loop {
        ticks.tick().await;
        let now = read().await;
        if now == previous && now != taken {
            take(now.clone()).await;
            taken.clone_from(&now);
        }
        previous = now;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_new_is_taken_over_once_it_is_the_same_twice() {
        let says = RefCell::new(["old", "half", "whole", "whole", "whole", "old", "old"].into_iter());
        let taken = RefCell::new(Vec::new());
        let read = || ready(says.borrow_mut().next().unwrap_or("old"));
        let take = |now| {
            taken.borrow_mut().push(now);
            ready(())
        };
        let watching = watch(Duration::from_secs(1), "old", read, take);
        assert!(tokio::time::timeout(Duration::from_secs(20), watching).await.is_err());
        assert_eq!(*taken.borrow(), ["whole", "old"]);
    }

    #[test]
    fn a_file_is_read_within_its_bound() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, [b'x'; 2048]).unwrap();
        assert_eq!(read(&path, 2048).unwrap().len(), 2048);
        assert_eq!(read(&path, 2047).unwrap_err().to_string(), "it has more than 1 KiB");
    }
}
