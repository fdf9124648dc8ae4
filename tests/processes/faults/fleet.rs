//! Copies of the specimen that write into books what they are asked to do, and misbehave on command.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use mainstay::{
    Client,
    client::Config,
    discovery::{Endpoint, fixed::Fixed},
};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::harness::{PATIENCE, Process, exchange};

/// Copies of one service.
pub(crate) struct Fleet {
    pub(crate) copies: Vec<Copy>,
    settings: Settings,
    books: TempDir,
}

/// One copy, running or not, and where.
pub(crate) struct Copy {
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

/// How copies are started.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settings {
    /// The name of the service, if not `specimen`.
    pub(crate) name: Option<&'static str>,
    /// `KEY=VALUE`, as for `--set`.
    pub(crate) set: Vec<String>,
    /// The program that starts it, with arguments; nothing: this one.
    pub(crate) starter: Vec<String>,
}

/// A port of `address` that nobody has, and that nobody else gets here: it is below those that the system hands out, so
/// what runs there can be stopped and started again.
pub(crate) fn free(address: Ipv4Addr) -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let offset = from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap();
        if TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok() {
            return SocketAddr::from((address, port));
        }
    }
    panic!("no free port");
}

impl Fleet {
    /// So many copies, found where they are.
    pub(crate) async fn start(count: usize) -> Self {
        Self::with(count, Settings::default()).await
    }

    pub(crate) async fn with(count: usize, settings: Settings) -> Self {
        let addresses = (0..count).map(|_| free(Ipv4Addr::LOCALHOST)).collect();
        Self::at(addresses, settings).await
    }

    pub(crate) async fn at(addresses: Vec<SocketAddr>, settings: Settings) -> Self {
        let copies = addresses.into_iter().map(|address| Copy { address, process: None }).collect();
        let mut fleet = Self { copies, settings, books: tempfile::tempdir().unwrap() };
        fleet.start_all().await;
        fleet
    }

    /// A client that knows all of them.
    pub(crate) fn client(&self, config: Config) -> Client {
        client(config, self.copies.iter().map(|copy| copy.address.into()))
    }

    /// Starts all that do not run.
    pub(crate) async fn start_all(&mut self) {
        let (settings, books) = (&self.settings, self.books.path());
        join_all(self.copies.iter_mut().filter(|copy| copy.process.is_none()).map(|copy| async {
            copy.process = Some(start(copy.address, settings, books).await);
        }))
        .await;
    }

    /// Another one beside them.
    pub(crate) async fn add(&mut self, address: SocketAddr) {
        let process = Some(start(address, &self.settings, self.books.path()).await);
        self.copies.push(Copy { address, process });
    }

    pub(crate) async fn kill(&mut self, which: usize) {
        if let Some(mut process) = self.copies[which].process.take() {
            process.kill().await;
        }
    }

    /// Ends the oldest one as a service manager would.
    pub(crate) async fn retire(&mut self) {
        let Some(mut process) = self.copies.remove(0).process else { return };
        process.terminate().await;
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.log().text());
    }

    pub(crate) async fn signal(&self, which: usize, name: &str) {
        self.running(which).signal(name).await;
    }

    /// From now on: `well`, `slow MS`, `status CODE`, `never` or `half`.
    pub(crate) async fn behave(&self, which: usize, how: &str) {
        let length = how.len();
        let request = format!(
            "PUT /behave HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{how}"
        );
        let answer = exchange(self.running(which).main, &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until it is asked once more.
    pub(crate) async fn until_asked(&self, which: usize) {
        let address = self.copies[which].address;
        let seen = self.books().of(address);
        let wait = async {
            while self.books().of(address) == seen {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{address} is not asked any more"));
    }

    fn running(&self, which: usize) -> &Process {
        self.copies[which].process.as_ref().expect("it runs")
    }

    /// What they wrote down, those included that are gone.
    pub(crate) fn books(&self) -> Books {
        let mut books = Books::default();
        for entry in std::fs::read_dir(self.books.path()).unwrap() {
            let path = entry.unwrap().path();
            let address = path.file_name().unwrap().to_str().unwrap().to_owned();
            for line in std::fs::read_to_string(path).unwrap().lines() {
                *books.attempts.entry(line.to_owned()).or_default() += 1;
                *books.by_copy.entry(address.clone()).or_default() += 1;
            }
        }
        books
    }
}

/// A client that finds `specimen` at these places.
pub(crate) fn client(config: Config, endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::builder().config(config).build(Fixed::new().with("specimen", endpoints).unwrap())
}

async fn start(address: SocketAddr, settings: &Settings, books: &Path) -> Process {
    let at = format!("server.address={address}");
    let arguments: Vec<&str> = settings.set.iter().flat_map(|set| ["--set", set.as_str()]).collect();
    let arguments = [&["--set", at.as_str()], &arguments[..]].concat();
    let specimen = env!("CARGO_BIN_EXE_specimen");
    let mut words = settings.starter.iter().map(String::as_str).chain([specimen]);
    let mut command = Command::new(words.next().unwrap_or(specimen));
    command.args(words);
    let mut command = Process::command_of(command, &arguments);
    command.env("SPECIMEN_BOOK", book(books, address));
    if let Some(name) = settings.name {
        command.env("SPECIMEN_NAME", name);
    }
    Process::spawn(command).await
}

fn book(books: &Path, address: SocketAddr) -> PathBuf {
    books.join(address.to_string())
}

/// What copies were asked to do: each attempt that reached one of them.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By method and id.
    attempts: HashMap<String, u64>,
    by_copy: HashMap<String, u64>,
}

impl Books {
    /// How often a copy was asked for it.
    pub(crate) fn times(&self, request: &str) -> u64 {
        self.attempts.get(request).copied().unwrap_or_default()
    }

    /// With those of another fleet.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (request, times) in other.attempts {
            *self.attempts.entry(request).or_default() += times;
        }
        self.by_copy.extend(other.by_copy);
        self
    }

    pub(crate) fn total(&self) -> u64 {
        self.attempts.values().sum()
    }

    /// What reached the copy at `address`.
    pub(crate) fn of(&self, address: SocketAddr) -> u64 {
        self.by_copy.get(&address.to_string()).copied().unwrap_or_default()
    }
}

/// Another loopback address, with the port of `address`.
pub(crate) fn elsewhere(address: SocketAddr, last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), address.port())
}
