//! A process that is measured.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// A running contestant; ended when dropped.
#[derive(Debug)]
pub struct Contestant {
    child: Child,
    address: SocketAddr,
}

impl Contestant {
    /// Starts this program again with `arguments`, on processor `core` where one is given, under `wrapper` (valgrind,
    /// say) where that is not empty.
    ///
    /// # Errors
    /// When it can't be started, or says no address.
    pub fn start(core: Option<usize>, wrapper: &[&str], arguments: &[&str]) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut words: Vec<String> = Vec::new();
        if let Some(core) = core {
            words.extend(["taskset".into(), "-c".into(), core.to_string()]);
        }
        words.extend(wrapper.iter().map(ToString::to_string));
        words.push(program.to_string_lossy().into_owned());
        words.extend(arguments.iter().map(ToString::to_string));
        let mut child =
            Command::new(&words[0]).args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| io::Error::other(format!("no address: {line:?}")))?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time that it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time(&self.id().to_string())
    }

    /// Sends it SIGTERM.
    ///
    /// # Errors
    /// When `kill` can't be run.
    pub fn terminate(&self) -> io::Result<()> {
        Command::new("kill").args(["-TERM", &self.id().to_string()]).status().map(drop)
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it as it wants to be ended, and waits for it.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn finish(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // Already ended after `finish`: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that the process `id` (or `self`) has used so far, all threads, in the kernel's resolution of
/// 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(id: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name, in parentheses, may hold spaces: fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// The memory of the process `id` that is in use now, in KiB (`VmRSS`).
///
/// # Errors
/// When there is no such process.
pub fn resident_kib(id: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("");
    Ok(line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// In a contestant: says where it listens.
///
/// # Errors
/// When nobody reads it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

/// In a contestant: waits until standard input ends.
pub async fn until_told() {
    let read = tokio::task::spawn_blocking(|| {
        // Whatever comes, and an error too, means the same.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    });
    let _ = read.await;
}
