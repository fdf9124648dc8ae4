//! What a hello service costs to build, to start and to keep: `examples/hello` against a bare axum hello.
//!
//! ```text
//! cargo xtask bench footprint -- [--builds 3] [--starts 21]
//! ```
//! Both are programs of their own, as a user has them: in a temporary folder, with `cargo new`'s profiles and the same
//! versions. The crates are downloaded before the clock starts.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use mainstay_benches::{Arguments, Table, median, resident_kib};
use tokio::time::Instant;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where both answer 200.
const PATH: &str = "/";
const PATIENCE: Duration = Duration::from_secs(30);

struct Program {
    name: &'static str,
    folder: PathBuf,
    crates: usize,
    builds: Vec<f64>,
    starts: Vec<f64>,
    resident: Vec<f64>,
}

fn main() -> Result {
    let arguments = Arguments::read(&["--builds", "--starts"])?;
    let (builds, starts) = (arguments.number("--builds", 3)?, arguments.number("--starts", 21)?);
    let folder = std::env::temp_dir().join(format!("mainstay-footprint-{}", std::process::id()));
    let mut programs = [bare_axum(&folder)?, mainstay(&folder)?];
    for _ in 0..builds {
        for program in &mut programs {
            program.build()?;
        }
    }
    for _ in 0..starts {
        for program in &mut programs {
            program.start()?;
        }
    }
    let [bare, ours] = &programs;
    let mut table = Table::new(&["", bare.name, ours.name]);
    let mut row = |title: &str, value: &dyn Fn(&Program) -> Result<String>| {
        table.row([title.to_owned(), value(bare)?, value(ours)?]);
        Ok::<_, Box<dyn Error>>(())
    };
    row("clean release build, seconds", &|program| {
        Ok(format!("{:.0}", median(program.builds.iter().copied())))
    })?;
    row("crates compiled", &|program| Ok(program.crates.to_string()))?;
    row("packages in the lock file", &|program| Ok(program.locked()?.to_string()))?;
    row("size of the program, KiB", &|program| {
        Ok((fs::metadata(program.binary())?.len() / 1024).to_string())
    })?;
    row("start to first answer, ms", &|program| {
        Ok(format!("{:.1}", median(program.starts.iter().copied())))
    })?;
    row("idle memory (VmRSS), KiB", &|program| {
        Ok(format!("{:.0}", median(program.resident.iter().copied())))
    })?;
    println!("\nMedian of {builds} builds and {starts} starts\n\n{table}");
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn bare_axum(folder: &Path) -> Result<Program> {
    let source = r#"
use axum::{Router, routing::get};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "0.0.0.0:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().route("/", get(async || "hello, world\n"))).await
}
"#;
    Program::new("bare axum", folder.join("axum-hello"), "axum = \"0.8\"", source)
}

fn mainstay(folder: &Path) -> Result<Program> {
    let source = fs::read_to_string(Path::new(ROOT).join("examples/hello/src/main.rs"))?;
    let root = fs::canonicalize(ROOT)?;
    let dependency = format!("mainstay = {{ path = {:?} }}", root.display());
    Program::new("`examples/hello`", folder.join("mainstay-hello"), &dependency, &source)
}

impl Program {
    /// Writes the program and downloads what it needs, at the versions that this repository is locked to.
    fn new(name: &'static str, folder: PathBuf, dependency: &str, source: &str) -> Result<Self> {
        fs::create_dir_all(folder.join("src"))?;
        fs::write(
            folder.join("Cargo.toml"),
            format!(
                "[package]\nname = \"hello\"\nedition = \"2024\"\n\n[dependencies]\n{dependency}\n\
                 tokio = {{ version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\"] }}\n\n[workspace]\n"
            ),
        )?;
        fs::write(folder.join("src/main.rs"), source)?;
        fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let program = Self { name, folder, crates: 0, builds: vec![], starts: vec![], resident: vec![] };
        // Also drops from the lock file what this program doesn't need.
        program.cargo(&["metadata", "--format-version=1"])?;
        program.cargo(&["fetch"])?;
        Ok(program)
    }

    /// Runs cargo here; what it wrote to standard error.
    fn cargo(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("cargo");
        // Settings of the cargo that started this program are not a user's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_"))
        {
            if name != "CARGO_HOME" {
                command.env_remove(name);
            }
        }
        let output = command.args(arguments).current_dir(&self.folder).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(errors) } else { Err(errors.into()) }
    }

    fn build(&mut self) -> Result {
        let target = self.folder.join("target");
        if target.exists() {
            fs::remove_dir_all(target)?;
        }
        let begun = Instant::now();
        let output = self.cargo(&["build", "--release", "--offline"])?;
        self.builds.push(begun.elapsed().as_secs_f64());
        self.crates = output.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
        Ok(())
    }

    fn locked(&self) -> Result<usize> {
        let lock = fs::read_to_string(self.folder.join("Cargo.lock"))?;
        Ok(lock.lines().filter(|line| *line == "[[package]]").count())
    }

    fn binary(&self) -> PathBuf {
        self.folder.join("target/release/hello")
    }

    /// Starts the program, waits for its first answer, and looks at its memory when it has come to rest.
    fn start(&mut self) -> Result {
        // Free a moment ago: nobody else is given it so soon.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let begun = Instant::now();
        let child = Command::new(self.binary())
            .current_dir(&self.folder)
            .env("ADDRESS", address.to_string())
            .env("MAINSTAY_SERVER__ADDRESS", address.to_string())
            .env("MAINSTAY_ADMIN__ADDRESS", "127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let child = Ended(child);
        while !answers(address) {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} does not answer at {address}{PATH}", self.name).into());
            }
            thread::sleep(Duration::from_micros(100));
        }
        self.starts.push(begun.elapsed().as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(500));
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.resident.push(resident_kib(child.0.id())? as f64);
        Ok(())
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// A process that is ended when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
