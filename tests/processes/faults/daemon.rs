//! A server of somebody else as a process: on a free port, in a folder of its own, gone at the end.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::fleet::free;
use crate::harness::PATIENCE;

pub(crate) struct Daemon {
    program: &'static str,
    /// Of the folder and two addresses, the first of which it answers at.
    arguments: fn(&Path, [SocketAddr; 2]) -> Vec<String>,
    folder: TempDir,
    addresses: [SocketAddr; 2],
    child: Option<Child>,
}

impl Daemon {
    pub(crate) fn new(program: &'static str, arguments: fn(&Path, [SocketAddr; 2]) -> Vec<String>) -> Self {
        let addresses = [(); 2].map(|()| free(Ipv4Addr::LOCALHOST));
        Self { program, arguments, folder: tempfile::tempdir().unwrap(), addresses, child: None }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it where it was; returns when it takes connections.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(find(self.program));
        command.args((self.arguments)(self.folder.path(), self.addresses)).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = self.child.insert(command.spawn().unwrap());
        let listens = async {
            while TcpStream::connect(self.addresses[0]).await.is_err() {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{} ended: {ended:?}", self.program);
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listens).await.unwrap_or_else(|_| panic!("{} does not start", self.program));
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Sends `signal`, and waits until it is gone.
    pub(crate) async fn stop(&mut self, signal: &str) {
        self.signal(signal).await;
        let mut child = self.child.take().expect("it runs");
        timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    }

    /// Takes away all that it kept; it is stopped.
    pub(crate) fn wipe(&self) {
        for entry in std::fs::read_dir(self.folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
    }
}

/// Debian keeps servers where only root's `PATH` looks.
pub(crate) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this test needs {program}: `cargo xtask test` installs it"))
}
