//! Servers as processes of their own: each on free ports, in its own folder, gone at the end.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::world::PATIENCE;

pub(crate) type Arguments = Box<dyn Fn(&Path, &[u16]) -> Vec<String> + Send + Sync>;

pub(crate) struct Server {
    program: (&'static str, &'static str),
    arguments: Arguments,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts a program of a package of Debian, with the arguments for its folder and its free ports.
    pub(crate) async fn start(program: (&'static str, &'static str), arguments: Arguments) -> Self {
        let (folder, child) = (tempfile::tempdir().unwrap(), Mutex::default());
        let mut server = Self { program, arguments, folder, ports: Vec::new(), child };
        // Ports are free until somebody else takes them: another start finds others.
        for _ in 0..5 {
            server.ports = free_ports(2);
            if server.try_start().await {
                return server;
            }
        }
        panic!("{} does not start", program.0);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// Where it keeps what it has.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Again, with the same ports and folder.
    pub(crate) async fn restart(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.try_start().await {
            assert!(Instant::now() < until, "{} does not start again", self.program.0);
        }
    }

    async fn try_start(&self) -> bool {
        let program = find(self.program);
        std::fs::create_dir_all(self.data()).unwrap();
        let child = Command::new(program)
            .args((self.arguments)(&self.data(), &self.ports))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let ended = self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some();
            if ended {
                return false;
            }
            if TcpStream::connect(self.address()).is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.lock().unwrap().as_ref().unwrap().id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Debian keeps servers where only root's `PATH` looks.
fn find((program, package): (&str, &str)) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "this test needs {program}: `cargo xtask test` installs it, and so does\n  \
             apt-get update && apt-get install -y --no-install-recommends {package}"
        )
    })
}
