//! Keys on disk, for this user alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{SigningKey, signing::Written};

const MOST_BYTES: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    keys: Vec<Written>,
}

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
    if content.keys.is_empty() {
        return Err(format!("{}: it has no keys; expected one or more, or no file", path.display()));
    }
    let keys = content.keys.iter().map(|written| SigningKey::read(written).map(Arc::new));
    keys.collect::<Result<_, _>>().map_err(|why| format!("{}: a key: {why}", path.display()))
}

/// Whole or not at all. Blocks.
pub(super) fn write(path: &Path, keys: &[Arc<SigningKey>]) -> Result<(), String> {
    let content = Content { keys: keys.iter().map(|key| key.written()).collect() };
    let text = serde_json::to_string_pretty(&content).map_err(|error| error.to_string())?;
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
