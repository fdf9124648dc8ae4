//! The service as a process, and a stand-in for those that it calls.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// No single step takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TRACE_ID: &str = "12345678901234567890123456789012";
pub(crate) const PARENT_ID: &str = "1234567890123456";

/// A `traceparent` with these flags.
pub(crate) fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID}-{PARENT_ID}-{flags}")
}

/// The running service; killed when dropped.
pub(crate) struct Forwarder {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Forwarder {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// What it says where it does not start with these settings, and its status.
    pub(crate) fn refused(settings: &[&str]) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Self::command(&directory, settings).spawn().unwrap();
        let (sender, lines) = channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        let mut log = Vec::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => log.push(line),
                // Nobody writes any more: it has ended.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    panic!("it started: {log:#?}");
                }
            }
        }
        (child.wait().unwrap().code(), log.join("\n"))
    }

    fn command(directory: &tempfile::TempDir, settings: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trace-forward"));
        command
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        let own = ["server.address=127.0.0.1:0", "admin.address=127.0.0.1:0", "log.format=json"];
        for setting in own.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        command
    }

    /// With these assignments of settings.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Self::command(&directory, settings).spawn().unwrap();
        let (sender, lines) = channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), _directory: directory };
        let mut log = Vec::new();
        process.address = loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else { panic!("it does not listen: {log:#?}") };
            if let Some(address) = listening(&line) {
                break address;
            }
            log.push(line);
        };
        // Nobody else reads what it writes.
        thread::spawn(move || lines.into_iter().for_each(drop));
        process
    }

    /// The URL to post to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/test", self.address)
    }

    /// Posts `body` with these header lines, exactly as they are; gives the status and the body of the answer.
    pub(crate) fn post(&self, lines: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("POST /test HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in lines {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or_else(|| panic!("no answer: {answer}")), body.to_owned())
    }

    /// What comes out of it when a request with these header lines goes in.
    pub(crate) fn forward(&self, standin: &StandIn, lines: &[(&str, &str)]) -> Sent {
        let body = json!([{ "url": standin.url("/"), "arguments": [] }]);
        let answer = self.post(lines, &body.to_string());
        assert_eq!(answer.0, 200, "{lines:?}: {}", answer.1);
        standin.next()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["attributes"];
    let is_main = line["body"] == "listening" && fields["listener"] == "main";
    is_main.then(|| fields["address"].as_str()?.parse().ok())?
}

/// Stands in for a service that is called: keeps what it was sent, and answers 200.
pub(crate) struct StandIn {
    address: SocketAddr,
    requests: Receiver<Sent>,
}

/// A request that the service sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) target: String,
    /// As they were written.
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// The fields of a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) flags: u8,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        // Ends with the process of the test.
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || serve(connection, &sender));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn next(&self) -> Sent {
        self.requests.recv_timeout(PATIENCE).expect("nothing was sent")
    }

    /// That nothing more was sent: what is, is sent before the service answers.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn serve(connection: TcpStream, to: &Sender<Sent>) {
    let mut answers = connection.try_clone().unwrap();
    let mut input = BufReader::new(connection);
    while let Some(request) = read(&mut input) {
        if to.send(request).is_err() {
            return;
        }
        answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
}

/// `None` where the connection ends.
fn read(input: &mut impl BufRead) -> Option<Sent> {
    let mut line = || {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let start = line()?;
    let mut lines = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        lines.push((name.to_owned(), value.to_owned()));
    }
    let mut sent = Sent { target: start.split(' ').nth(1)?.to_owned(), lines, body: Value::Null };
    let mut body = vec![0; sent.joined("content-length")?.parse().ok()?];
    input.read_exact(&mut body).ok()?;
    sent.body = serde_json::from_slice(&body).ok()?;
    Some(sent)
}

impl Sent {
    /// All lines of this name as one list.
    pub(crate) fn joined(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self.all(name);
        (!lines.is_empty()).then(|| lines.join(","))
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str()).collect()
    }

    /// What one valid `traceparent` of version 00 says.
    pub(crate) fn trace(&self) -> Trace {
        let lines = self.all("traceparent");
        let [value] = lines[..] else { panic!("not one traceparent: {lines:?}") };
        let fields: Vec<_> = value.split('-').collect();
        let is_hex = |field: &str, digits: usize| {
            field.len() == digits && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        match fields[..] {
            ["00", id, parent, flags]
                if is_hex(id, 32)
                    && is_hex(parent, 16)
                    && is_hex(flags, 2)
                    && !is_zero(id)
                    && !is_zero(parent) =>
            {
                let flags = u8::from_str_radix(flags, 16).unwrap();
                Trace { id: id.to_owned(), parent: parent.to_owned(), flags }
            }
            _ => panic!("no traceparent of version 00: {value}"),
        }
    }

    /// That the trace which arrived was continued.
    #[track_caller]
    pub(crate) fn assert_continued(&self) -> Trace {
        let trace = self.trace();
        assert_eq!(trace.id, TRACE_ID);
        assert_ne!(trace.parent, PARENT_ID, "the parent is the caller, not the caller's caller");
        trace
    }

    /// That a new trace was begun: nothing is left of what arrived.
    #[track_caller]
    pub(crate) fn assert_restarted(&self) -> Trace {
        let trace = self.trace();
        assert_ne!(trace.id, TRACE_ID);
        assert_ne!(trace.parent, PARENT_ID);
        assert_eq!(self.joined("tracestate"), None);
        trace
    }
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|digit| digit == b'0')
}
