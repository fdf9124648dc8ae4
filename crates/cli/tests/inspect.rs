//! `mainstay inspect` and listeners that are no admin listeners: each is told apart, in bounded time.

#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Output},
    thread,
};

/// Answers each connection with `answer`, and hangs up; or with nothing, and does not. Ends with the test's process.
fn listener(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            if answer.is_empty() {
                held.push(stream);
                continue;
            }
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

fn inspect(arguments: &[&str]) -> (Option<i32>, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("inspect").args(arguments).output();
    let Output { status, stdout, stderr } = command.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_is_no_admin_listener_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let not_found = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let other =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"status\":\"x\"}";
    for (address, told) in [
        (closed, "could not connect"),
        (listener(b""), "not read within"),
        (listener(b"SSH-2.0-x\r\n"), "is no admin listener: not HTTP"),
        (listener(not_found), "is no admin listener: /readyz answered 404"),
        (listener(other), "is no admin listener: /readyz answered 200"),
        (listener(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"), "more than is read"),
    ] {
        let (code, out, err) = inspect(&[&address.to_string(), "--timeout", "3s"]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(told) && err.contains(&address.to_string()), "{err}");
    }
}

#[test]
fn what_can_be_no_listener_or_page_is_refused_before_anything_is_sent() {
    for (arguments, told) in [
        (&["https://127.0.0.1:9090"][..], "TLS"),
        (&["http://127.0.0.1:9090/status"], "has a path"),
        (&["127.0.0.1:9090", "--timeout", "soon"], "not a duration"),
        (&["127.0.0.1:1", "status?x y"], "expected `health`"),
    ] {
        let (code, _, err) = inspect(arguments);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(told), "{err}");
    }
}
