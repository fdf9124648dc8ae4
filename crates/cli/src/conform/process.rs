//! The process under test: started, signalled, waited for, and always ended.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::settings::Assignment;

/// The first so many bytes of what the service writes to stderr are kept.
const KEPT: usize = 256 << 10;

/// A process that the suite started. Dropping it kills its whole process group.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    pid: Option<Pid>,
    stderr: Arc<Mutex<Vec<u8>>>,
    reading: JoinSet<()>,
}

/// The process that the checks signal.
#[derive(Debug)]
pub(crate) enum Process {
    Started(Box<Started>),
    /// Somebody else's: it can be signalled and seen to be gone, its exit status can't be read.
    Foreign(Pid),
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    Status(ExitStatus),
    /// Gone, with a status that only its parent knows.
    Gone,
}

impl Started {
    /// Starts `command` in a process group of its own, so that a Ctrl-C meant for the suite does not drain it.
    pub(crate) fn start(command: &[String], environment: &[Assignment]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("--command: expected a program")?;
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|set| (&set.name, &set.value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("--command: could not start `{program}`: {error}"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut reading = JoinSet::new();
        if let Some(pipe) = child.stderr.take() {
            reading.spawn(keep(pipe, Arc::clone(&stderr)));
        }
        Ok(Self { child, pid, stderr, reading })
    }

    /// What it wrote to stderr; once it has ended, all of it.
    pub(crate) async fn stderr(&mut self) -> String {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            // A grandchild may hold the pipe open: do not wait for its end for ever.
            let _ = timeout(Duration::from_secs(1), self.reading.join_next()).await;
        }
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Process {
    pub(crate) fn foreign(pid: i32) -> Result<Self, String> {
        let pid = Pid::from_raw(pid).ok_or("--pid: expected the number of a process")?;
        test_kill_process(pid)
            .map_err(|error| format!("--pid: process {pid} can't be signalled: {error}"))?;
        Ok(Self::Foreign(pid))
    }

    /// Whether it has ended; never waits.
    pub(crate) fn exited(&mut self) -> Option<Exit> {
        match self {
            Self::Started(started) => started.child.try_wait().ok().flatten().map(Exit::Status),
            Self::Foreign(pid) => is_gone(*pid).then_some(Exit::Gone),
        }
    }

    /// Signals the process alone, as an orchestrator does.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        if let Some(exit) = self.exited() {
            return Err(format!("the process had already ended: {exit}"));
        }
        let pid = match self {
            Self::Started(started) => started.pid,
            Self::Foreign(pid) => Some(*pid),
        };
        let pid = pid.ok_or("the process has no id")?;
        kill_process(pid, signal).map_err(|error| format!("signal to process {pid}: {error}"))
    }

    /// Waits for its end, for at most `within`.
    pub(crate) async fn ends(&mut self, within: Duration) -> Option<Exit> {
        let waiting = async {
            loop {
                match self {
                    Self::Started(started) => {
                        if let Ok(status) = started.child.wait().await {
                            return Exit::Status(status);
                        }
                    }
                    Self::Foreign(pid) => {
                        if is_gone(*pid) {
                            return Exit::Gone;
                        }
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(within, waiting).await.ok()
    }

    /// Kills a process that the suite started, and waits until it is gone; leaves somebody else's alone.
    pub(crate) async fn kill(&mut self) {
        if let Self::Started(started) = self {
            started.kill_group();
            let _ = timeout(Duration::from_secs(5), started.child.wait()).await;
        }
    }
}

impl Started {
    fn kill_group(&mut self) {
        // Once waited for, the number may belong to somebody else.
        if let (Some(pid), Ok(None)) = (self.pid, self.child.try_wait()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill_group();
    }
}

impl Exit {
    pub(crate) fn is_success(self) -> bool {
        match self {
            Self::Status(status) => status.success(),
            Self::Gone => true,
        }
    }

    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Status(status) => status.code(),
            Self::Gone => None,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Gone => f.write_str("gone (its status is known to its parent only)"),
        }
    }
}

/// A process that nobody has waited for yet can still be signalled; on Linux its state tells (proc(5)).
fn is_gone(pid: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()));
    test_kill_process(pid).is_err() || matches!(state, Some('Z' | 'X'))
}

async fn keep<R: AsyncRead + Unpin>(mut pipe: R, kept: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 4096];
    // Read to the end even when enough is kept: a full pipe would block the service.
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..count.min(room)).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Process, Signal, Started};
    use crate::conform::settings::Assignment;

    const GENEROUS: Duration = Duration::from_secs(30);

    fn shell(script: &str, environment: &[Assignment]) -> Process {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        Process::Started(Box::new(Started::start(&command, environment).expect("sh starts")))
    }

    #[tokio::test]
    async fn status_and_stderr_of_a_started_process_are_seen() {
        let set = "CONFORM_TEST=nonsense".parse().expect("is an assignment");
        let mut process = shell("echo \"$CONFORM_TEST is wrong\" >&2; exit 78", &[set]);
        let exit = process.ends(GENEROUS).await.expect("it ends");
        assert_eq!(exit.code(), Some(78));
        let Process::Started(started) = &mut process else { unreachable!("it was started") };
        assert_eq!(started.stderr().await, "nonsense is wrong\n");
        assert!(process.signal(Signal::TERM).expect_err("it is gone").contains("already ended"));
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_at_the_end() {
        let mut process = shell("trap '' TERM; echo ready >&2; while :; do sleep 1; done", &[]);
        loop {
            let Process::Started(started) = &mut process else { unreachable!("it was started") };
            if started.stderr().await.contains("ready") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process.signal(Signal::TERM).expect("it runs");
        assert!(process.ends(Duration::from_millis(300)).await.is_none(), "it ignores SIGTERM");
        process.kill().await;
        assert!(!process.exited().expect("it is gone").is_success());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Started::start(&["/no/such/program".to_owned()], &[]).expect_err("is not there");
        assert!(error.contains("--command") && error.contains("/no/such/program"), "{error}");
    }
}
