//! The program answers, and goes when it is told to.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Command},
    thread,
    time::Duration,
};

/// Killed when the test fails.
struct Hello(Child);

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks `attempt` again for a minute: the machine may be busy.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(done) = attempt() {
            return done;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} took too long");
}

#[test]
fn it_says_hello_and_ends_at_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("hello.sock");
    let address = format!("server.address=unix:{}", socket.display());
    let mut hello = Command::new(env!("CARGO_BIN_EXE_hello"));
    let hello =
        hello.args(["--set", &address, "--set", "admin.address=127.0.0.1:0", "--set", "drain.delay=0s"]);
    let mut hello = Hello(hello.current_dir(directory.path()).spawn().unwrap());

    let mut connection = eventually("the start", || UnixStream::connect(&socket).ok());
    connection.write_all(b"GET / HTTP/1.1\r\nhost: hello\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello, world\n"), "{answer}");

    let terminated = Command::new("sh").args(["-c", &format!("kill -TERM {}", hello.0.id())]).status();
    assert!(terminated.unwrap().success());
    let status = eventually("the end", || hello.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}
