//! NSD, from Debian's package of that name.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tempfile::TempDir;

/// NSD with the zone `internal`; stopped on drop.
#[derive(Debug)]
pub(crate) struct Nsd {
    folder: TempDir,
    address: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Nsd {
    /// With these records, which live for no time, in the zone.
    pub(crate) async fn start(records: &str) -> Self {
        let address = super::sockets().1.local_addr().unwrap();
        let nsd = Self { folder: tempfile::tempdir().unwrap(), address, child: Mutex::default() };
        nsd.write(records);
        nsd.restart().await;
        nsd
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the records.
    pub(crate) fn write(&self, records: &str) {
        let zone = format!(
            "$ORIGIN internal.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\nns A 127.0.0.1\n{records}"
        );
        let new = self.folder.path().join("new");
        std::fs::write(&new, zone).unwrap();
        std::fs::rename(new, self.folder.path().join("internal.zone")).unwrap();
        if let Some(child) = &*self.child() {
            assert!(signal(&child.id().to_string(), "HUP"));
        }
    }

    /// To it and its children.
    pub(crate) fn signal_all(&self, name: &str) {
        if let Some(child) = &*self.child() {
            assert!(signal(&format!("-{}", child.id()), name));
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child().take() {
            end(&mut child);
        }
    }

    /// With the records that it has.
    pub(crate) async fn restart(&self) {
        let folder = self.folder.path();
        let path = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n server-count: 1\n database: \"\"\n \
             zonesdir: \"{zones}\"\n pidfile: \"{pid}\"\n xfrdfile: \"{xfrd}\"\n zonelistfile: \"{list}\"\n \
             logfile: \"{log}\"\nremote-control:\n control-enable: no\nzone:\n name: internal\n zonefile: internal.zone\n",
            port = self.address.port(),
            zones = folder.display(),
            pid = path("pid"),
            xfrd = path("xfrd"),
            list = path("zones"),
            log = path("log"),
        );
        std::fs::write(folder.join("nsd.conf"), config).unwrap();
        let mut command = Command::new(program());
        command.args(["-d", "-c"]).arg(folder.join("nsd.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        let child = command.spawn().expect("NSD is needed: `apt-get install nsd`, or `cargo xtask test`");
        *self.child() = Some(child);
        // It listens before it has read the zone, but answers after.
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("NSD does not answer: {log}");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap()
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps servers out of the path of ordinary users.
fn program() -> PathBuf {
    let usual = Path::new("/usr/sbin/nsd");
    if usual.exists() { usual.to_owned() } else { "nsd".into() }
}

/// To a process, or to a group of them where it begins with a `-`.
fn signal(whom: &str, signal: &str) -> bool {
    let command = format!("kill -{signal} {whom}");
    Command::new("sh")
        .args(["-c", &command])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Asked nicely first: its children go with it then.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let group = format!("-{}", child.id());
    signal(&group, "CONT");
    signal(&child.id().to_string(), "TERM");
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(&group, "KILL");
    let _ = child.wait();
}
