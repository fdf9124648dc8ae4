//! Trees such as the framework's and a service's, and a directory to put files in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_core::config::{ByteSize, Duration, Findings, Keys, Loader, Secret, Section};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) server: Server,
    pub(crate) drain: Drain,
    pub(crate) log: Log,
    pub(crate) host: Host,
    pub(crate) tls: Option<Tls>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tokens: BTreeMap<String, Secret>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) header_timeout: Duration,
    pub(crate) body_limit: ByteSize,
    pub(crate) connections: u16,
    pub(crate) name: String,
    pub(crate) http2: bool,
    pub(crate) factor: f64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            header_timeout: Duration::from_secs(10),
            body_limit: ByteSize::from_mib(2),
            connections: 1024,
            name: "mainstay".to_owned(),
            http2: true,
            factor: 1.5,
        }
    }
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), timeout: Duration::from_secs(30) }
    }
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) targets: BTreeMap<String, Level>,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Host {
    pub(crate) services: Vec<String>,
    pub(crate) ports: Vec<u16>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate_file: PathBuf,
    pub(crate) key: Secret,
    #[serde(default)]
    pub(crate) clients: Clients,
}

#[derive(Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clients {
    #[default]
    Anyone,
    Required {
        authority: PathBuf,
    },
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) weight: Option<u8>,
}

impl Section for Settings {
    fn check(&self, findings: &mut Findings) {
        findings.within("drain", |findings| {
            if self.drain.delay >= self.drain.timeout {
                findings.reject("delay", format_args!("less than `drain.timeout` ({})", self.drain.timeout));
            }
        });
    }

    fn reloadable(keys: &mut Keys) {
        keys.add("log");
        keys.within("server", |keys| keys.add("body_limit"));
        keys.add("tokens");
    }
}

/// What a service reads.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    pub(crate) currency: String,
    pub(crate) database_password: Secret,
    #[serde(default = "Orders::default_reserve")]
    pub(crate) reserve: Duration,
}

impl Orders {
    fn default_reserve() -> Duration {
        Duration::from_secs(5)
    }
}

impl Section for Orders {
    fn check(&self, findings: &mut Findings) {
        if self.database_password.expose().len() < 8 {
            findings.reject("database_password", "at least 8 characters");
        }
    }
}

/// A directory of its own, gone with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let directory = Self::new();
        for (name, content) in files {
            directory.write(name, content);
        }
        directory
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A loader of this directory, with the framework's tree.
    pub(crate) fn loader(&self) -> Loader {
        Loader::new().directory(&self.0).tree::<Settings>("")
    }

    /// Texts without the name of the directory.
    pub(crate) fn neutral(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
