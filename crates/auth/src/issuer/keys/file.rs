//! Keys on disk, for this user alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{SigningKey, signing::Content};

const MOST_BYTES: u64 = 1 << 20;

/// None where there is no such file. Blocks.
pub(super) fn read(path: &Path) -> Result<Vec<Arc<SigningKey>>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(failed)?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("{}: others may read it (mode {mode:o}); expected 600", path.display()));
        }
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed)?;
    // What serde says of it names places, not values.
    let content: Content = serde_json::from_str(&text).map_err(|error| {
        format!(
            "{}: not a file of signing keys: line {}, column {}",
            path.display(),
            error.line(),
            error.column()
        )
    })?;
    content.read().map_err(|why| format!("{}: {why}", path.display()))
}

/// Whole or not at all. Blocks.
pub(super) fn write(path: &Path, keys: &[Arc<SigningKey>]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(&Content::of(keys)).map_err(|error| error.to_string())?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    written(&beside, &text).and_then(|()| fs::rename(&beside, path)).map_err(|error| {
        // What can't be removed either was never there.
        let _ = fs::remove_file(&beside);
        format!("{}: {error}", path.display())
    })
}

fn written(path: &Path, text: &str) -> std::io::Result<()> {
    // One that a crash has left; a link that somebody else has laid is not followed, since the file has to be new.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
