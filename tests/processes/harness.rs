//! Starts a service as a process on free ports, and ends it by its id.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

/// No single step of a test takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
    pub(crate) main: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What a process wrote, line by line.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

impl Log {
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    async fn read(self: Arc<Self>, from: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            self.lines.lock().unwrap().push(line);
            self.changed.send_replace(());
        }
    }

    /// The first line for which `found` gives something.
    pub(crate) async fn wait_for<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let search = async {
            loop {
                if let Some(value) = self.lines.lock().unwrap().iter().find_map(|line| found(line)) {
                    return value;
                }
                changed.changed().await.unwrap();
            }
        };
        match timeout(PATIENCE, search).await {
            Ok(value) => value,
            Err(_) => panic!("no line about {what} in the log:\n{}", self.text()),
        }
    }
}

/// The folder with the binaries of the workspace.
pub(crate) fn binary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_specimen")).parent().unwrap();
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not there: run the tests of the whole workspace, `cargo xtask test`",
        path.display()
    );
    path
}

impl Process {
    /// The specimen, with more arguments.
    pub(crate) async fn specimen(arguments: &[&str]) -> Self {
        Self::start(Path::new(env!("CARGO_BIN_EXE_specimen")), arguments).await
    }

    /// `program` on free ports of loopback; returns when it is ready.
    pub(crate) async fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Self::command(program, arguments)).await
    }

    /// What [`Process::command`] made; returns when it is ready.
    pub(crate) async fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        tokio::spawn(log.clone().read(child.stdout.take().unwrap()));
        tokio::spawn(log.clone().read(child.stderr.take().unwrap()));
        let main = log.wait_for("the main listener", |line| listening(line, "main")).await;
        let admin = log.wait_for("the admin listener", |line| listening(line, "admin")).await;
        let process = Self { child, log, main, admin };
        process.until_ready().await;
        process
    }

    /// How `program` is started.
    pub(crate) fn command(program: &Path, arguments: &[&str]) -> Command {
        Self::command_of(Command::new(program), arguments)
    }

    /// The same for a program that another one starts.
    pub(crate) fn command_of(mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(["--set", "log.format=json", "--set", "admin.address=127.0.0.1:0"])
            .args(["--set", "server.address=127.0.0.1:0", "--set", "drain.delay=0s"])
            .args(arguments)
            .env_remove("RUST_LOG")
            // What a killed process leaves behind is left in the target folder.
            .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn until_ready(&self) {
        let wait = async {
            while get(self.admin, "/readyz").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Asks it to stop.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    pub(crate) async fn signal(&self, name: &str) {
        let kill =
            Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().await.unwrap();
        assert!(kill.success());
    }

    /// Ends it without a word.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("the process does not end:\n{}", self.log.text()),
        }
    }

    /// Opens a connection to the main listener.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.main).await.unwrap()
    }
}

/// The address in a log line that says that a listener is open.
fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["attributes"];
    (line["body"] == "listening" && fields["listener"] == listener)
        .then(|| fields["address"].as_str()?.parse().ok())?
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
}

/// Sends `request`, reads until the peer closes.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    let bytes = timeout(PATIENCE, exchange).await.expect("an answer in time").unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A token of the shop whose door this is, as it prints how to get one.
pub(crate) async fn shop_token(door: SocketAddr) -> String {
    let form = "grant_type=client_credentials";
    let request = format!(
        "POST /identity/token HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\
         Authorization: Basic c2hvcHBlcjpzaG9wcGVyLWluLWRldmVsb3BtZW50\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = exchange(door, &request).await;
    let issued: serde_json::Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    issued["access_token"].as_str().unwrap_or_else(|| panic!("{issued}")).to_owned()
}

/// The samples of a scrape, with their labels.
pub(crate) async fn metrics(process: &Process) -> BTreeMap<String, f64> {
    let text = get(process.admin, "/metrics").await.body;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}
