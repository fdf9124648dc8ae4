//! User instructions and allocations a request, counted by valgrind: the same on a busy machine.
//!
//! ```text
//! cargo xtask bench instructions -- [--only axum,mainstay-server]
//! ```
//! Each contestant runs twice under callgrind and twice under memcheck, with few requests and with many; the
//! difference is what a request costs, start-up and connections left out. Needs `valgrind`.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use mainstay_benches::{
    Arguments, Contestant, Table,
    servers::{NAMES, serve},
};

const FEW: u64 = 500;
const MANY: u64 = 2_500;
/// What a host does once, in the first second after its start, is over then: it looks at its configuration again, which
/// would else be in the long run and not in the short one.
const SETTLED: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(&["--serve", "--only"])?;
    if let Some(name) = arguments.text("--serve") {
        return serve(name);
    }
    let mut table = Table::new(&["server", "user instructions a request", "allocations a request"]);
    for name in arguments.only(&NAMES) {
        let instructions =
            per_request(name, &["--tool=callgrind", "--callgrind-out-file=/dev/null"], collected)?;
        let allocations =
            per_request(name, &["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"], heap)?;
        table.row([name.to_owned(), format!("{instructions:.0}"), format!("{allocations:.1}")]);
    }
    println!(
        "\nGET of a small JSON, HTTP/1.1 keep-alive, one connection, one request after the other\n\n{table}"
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_request(name: &str, tool: &[&str], read: fn(&str) -> Option<u64>) -> Result<f64, Box<dyn Error>> {
    let [few, many] = [FEW, MANY].map(|requests| run(name, tool, requests, read));
    Ok((many? - few?) as f64 / (MANY - FEW) as f64)
}

fn run(
    name: &str,
    tool: &[&str],
    requests: u64,
    read: fn(&str) -> Option<u64>,
) -> Result<u64, Box<dyn Error>> {
    let log = std::env::temp_dir().join(format!("mainstay-instructions-{}-{name}", std::process::id()));
    let log_file = format!("--log-file={}", log.display());
    let wrapper: Vec<&str> = ["valgrind", &log_file].into_iter().chain(tool.iter().copied()).collect();
    let contestant = Contestant::start(None, &wrapper, &["--serve", name])?;
    thread::sleep(SETTLED);
    load(contestant.address(), requests)?;
    contestant.finish()?;
    let text = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    read(&text).ok_or_else(|| format!("valgrind said nothing of use:\n{text}").into())
}

/// `==1== Collected : 123456`
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// `==1==   total heap usage: 1,234 allocs, 1,200 frees, 99 bytes allocated`
fn heap(log: &str) -> Option<u64> {
    let (_, rest) = log.split_once("total heap usage: ")?;
    rest.split(' ').next()?.replace(',', "").parse().ok()
}

/// One request after the other on one connection.
fn load(address: SocketAddr, requests: u64) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    for _ in 0..requests {
        stream.write_all(format!("GET /item HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(format!("unexpected answer: {line:?}").into());
        }
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
    }
    Ok(())
}
