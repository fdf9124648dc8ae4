//! The endpoints of before a restart, in a file.
//!
//! A process that starts while its registry is away calls what it knew when it last ran. The file is replaced as a
//! whole (written beside it, then renamed). Endpoints that the registry has not confirmed for the configured age are
//! not used, and what was read counts as unconfirmed until the registry answers.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::timeout};

use super::{Shared, backend::Backend, record::Listed};
use crate::{
    ServiceName,
    registry::{self, Unusable},
};

/// A larger file was not written by us.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Changes are collected this long before they are written.
const PAUSE: Duration = Duration::from_secs(1);

const VERSION: u32 = 1;

#[derive(Debug)]
pub(super) struct Cache {
    registry: &'static str,
    path: PathBuf,
    max_age: Duration,
    services: Mutex<BTreeMap<ServiceName, Known>>,
    changed: Notify,
}

/// The file.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    version: u32,
    /// Another registry has other endpoints.
    registry: String,
    services: BTreeMap<ServiceName, Known>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
struct Known {
    /// When the registry last said so, in seconds since 1970.
    confirmed: u64,
    /// The records by id.
    entries: BTreeMap<String, serde_json::Value>,
}

impl Cache {
    /// Reads what is there. A file that can't be used is as good as none; a folder that can't be is an error, since
    /// nothing would ever be kept.
    pub(super) async fn open(registry: &'static str, config: &registry::Cache) -> Result<Self, Unusable> {
        let (path, max_age) = (config.file.clone(), config.max_age.get());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let what = format!("`discovery.cache.file` ({}): its folder is not there", path.display());
            return Err(Unusable { registry, what, source: None });
        }
        let reading = path.clone();
        let read = tokio::task::spawn_blocking(move || read(&reading)).await;
        let services = match read {
            Ok(Ok(Some(document))) if document.registry == registry => fresh(document.services, max_age),
            Ok(Ok(_)) | Err(_) => BTreeMap::new(),
            Ok(Err(error)) => {
                let file = path.display();
                tracing::warn!(registry, %file, %error, "the endpoints of before the restart can't be read");
                BTreeMap::new()
            }
        };
        if !services.is_empty() {
            let (file, names) = (path.display(), services.len());
            tracing::info!(
                registry, %file, names,
                "the endpoints of before the restart are in use until the registry answers"
            );
        }
        Ok(Self { registry, path, max_age, services: Mutex::new(services), changed: Notify::new() })
    }

    /// What was known of `service` before this process.
    pub(super) fn remembered(&self, service: &ServiceName) -> Vec<(String, Listed)> {
        let services = self.services();
        let entries = services.get(service).into_iter().flat_map(|known| &known.entries);
        let readable = entries.filter_map(|(id, record)| {
            // The file is no more to be believed than the registry.
            let listed = Listed::read(record.to_string().as_bytes()).ok()?;
            Some((id.clone(), listed))
        });
        readable.collect()
    }

    /// Some endpoints have changed.
    pub(super) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Takes over what is known now.
    fn update<B: Backend>(&self, shared: &Shared<B>) {
        let followed: Vec<_> = shared.followed().values().cloned().collect();
        let now = now();
        let mut services = self.services();
        for following in followed {
            let changes = &following.changes;
            if !changes.is_current() {
                continue;
            }
            let entries: BTreeMap<_, _> = changes
                .entries()
                .into_iter()
                .filter_map(|(id, listed)| Some((id, serde_json::from_str(&listed.write().ok()?).ok()?)))
                .collect();
            if entries.is_empty() {
                services.remove(changes.service());
            } else {
                services.insert(changes.service().clone(), Known { confirmed: now, entries });
            }
        }
        let kept = fresh(std::mem::take(&mut *services), self.max_age);
        *services = kept;
    }

    async fn write(&self) -> io::Result<()> {
        let document = Document {
            version: VERSION,
            registry: self.registry.to_owned(),
            services: self.services().clone(),
        };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            replace(&path, &serde_json::to_vec(&document).map_err(io::Error::other)?)
        });
        written.await.map_err(io::Error::other)?
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Known>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what has changed, once in a while what has not (its age counts from the last confirmation), and all of it in
/// the end.
pub(super) async fn run<B: Backend>(shared: Arc<Shared<B>>, cache: Arc<Cache>) {
    let mut is_failing = false;
    loop {
        let stopped = tokio::select! {
            () = shared.stopped() => true,
            _ = timeout(cache.max_age / 4, cache.changed.notified()) => false,
        };
        if !stopped {
            let _ = timeout(PAUSE, shared.stopped()).await;
        }
        cache.update(&shared);
        let written = cache.write().await;
        if let Err(error) = &written {
            let (registry, file) = (cache.registry, cache.path.display());
            if !is_failing {
                tracing::warn!(registry, %file, %error, "the endpoints can't be kept for a restart");
            }
        }
        is_failing = written.is_err();
        if stopped {
            return;
        }
    }
}

fn fresh(services: BTreeMap<ServiceName, Known>, max_age: Duration) -> BTreeMap<ServiceName, Known> {
    let now = now();
    // A confirmation from the future: the clock was set back, and its age can't be told.
    let is_fresh = |known: &Known| known.confirmed <= now && now - known.confirmed <= max_age.as_secs();
    services.into_iter().filter(|(_, known)| is_fresh(known)).collect()
}

fn read(path: &Path) -> io::Result<Option<Document>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > LARGEST => {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        Ok(_) => {}
    }
    let document: Document = serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)?;
    if document.version != VERSION {
        return Err(io::Error::other("its `version` is not 1"));
    }
    Ok(Some(document))
}

/// Whoever reads the file sees the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // Two processes that share the file by mistake don't write into each other's.
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = fs::File::create(&beside).and_then(|mut file| {
        io::Write::write_all(&mut file, content)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the age of what a former process wrote is wall time")]
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
