//! NSD, from Debian's package of that name.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// NSD with the zone `internal`; stopped on drop.
#[derive(Debug)]
pub(crate) struct Nsd {
    child: Child,
    place: Place,
}

/// Where a server ran, and can run again.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    address: SocketAddr,
}

impl Nsd {
    /// With these records, which live for no time, in the zone.
    pub(crate) async fn start(records: &str) -> Self {
        Place { folder: tempfile::tempdir().unwrap(), address: super::free_address() }.start(records).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Replaces the records.
    pub(crate) fn write(&self, records: &str) {
        self.place.write(records);
        signal(&self.child, "HUP");
    }

    pub(crate) async fn stop(mut self) -> Place {
        end(&mut self.child);
        let empty = Place { folder: tempfile::tempdir().unwrap(), address: self.place.address };
        std::mem::replace(&mut self.place, empty)
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Place {
    pub(crate) async fn start(self, records: &str) -> Nsd {
        let folder = self.folder.path();
        self.write(records);
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
        let child = command.spawn().expect("NSD is needed: `apt-get install nsd`, or `cargo xtask test`");
        let nsd = Nsd { child, place: self };
        // It listens before it has read the zone, but answers after.
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(nsd.address()).await.is_ok() {
                return nsd;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(nsd.place.folder.path().join("log")).unwrap_or_default();
        panic!("NSD does not answer: {log}");
    }

    fn write(&self, records: &str) {
        let zone = format!(
            "$ORIGIN internal.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\nns A 127.0.0.1\n{records}"
        );
        let new = self.folder.path().join("new");
        std::fs::write(&new, zone).unwrap();
        std::fs::rename(new, self.folder.path().join("internal.zone")).unwrap();
    }
}

/// Debian keeps servers out of the path of ordinary users.
fn program() -> PathBuf {
    let usual = Path::new("/usr/sbin/nsd");
    if usual.exists() { usual.to_owned() } else { "nsd".into() }
}

fn signal(child: &Child, signal: &str) -> bool {
    let command = format!("kill -{signal} {}", child.id());
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
    signal(child, "TERM");
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}
