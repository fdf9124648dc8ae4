//! Load from another process: wrk for HTTP/1.1, h2load for HTTP/2.

use std::{io, process::Command, time::Duration};

use crate::Contestant;

/// How a contestant is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For how long.
    pub seconds: u64,
    /// Over how many connections.
    pub connections: usize,
    /// The processor that the load runs on.
    pub core: usize,
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Answered requests.
    pub requests: u64,
    /// CPU that the contestant used.
    pub cpu: Duration,
    /// How long it took.
    pub wall: Duration,
}

impl Sample {
    /// Microseconds of CPU a request.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }

    /// Requests a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }
}

/// HTTP/1.1 keep-alive load by wrk.
///
/// # Errors
/// When wrk is not there, or any request failed.
pub fn wrk(contestant: &Contestant, path: &str, load: Load) -> io::Result<Sample> {
    let Load { seconds, connections, core } = load;
    let url = format!("http://{}{path}", contestant.address());
    let words = [
        "-c".to_owned(),
        core.to_string(),
        "wrk".into(),
        "-t1".into(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        url,
    ];
    measured(contestant, &words, |out| {
        if out.contains("Non-2xx") || out.contains("Socket errors") {
            return Err(io::Error::other(format!("requests failed:\n{out}")));
        }
        Ok(out.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok()))
    })
}

/// HTTP/2 load by h2load, eight streams a connection.
///
/// # Errors
/// When h2load is not there, or any request failed.
pub fn h2load(contestant: &Contestant, path: &str, load: Load) -> io::Result<Sample> {
    let Load { seconds, connections, core } = load;
    let url = format!("http://{}{path}", contestant.address());
    let words = [
        "-c".to_owned(),
        core.to_string(),
        "h2load".into(),
        "-t1".into(),
        format!("-c{connections}"),
        "-m8".into(),
        format!("-D{seconds}"),
        url,
    ];
    measured(contestant, &words, |out| {
        // `status codes: 123 2xx, 0 3xx, 0 4xx, 0 5xx`
        let codes = out.lines().find_map(|line| line.strip_prefix("status codes: ")).unwrap_or("");
        if !codes.contains("0 4xx, 0 5xx") {
            return Err(io::Error::other(format!("requests failed:\n{out}")));
        }
        Ok(codes.split(' ').next().and_then(|count| count.parse().ok()))
    })
}

fn measured(
    contestant: &Contestant,
    words: &[String],
    requests: impl FnOnce(&str) -> io::Result<Option<u64>>,
) -> io::Result<Sample> {
    let before = contestant.cpu_time()?;
    let start = tokio::time::Instant::now();
    let output = Command::new("taskset").args(words).output()?;
    let wall = start.elapsed();
    let cpu = contestant.cpu_time()? - before;
    let out = String::from_utf8_lossy(&output.stdout);
    let requests = requests(&out)?.ok_or_else(|| {
        io::Error::other(format!("no count of requests:\n{out}\n{}", String::from_utf8_lossy(&output.stderr)))
    })?;
    Ok(Sample { requests, cpu, wall })
}
