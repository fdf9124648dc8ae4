//! Goodput under overload, with and without the adaptive limiter.
//!
//! ```text
//! cargo xtask bench overload -- [--rounds 3] [--seconds 6]
//! ```
//! The service works 40 ms for a request, on eight at a time, so that its capacity is 200 requests a second, and not its
//! processor but its places are what runs out; who finds none waits in line. The load is open: requests come at 1, 2, 5
//! and 10 times the capacity whether earlier ones were answered or not. A request is good when it was answered with 200
//! within 500 ms; then the caller goes away. What happens in the first three seconds doesn't count. The service has
//! processor 0, the load processor 1.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    error::Error,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use mainstay::Service;
use mainstay_benches::{
    Arguments, Contestant, Table, median,
    servers::{host, serve_host},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PLACES: usize = 8;
const WORK: Duration = Duration::from_millis(40);
const CAPACITY: u64 = 200;
const PATIENCE: Duration = Duration::from_millis(500);
const FACTORS: [u64; 4] = [1, 2, 5, 10];

const WARM_UP: Duration = Duration::from_secs(3);
const LIMITERS: [&str; 2] = ["off", "on"];

fn main() -> Result {
    let arguments = Arguments::read(&["--serve", "--rounds", "--seconds"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(limiter) = arguments.text("--serve") {
        return runtime.block_on(serve(limiter));
    }
    // All threads of this process, those of the runtime too.
    Command::new("taskset").args(["-acp", "1", &std::process::id().to_string()]).output()?;
    let (rounds, seconds) = (arguments.number("--rounds", 3)?, arguments.number("--seconds", 6)?);
    runtime.block_on(measure(rounds, seconds))
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn measure(rounds: usize, seconds: u64) -> Result {
    let mut good = vec![[const { Vec::new() }; LIMITERS.len()]; FACTORS.len()];
    for _ in 0..rounds {
        for (factor, good) in FACTORS.into_iter().zip(&mut good) {
            for (limiter, good) in LIMITERS.into_iter().zip(good) {
                let contestant = Contestant::start(Some(0), &[], &["--serve", limiter])?;
                offer(contestant.address(), CAPACITY * factor, WARM_UP).await;
                let count =
                    offer(contestant.address(), CAPACITY * factor, Duration::from_secs(seconds)).await;
                good.push(count as f64 / seconds as f64);
                contestant.finish()?;
            }
        }
    }
    let medians: Vec<[f64; 2]> = good.into_iter().map(|limiters| limiters.map(median)).collect();
    let peak = medians.iter().flatten().copied().fold(0.0, f64::max);
    let mut table =
        Table::new(&["offered, times capacity", "limiter off", "limiter on", "on, share of the peak"]);
    for (factor, [off, on]) in FACTORS.into_iter().zip(&medians) {
        let share = format!("{:.0} %", on * 100.0 / peak);
        table.row([factor.to_string(), format!("{off:.0}"), format!("{on:.0}"), share]);
    }
    println!("\nGood answers a second; median of {rounds} rounds of {seconds} s\n\n{table}");
    Ok(())
}

/// Offers `rate` requests a second for `length`; how many were good.
async fn offer(address: SocketAddr, rate: u64, length: Duration) -> u64 {
    let good = Arc::new(AtomicU64::new(0));
    let idle: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let mut requests = JoinSet::new();
    // In steps of 5 ms: a timer a request would be the load generator's own overload.
    let step = Duration::from_millis(5);
    let (mut ticks, begun) = (interval(step), Instant::now());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = 0;
    while begun.elapsed() < length {
        ticks.tick().await;
        let due = rate * u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX) / 1_000_000;
        for _ in sent..due {
            let (good, idle) = (good.clone(), idle.clone());
            requests.spawn(async move {
                if let Ok(Ok(true)) = timeout(PATIENCE, request(address, &idle)).await {
                    good.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        sent = due.max(sent);
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    sleep(Duration::from_millis(300)).await;
    good.load(Ordering::Relaxed)
}

/// One request over a kept connection, or a new one; whether it was answered with 200.
async fn request(address: SocketAddr, idle: &Mutex<Vec<TcpStream>>) -> std::io::Result<bool> {
    let kept = idle.lock().map_or(None, |mut idle| idle.pop());
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.write_all(b"GET /work HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
    let mut answer = [0; 2048];
    let mut length = 0;
    loop {
        let count = stream.read(answer.get_mut(length..).unwrap_or_default()).await?;
        length += count;
        let text = answer.get(..length).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or("");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let length = head
            .to_ascii_lowercase()
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next().and_then(|number| number.parse::<usize>().ok()));
        if length.is_some_and(|length| body.len() >= length) {
            let good = text.starts_with("HTTP/1.1 200");
            if let Ok(mut idle) = idle.lock() {
                idle.push(stream);
            }
            return Ok(good);
        }
        if count == 0 {
            return Ok(false);
        }
    }
}

async fn serve(limiter: &str) -> Result {
    let places = Arc::new(Semaphore::new(PLACES));
    let routes = Router::new().route("/work", get(work)).with_state(places);
    let host = host(Service::new("work").http(routes));
    // A limit that can't fall below what 10 times the capacity has in flight is none.
    let host = if limiter == "on" { host } else { host.set("shed.min=10000").set("shed.initial=10000") };
    serve_host(host).await
}

async fn work(State(places): State<Arc<Semaphore>>) -> &'static str {
    let _place = places.acquire().await;
    sleep(WORK).await;
    "done"
}
