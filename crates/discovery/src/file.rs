//! Endpoints from a file that is watched.
//!
//! The file is what `[discovery.static]` is, with the names at its top; TOML, or JSON where its name ends in `.json`:
//!
//! ```toml
//! orders = ["http://10.0.0.7:8080", "http://10.0.0.8:8080"]
//! inventory = [{ address = "h2c://10.0.0.9:9000", weight = 2, zone = "north" }]
//! ```
//!
//! It is read and compared once an interval, rather than watched through the kernel: that sees editors that replace
//! the file, the swapped symlinks of Kubernetes' ConfigMaps, network file systems and bind mounts, where file events
//! fail. What changed must be the same twice, so that no file is taken over half-written. A file that is malformed,
//! empty or gone changes nothing, and is logged once with the place of the error.
//!
//! When not to use it: where a registry can tell itself who is there. A file knows only what is written into it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::ready,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay_core::{config::Duration, error::Report, file, task::Tasks};
use serde::{Deserialize, Serialize};
use tokio_util::sync::DropGuard;

use crate::{
    Endpoint, Lease, Register, Resolve, ServiceName, Unregistrable, Watch, fixed,
    registry::{Followed, Status, Unusable},
    standing::Standing,
    watch::Publisher,
};

/// What it is called.
const NAME: &str = "file";

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// After which a reading that has not ended is worth a line in the log.
const SLOW: std::time::Duration = std::time::Duration::from_secs(5);

/// The table `[discovery.file]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The file. It has to be there, and right, when the process starts.
    pub path: Option<PathBuf>,
    /// How often it is read. A change is seen after two intervals at most. Default 250 ms, at least 10 ms.
    pub interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: None, interval: Duration::from_millis(250) }
    }
}

impl Config {
    /// Reads the file at `path` as often as by default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }
}

/// Resolves names to what a file says. Its task ends when the last clone is dropped; watches keep what they have.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

struct Shared {
    path: PathBuf,
    standing: Standing,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    listed: Listed,
    watched: HashMap<ServiceName, Publisher>,
}

type Listed = BTreeMap<ServiceName, Vec<Endpoint>>;

/// What is in the file, or why that is not known.
type Content = Result<Vec<u8>, String>;

