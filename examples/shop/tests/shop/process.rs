//! The shop as a process: started on free ports, ended by its id.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// The machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, killed when it goes out of scope.
pub(crate) struct Process {
    child: Child,
    output: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// The shop with these arguments, on free ports, without what the environment or a file may say.
    pub(crate) fn shop(arguments: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(["--set", "server.address=127.0.0.1:0", "--set", "admin.address=127.0.0.1:0"]);
        command.args(["--set", "drain.delay=0s"]);
        command.args(arguments);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAINSTAY_"))
        {
            command.env_remove(name);
        }
        // Where no file of the project is found.
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        Self::start(command)
    }

    /// A command line, as somebody would type it.
    pub(crate) fn line(line: &str) -> Self {
        Self::line_after(":", line)
    }

    /// A line of the shell, after another one that sets what it needs.
    pub(crate) fn line_after(before: &str, line: &str) -> Self {
        let mut command = Command::new("sh");
        // `exec`, so that the id is that of the program and not of the shell.
        command.args(["-c", &format!("{before}\nexec {line}")]);
        Self::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            // What a killed process leaves behind is left in the target folder.
            .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, output) = channel();
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let errors = sender.clone();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| errors.send(line))
        });
        Self { child, output, seen: Vec::new() }
    }

    /// The first line that `wanted` says yes to, from the beginning on.
    pub(crate) fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(|line| wanted(line)) {
            return found;
        }
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what} in the output:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Sends SIGTERM, as a service manager would.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("sh is there").success());
    }

    /// Sends SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end; what it printed.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut polls = 0;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            polls += 1;
            assert!(polls < 600, "still running:\n{}", self.seen.join("\n"));
            thread::sleep(Duration::from_millis(100));
        };
        // Ends when both ends of the pipes are closed.
        while let Ok(line) = self.output.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        (status, self.seen.join("\n"))
    }

    /// Waits for its end, and checks that it ends well.
    pub(crate) fn ends_well(self) {
        let (status, output) = self.wait();
        assert!(status.success(), "{status}\n{output}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `--set KEY=VALUE`, twice as short.
pub(crate) fn set(values: &[(&str, &str)]) -> Vec<String> {
    values.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect()
}

/// A Unix socket in `directory`, as an address.
pub(crate) fn socket(directory: &Path, name: &str) -> String {
    format!("unix:{}/{name}.sock", directory.display())
}
