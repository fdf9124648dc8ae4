//! Databases of the tests: a file, and PostgreSQL as a process of its own, on a free port, in its own folder, gone at the end.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Starting takes a second on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whom root runs the server as, which refuses to be root's: `nobody`.
const NOBODY: u32 = 65_534;

/// Where databases come from.
pub(in crate::issuer) enum Databases {
    Sqlite(tempfile::TempDir),
    Postgres(Postgres),
}

impl Databases {
    pub(in crate::issuer) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(in crate::issuer) async fn postgres() -> Self {
        Self::Postgres(Postgres::start().await)
    }

    /// The URL of a new one.
    pub(in crate::issuer) fn new_url(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join(name).display()),
            Self::Postgres(server) => {
                server.sql("postgres", &format!("CREATE DATABASE {name}"));
                server.url(&name)
            }
        }
    }
}

/// A server.
pub(in crate::issuer) struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Postgres {
    pub(in crate::issuer) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        if is_root() {
            use std::os::unix::fs::{PermissionsExt as _, chown};
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(folder.path().join("data")).unwrap();
            chown(folder.path().join("data"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = command("initdb", folder.path())
            .args(["--username=mainstay", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"])
            .args(["--pgdata", "data"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { folder, port: 0, child: Mutex::default() };
        // A port is free until somebody else takes it: another start finds another.
        for _ in 0..5 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.try_start().await {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.log());
    }

    pub(in crate::issuer) fn url(&self, database: &str) -> String {
        format!("postgres://mainstay@{}/{database}", self.address())
    }

    /// Again, on the same port, with what it had.
    pub(in crate::issuer) async fn restart(&self) {
        let until = Instant::now() + PATIENCE;
        // Processes of the one that was killed may hold its memory for a moment.
        while !self.try_start().await {
            assert!(Instant::now() < until, "PostgreSQL does not start again: {}", self.log());
        }
    }

    async fn try_start(&self) -> bool {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = command("postgres", self.folder.path())
            .args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            // Nothing here has to survive the machine.
            .args(["-c", "fsync=off", "-c", "max_connections=50", "-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            if self.psql("postgres", "SELECT 1").is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// What a statement gives, by the program that comes with it.
    pub(in crate::issuer) fn sql(&self, database: &str, statement: &str) -> String {
        self.psql(database, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let output = command("psql", self.folder.path())
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--command", statement, &self.url(database)])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Speaks TLS from now on, with this certificate and key, to whoever asks for it.
    pub(in crate::issuer) fn encrypt(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.folder.path().join("data").join(name);
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::{PermissionsExt as _, chown};
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                if is_root() {
                    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    pub(in crate::issuer) fn port(&self) -> u16 {
        self.port
    }

    pub(in crate::issuer) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // An immediate shutdown takes the processes of its connections along; it looks like a crash to them.
            signal("QUIT", &[child.id()]);
            let _ = child.wait();
        }
    }

    /// All of its processes stand still.
    pub(in crate::issuer) fn freeze(&self) {
        signal("STOP", &[self.id()]);
        self.freeze_connections();
    }

    /// Whoever is connected hears nothing more; who connects anew is served.
    pub(in crate::issuer) fn freeze_connections(&self) {
        signal("STOP", &self.children());
    }

    pub(in crate::issuer) fn thaw(&self) {
        signal("CONT", &self.children());
        signal("CONT", &[self.id()]);
    }

    fn id(&self) -> u32 {
        self.child.lock().unwrap().as_ref().unwrap().id()
    }

    fn children(&self) -> Vec<u32> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of PostgreSQL in this folder, run by somebody who may.
fn command(program: &str, folder: &Path) -> Command {
    let path = find(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]);
        command.arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir(folder).env("HOME", folder).env_remove("PGOPTIONS");
    command
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

fn signal(name: &str, ids: &[u32]) {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    // One of them may have ended.
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {} 2>/dev/null", ids.join(" "))]).status();
}

/// Debian keeps each version in a folder of its own, which no `PATH` has.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.extend(std::env::split_paths(&path));
    let found = folders.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "this test needs {program}: `cargo xtask test` installs it, and so does\n  \
             apt-get update && apt-get install -y --no-install-recommends postgresql"
        )
    })
}