impl Registry {
    /// Reads the file, and then watches it in a task of `tasks`.
    ///
    /// # Errors
    /// [`Unusable`] when there is no path, or the file can't be read or is malformed: at the start that is a mistake,
    /// not an interruption.
    ///
    /// # Cancel safety
    /// Nothing is left behind when it is dropped.
    pub async fn open(config: &Config, tasks: &Tasks) -> Result<Self, Unusable> {
        let unusable = |what| Unusable { registry: NAME, what, source: None };
        let path =
            config.path.clone().ok_or_else(|| unusable("`discovery.file.path` is not set".to_owned()))?;
        let blocking = path.clone();
        let content = tokio::task::spawn_blocking(move || read(&blocking)).await;
        let content = content.unwrap_or_else(|error| Err(error.to_string()));
        let listed = content.clone().and_then(|bytes| parse(&path, &bytes));
        let listed = listed
            .map_err(|error| unusable(format!("`discovery.file.path` ({}): {error}", path.display())))?;

        let shared = Arc::new(Shared {
            path,
            standing: Standing::default(),
            names: Mutex::new(Names { listed, watched: HashMap::new() }),
        });
        shared.standing.answered();
        let stop = tasks.stopping().child_token();
        let interval = config.interval.get().max(std::time::Duration::from_millis(10));
        let watch = shared.clone().watch(interval, content);
        tasks.spawn_detached(stop.clone().run_until_cancelled_owned(watch));
        Ok(Self { shared, _stop: Arc::new(stop.drop_guard()) })
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, Names> {
        // No code of others runs under the lock, and each change is whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what changes; `taken` is what was taken over last.
    async fn watch(self: Arc<Self>, interval: std::time::Duration, taken: Content) {
        let take = |now| {
            self.take(&now);
            ready(())
        };
        file::watch(interval, taken, || self.content(), take).await;
    }

    /// What is in the file. A file system that hangs is waited for, since the thread that reads can't be stopped; one
    /// thread, not one more each interval.
    async fn content(&self) -> Content {
        let path = self.path.clone();
        let mut reading = tokio::task::spawn_blocking(move || read(&path));
        let read = match tokio::time::timeout(SLOW, &mut reading).await {
            Ok(read) => read,
            Err(_) => {
                self.failed(&format!("it has not been read after {SLOW:?}"));
                reading.await
            }
        };
        read.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn take(&self, content: &Content) {
        match content.as_ref().map_err(Clone::clone).and_then(|bytes| parse(&self.path, bytes)) {
            Ok(listed) => {
                self.list(listed);
                self.standing.answered();
                tracing::info!(path = %self.path.display(), "the endpoints of the changed file are in use");
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &str) {
        tracing::warn!(path = %self.path.display(), error, "the file of endpoints can't be used, the last known ones stay in use");
        self.standing.failed(error.to_owned());
    }

    fn list(&self, listed: Listed) {
        let mut names = self.names();
        let Names { watched, .. } = &*names;
        for (name, publisher) in watched {
            let endpoints = listed.get(name).map(Vec::as_slice).unwrap_or_default();
            if *publisher.watch().snapshot() != *endpoints {
                publisher.publish(endpoints);
            }
        }
        names.listed = listed;
    }
}

impl Resolve for Registry {
    fn resolve(&self, service: &ServiceName) -> Watch {
        let mut names = self.shared.names();
        let Names { listed, watched } = &mut *names;
        if !watched.contains_key(service) {
            // A name that nobody watches is not worth an entry: names come from callers.
            watched.retain(|_, publisher| publisher.is_watched());
        }
        let publisher = watched.entry(service.clone()).or_insert_with(|| {
            let publisher = Publisher::new();
            publisher.publish(listed.get(service).map(Vec::as_slice).unwrap_or_default());
            publisher
        });
        publisher.watch()
    }

    fn known(&self) -> Vec<ServiceName> {
        let names = self.shared.names();
        names
            .listed
            .iter()
            .filter(|(_, endpoints)| !endpoints.is_empty())
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Changes nothing: who writes the file lists the endpoint, or does not.
impl Register for Registry {
    fn register(&self, _: &ServiceName, _: Endpoint) -> Result<Lease, Unregistrable> {
        Ok(Lease::new(|| std::future::ready(())))
    }
}

impl crate::Registry for Registry {
    fn status(&self) -> Status {
        let mut status = self.shared.standing.status(NAME);
        let is_current = status.is_connected;
        let names = self.shared.names();
        let followed = names.listed.iter().map(|(service, endpoints)| {
            let endpoints = endpoints.len();
            let unconfirmed = if is_current { 0 } else { endpoints };
            Followed { service: service.clone(), endpoints, unconfirmed, is_current }
        });
        status.followed = followed.collect();
        status
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("path", &self.shared.path)
            .field("known", &self.known())
            .finish_non_exhaustive()
    }
}

/// Reads the file, in a thread that may block.
fn read(path: &Path) -> Content {
    file::read(path, LARGEST).map_err(|error| Report::new(&error).to_string())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Listed, String> {
    // Valid TOML, and most likely a disk that was full.
    if bytes.trim_ascii().is_empty() {
        return Err("it is empty; a comment is enough to say that there are no endpoints".to_owned());
    }
    let config: fixed::Config = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{} at line {line} column {column}", error.message().trim().replace('\n', "; "))
        })?
    };
    Ok(config.into_endpoints())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests write files and wait for them in real time")]
mod tests {
    use std::time::Duration as Span;

    use super::*;
    use crate::Registry as _;

    /// Generous: the machine may be busy.
    const SOON: Span = Span::from_secs(30);

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    async fn open(path: &Path) -> Registry {
        let config = Config { interval: Duration::from_millis(10), ..Config::new(path) };
        Registry::open(&config, &Tasks::new()).await.unwrap()
    }

    fn addresses(watch: &Watch) -> Vec<String> {
        watch.snapshot().iter().map(|endpoint| endpoint.place().to_string()).collect()
    }

    async fn until(watch: &Watch, expected: &[&str]) {
        let changed = async {
            let mut seen = watch.version();
            while addresses(watch) != expected {
                seen = watch.changed_since(seen).await;
            }
        };
        assert!(
            tokio::time::timeout(SOON, changed).await.is_ok(),
            "{:?}, not {expected:?}",
            addresses(watch)
        );
    }

    async fn until_failed(registry: &Registry, part: &str) {
        let failed = || registry.status().last_error.is_some_and(|error| error.message.contains(part));
        let waiting = async {
            while !failed() || registry.status().is_connected {
                tokio::time::sleep(Span::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{:?}", registry.status());
    }

    fn name(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_file_is_followed_through_edits_replacements_and_symlinks() {
        let folder = folder();
        let path = folder.path().join("endpoints.toml");
        std::fs::write(&path, "orders = [\"http://a:1\"]\nother = [\"http://o:1\"]\n").unwrap();
        let registry = open(&path).await;
        let (orders, other) = (registry.resolve(&name("orders")), registry.resolve(&name("other")));
        assert!(orders.is_settled());
        assert_eq!(addresses(&orders), ["http://a:1"]);
        assert_eq!(registry.known(), [name("orders"), name("other")]);
        let seen = other.version();

        // Of the same length: neither that nor a coarse clock hides it.
        std::fs::write(&path, "orders = [\"http://b:1\"]\nother = [\"http://o:1\"]\n").unwrap();
        until(&orders, &["http://b:1"]).await;

        // As editors do.
        let new = folder.path().join(".endpoints.toml.swp");
        std::fs::write(&new, "orders = [\"http://c:1\", \"http://d:1\"]\nother = [\"http://o:1\"]\n")
            .unwrap();
        std::fs::rename(&new, &path).unwrap();
        until(&orders, &["http://c:1", "http://d:1"]).await;
        assert_eq!(other.version(), seen, "what did not change is not published anew");

        // As Kubernetes does with the volume of a ConfigMap: `..data` is swapped, the path itself stays.
        for (version, endpoint) in [("1", "http://e:1"), ("2", "http://f:1")] {
            let data = folder.path().join(version);
            std::fs::create_dir(&data).unwrap();
            std::fs::write(data.join("endpoints.toml"), format!("orders = [{endpoint:?}]")).unwrap();
            let link = folder.path().join("..data_tmp");
            std::os::unix::fs::symlink(version, &link).unwrap();
            std::fs::rename(&link, folder.path().join("..data")).unwrap();
            if version == "1" {
                std::fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("..data/endpoints.toml", &path).unwrap();
            }
            until(&orders, &[endpoint]).await;
        }
        until(&other, &[]).await;
        assert!(registry.resolve(&name("unknown")).is_settled());
    }

    #[tokio::test]
    async fn a_malformed_empty_or_vanished_file_changes_nothing_and_says_where() {
        let folder = folder();
        let path = folder.path().join("endpoints.toml");
        let good = "orders = [\"http://a:1\"]\n";
        std::fs::write(&path, good).unwrap();
        let registry = open(&path).await;
        let orders = registry.resolve(&name("orders"));

        let cases = [
            ("orders = [\"http://a:1\"]\nstock = [\"b:1\"]\n", "the scheme is missing"),
            ("orders = [\"http://a:1\"]\nstock = [\"b:1\"]\n", "at line 2 column 10"),
            ("orders = [\"http://a:1\"", "line 1"),
            ("Orders = []", "is not the name of a service"),
            ("orders = [{ adress = \"http://a:1\" }]", "adress"),
            (" \n", "it is empty"),
        ];
        for (text, part) in cases {
            std::fs::write(&path, text).unwrap();
            until_failed(&registry, part).await;
            assert_eq!(addresses(&orders), ["http://a:1"], "{text}");
            assert_eq!(registry.status().followed[0].unconfirmed, 1);
        }
        std::fs::remove_file(&path).unwrap();
        until_failed(&registry, "No such file").await;
        std::fs::create_dir(&path).unwrap();
        until_failed(&registry, "it is not a file").await;
        assert_eq!(addresses(&orders), ["http://a:1"]);

        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "orders = [\"http://z:1\"]\n").unwrap();
        until(&orders, &["http://z:1"]).await;
        assert!(registry.status().is_connected);
    }

    #[tokio::test]
    async fn a_file_can_be_json_and_a_comment_says_that_nothing_is_there() {
        let folder = folder();
        let path = folder.path().join("endpoints.json");
        std::fs::write(&path, r#"{"orders": [{"address": "http://a:1", "weight": 2}]}"#).unwrap();
        let registry = open(&path).await;
        let orders = registry.resolve(&name("orders"));
        assert_eq!(orders.snapshot()[0].weight(), 2);
        std::fs::write(&path, "{\n\"orders\": [7]}").unwrap();
        until_failed(&registry, "line 2").await;
        assert_eq!(orders.snapshot().len(), 1);
        assert_eq!(parse(Path::new("x.toml"), b"# none").unwrap(), Listed::new());
    }

    #[tokio::test]
    async fn at_the_start_a_file_that_is_wrong_is_an_error_that_names_it() {
        let folder = folder();
        let path = folder.path().join("endpoints.toml");
        let refused =
            async || Registry::open(&Config::new(&path), &Tasks::new()).await.unwrap_err().to_string();
        for part in ["discovery.file.path", "endpoints.toml", "No such file"] {
            let error = refused().await;
            assert!(error.contains(part), "{error}");
        }
        std::fs::write(&path, "orders = 7").unwrap();
        let error = refused().await;
        assert!(error.contains("line 1 column 10"), "{error}");
        let error = Registry::open(&Config::default(), &Tasks::new()).await.unwrap_err().to_string();
        assert!(error.contains("not set"), "{error}");
    }

    #[tokio::test]
    async fn the_watching_ends_with_the_registry_and_watches_keep_what_they_have() {
        let folder = folder();
        let path = folder.path().join("endpoints.toml");
        std::fs::write(&path, "orders = [\"http://a:1\"]").unwrap();
        let tasks = Tasks::new();
        let registry = Registry::open(&Config::new(&path), &tasks).await.unwrap();
        let orders = registry.resolve(&name("orders"));
        let _lease = registry.register(&name("orders"), Endpoint::tcp("mine", 1)).unwrap();
        assert_eq!(addresses(&orders), ["http://a:1"], "a registration does not write the file");
        drop(registry);
        tasks.stop(SOON).await.unwrap();
        assert_eq!(addresses(&orders), ["http://a:1"]);
    }
}
