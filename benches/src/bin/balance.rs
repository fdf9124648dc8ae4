//! Choosing an endpoint: what a choice costs, what a storm of updates does to it, and what callers feel of one bad
//! endpoint among ten.
//!
//! ```text
//! cargo xtask bench balance -- [--part choice|allocations|storm|tail] [--rounds 5] [--seconds 8]
//! ```
//! `choice`: nanoseconds of a choice alone, and of one with the request's accounting (in flight, latency, health), on
//! threads that share one picker. `allocations`: counted by valgrind's memcheck. `storm`: choices while a registry of
//! 10,000 endpoints publishes as fast as it can. `tail`: ten gRPC servers in this process, two milliseconds a request,
//! one of them slow, failing or silent; an open load over loopback TCP, each request with a second to go.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    error::Error,
    net::SocketAddr,
    process::Command,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay::{
    Client,
    client::{
        Config,
        balance::{self, Key, Origin, Picker, Policy},
    },
    config::Duration as Span,
    discovery::{Endpoint, Protocol, fixed::Fixed, watch::Publisher},
};
use mainstay_benches::{
    Arguments, Table,
    grpc::{
        Item, Wanted,
        items_client::ItemsClient,
        items_server::{Items, ItemsServer},
    },
    median,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const COUNTS: [usize; 3] = [2, 100, 10_000];
const THREADS: [usize; 2] = [1, 2];
const POLICIES: [(&str, Policy); 4] = [
    ("peak-ewma", Policy::PeakEwma),
    ("least-request", Policy::LeastRequest),
    ("round-robin", Policy::RoundRobin),
    ("hash", Policy::Hash),
];

fn main() -> Result {
    let arguments = Arguments::read(&["--part", "--rounds", "--seconds", "--choices"])
        .map_err(|error| error.to_string())?;
    if let Some(choices) = arguments.text("--choices") {
        return choose(choices.parse()?);
    }
    let rounds = arguments.number("--rounds", 5).map_err(|error| error.to_string())?;
    let seconds = Duration::from_secs(arguments.number("--seconds", 8).map_err(|error| error.to_string())?);
    let part = arguments.text("--part");
    let wanted = |name| part.is_none_or(|part| part == name);
    if wanted("choice") {
        choice(rounds)?;
    }
    if wanted("allocations") {
        allocations()?;
    }
    if wanted("storm") {
        storm(seconds)?;
    }
    if wanted("tail") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(tail(seconds))?;
    }
    Ok(())
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    let address = |index: usize| format!("10.{}.{}.{}", index >> 16, (index >> 8) & 255, index & 255);
    (0..count).map(|index| Endpoint::tcp(address(index), 80)).collect()
}

/// With every endpoint measured, so that none is new.
fn picker(count: usize, policy: Policy) -> (Publisher, Picker<()>) {
    let publisher = Publisher::new();
    publisher.publish(endpoints(count));
    let mut config = balance::Config::default();
    config.policy = policy;
    let picker =
        Picker::new(publisher.watch(), Origin::default(), config, balance::ejection::Config::default());
    for turn in 0..count * 20 {
        request(&picker, turn as u64);
    }
    (publisher, picker)
}

fn request(picker: &Picker<()>, turn: u64) {
    let Some(member) = picker.choose(&[], Some(Key::of(turn.to_be_bytes()))) else { return };
    member.start(Instant::now() + Duration::from_secs(1)).ended(Some(true), false);
}

fn choice(rounds: usize) -> Result {
    let mut table = Table::new(&["policy", "endpoints", "threads", "ns a choice", "ns with its accounting"]);
    for (name, policy) in POLICIES {
        for count in COUNTS {
            let (_publisher, picker) = picker(count, policy);
            for threads in THREADS {
                let alone = nanos(rounds, threads, |turn| {
                    std::hint::black_box(picker.choose(&[], Some(Key::of(turn.to_be_bytes()))));
                });
                let whole = nanos(rounds, threads, |turn| request(&picker, turn));
                table.row([
                    name.to_owned(),
                    count.to_string(),
                    threads.to_string(),
                    format!("{alone:.0}"),
                    format!("{whole:.0}"),
                ]);
            }
        }
    }
    println!("\nMedian of {rounds} rounds; wall time of a thread for one choice\n\n{table}");
    Ok(())
}

/// The wall time that each of `threads` needs for one turn, while all of them run.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn nanos(rounds: usize, threads: usize, turn: impl Fn(u64) + Sync) -> f64 {
    const TURNS: u64 = 1_000_000;
    let round = || {
        let together = Barrier::new(threads);
        let mut took = Vec::new();
        std::thread::scope(|scope| {
            let run = || {
                together.wait();
                let since = Instant::now();
                (0..TURNS).for_each(&turn);
                since.elapsed()
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            took.extend(running.into_iter().filter_map(|thread| thread.join().ok()));
        });
        took.iter().map(Duration::as_nanos).sum::<u128>() as f64 / (TURNS * threads as u64) as f64
    };
    median((0..rounds).map(|_| round()))
}

/// What is counted by [`allocations`].
fn choose(choices: u64) -> Result {
    for (_, policy) in POLICIES {
        let (_publisher, picker) = picker(100, policy);
        (0..choices).for_each(|turn| request(&picker, turn));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn allocations() -> Result {
    const MORE: u64 = 20_000;
    let count = |choices: u64| -> Result<u64> {
        let program = std::env::current_exe()?;
        let options = ["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"];
        let output = Command::new("valgrind")
            .args(options)
            .arg(program)
            .args(["--choices", &choices.to_string()])
            .output()?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = log.split_once("total heap usage: ").and_then(|(_, rest)| rest.split(' ').next());
        let count = count.ok_or_else(|| format!("valgrind said nothing of use:\n{log}"))?;
        Ok(count.replace(',', "").parse()?)
    };
    let more = count(MORE)? as f64 - count(0)? as f64;
    let each = more / (MORE * POLICIES.len() as u64) as f64;
    println!("\n{each:.3} allocations a choice with its accounting, over all policies\n");
    Ok(())
}

/// Choices on one thread, while another publishes 10,000 endpoints anew as fast as it can, each time without some.
fn storm(length: Duration) -> Result {
    let mut table = Table::new(&[
        "updates",
        "updates a second",
        "choices a second",
        "choice, p50 ns",
        "p99.9 ns",
        "worst µs",
        "seen after, worst ms",
    ]);
    for (title, storms) in [("none", false), ("as fast as they come", true)] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let (publisher, picker) = picker(10_000, Policy::PeakEwma);
        let (stop, updates) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut took, mut late) = (Vec::new(), Duration::ZERO);
        std::thread::scope(|scope| {
            let storm = storms.then(|| {
                scope.spawn(|| {
                    let all = endpoints(10_000);
                    while !stop.load(Ordering::Relaxed) {
                        let update = updates.fetch_add(1, Ordering::Relaxed) as usize;
                        publisher.publish(all[update % 100..].to_vec());
                    }
                })
            });
            let _entered = runtime.enter();
            let end = Instant::now() + length;
            let mut now = Instant::now();
            let mut turn = 0;
            while now < end {
                request(&picker, turn);
                turn += 1;
                let then = Instant::now();
                took.push(u32::try_from((then - now).as_nanos()).unwrap_or(u32::MAX));
                now = then;
            }
            stop.store(true, Ordering::Relaxed);
            // One more change, and how long it takes until a choice knows of it.
            if let Some(storm) = storm {
                // Two must not publish at once. What it panics of is told by the scope.
                let _ = storm.join();
                publisher.publish(endpoints(1));
                let since = Instant::now();
                while picker
                    .choose(&[], None)
                    .is_some_and(|member| member.endpoint().address().to_string() != "10.0.0.0:80")
                {
                    std::thread::yield_now();
                }
                late = since.elapsed();
            }
        });
        took.sort_unstable();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
        let rate = |count: u64| format!("{:.0}", count as f64 / length.as_secs_f64());
        table.row([
            title.to_owned(),
            rate(updates.load(Ordering::Relaxed)),
            rate(took.len() as u64),
            at(0.5).to_string(),
            at(0.999).to_string(),
            format!("{:.0}", f64::from(took.last().copied().unwrap_or_default()) / 1e3),
            if storms { format!("{:.1}", late.as_secs_f64() * 1e3) } else { "–".to_owned() },
        ]);
    }
    println!(
        "\n10,000 endpoints, one thread of choices with their accounting for {} s\n\n{table}",
        length.as_secs()
    );
    Ok(())
}

const SERVERS: usize = 10;
const WORK: Duration = Duration::from_millis(2);
const SLOW: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(1);
const RATE: u64 = 400;

/// What is the matter with the first of the servers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Slow,
    Unavailable,
    Silent,
    /// Its port is closed.
    Gone,
}

const FAULTS: [(&str, Fault); 5] = [
    ("none", Fault::None),
    ("100 times slower", Fault::Slow),
    ("answers UNAVAILABLE at once", Fault::Unavailable),
    ("accepts, never answers", Fault::Silent),
    ("its port is closed", Fault::Gone),
];

#[derive(Clone, Copy)]
struct Server(Fault);

#[tonic::async_trait]
impl Items for Server {
    type TalkStream =
        std::pin::Pin<Box<dyn futures_util::Stream<Item = std::result::Result<Item, Status>> + Send>>;

    async fn show(&self, request: Request<Wanted>) -> std::result::Result<Response<Item>, Status> {
        match self.0 {
            Fault::Unavailable => return Err(Status::unavailable("out of order")),
            Fault::Silent => std::future::pending().await,
            Fault::Slow => sleep(SLOW).await,
            Fault::None | Fault::Gone => sleep(WORK).await,
        }
        Ok(Response::new(Item { id: request.into_inner().id, ..Item::default() }))
    }

    async fn talk(
        &self,
        _: Request<Streaming<Item>>,
    ) -> std::result::Result<Response<Self::TalkStream>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

async fn serve(fault: Fault, serving: &mut JoinSet<()>) -> Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for index in 0..SERVERS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?);
        let fault = if index == 0 { fault } else { Fault::None };
        if fault == Fault::Gone {
            continue;
        }
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let served = tonic::transport::Server::builder().add_service(ItemsServer::new(Server(fault)));
        serving.spawn(async move {
            let _ = served.serve_with_incoming(incoming).await;
        });
    }
    Ok(addresses)
}

/// What calls the servers.
#[derive(Clone)]
enum Caller {
    Tonic(ItemsClient<Channel>),
    Mainstay(ItemsClient<mainstay::client::grpc::Channel>),
}

impl Caller {
    fn tonic(addresses: &[SocketAddr]) -> Result<Self> {
        let endpoint = |address| tonic::transport::Endpoint::try_from(format!("http://{address}"));
        let endpoints = addresses.iter().map(endpoint).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Self::Tonic(ItemsClient::new(Channel::balance_list(endpoints.into_iter()))))
    }

    fn mainstay(addresses: &[SocketAddr], policy: Policy, bare: bool) -> Result<Self> {
        let mut config = Config::default();
        config.balance.policy = policy;
        if bare {
            config.retry.max_attempts = 1;
            config.ejection.consecutive_failures = 0;
            config.ejection.success_rate_deviations = 0.0;
            config.ejection.latency_factor = 0.0;
            config.balance.slow_start = Span::from_secs(0);
        }
        let endpoints =
            addresses.iter().map(|address| Endpoint::from(*address).with_protocol(Protocol::Http2));
        let client = Client::builder().config(config).build(Fixed::new().with("items", endpoints)?);
        Ok(Self::Mainstay(ItemsClient::new(client.channel("items"))))
    }

    async fn call(self, until: Instant) -> bool {
        let mut request = Request::new(Wanted { id: 7, delay: 0 });
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let answer = async {
            match self {
                Self::Tonic(mut client) => client.show(request).await,
                Self::Mainstay(mut client) => client.show(request).await,
            }
        };
        timeout_at(until, answer).await.is_ok_and(|answer| answer.is_ok())
    }
}

async fn tail(length: Duration) -> Result {
    let mut table = Table::new(&["one of ten", "client", "good", "p50 ms", "p99 ms", "p99.9 ms"]);
    for (title, fault) in FAULTS {
        let mut serving = JoinSet::new();
        let addresses = serve(fault, &mut serving).await?;
        let callers = [
            ("tonic `balance_list`", Caller::tonic(&addresses)?),
            ("round-robin alone", Caller::mainstay(&addresses, Policy::RoundRobin, true)?),
            ("least-request alone", Caller::mainstay(&addresses, Policy::LeastRequest, true)?),
            ("peak-EWMA alone", Caller::mainstay(&addresses, Policy::PeakEwma, true)?),
            ("Mainstay, default settings", Caller::mainstay(&addresses, Policy::PeakEwma, false)?),
        ];
        for (name, caller) in callers {
            let (good, mut took) = open_load(&caller, length).await?;
            took.sort_unstable();
            let at = |share: f64| {
                let index = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
                took.get(index).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
            };
            table.row([
                title.to_owned(),
                name.to_owned(),
                format!("{:.2} %", good as f64 / took.len() as f64 * 100.0),
                format!("{:.1}", at(0.5)),
                format!("{:.1}", at(0.99)),
                format!("{:.1}", at(0.999)),
            ]);
        }
        serving.shutdown().await;
    }
    println!(
        "\n{RATE} requests a second for {} s each, from a cold start; times of all requests, good or not\n\n{table}",
        length.as_secs()
    );
    Ok(())
}

/// Requests come at their times, whether earlier ones were answered or not. How many were good, and how long each took
/// since it was due.
async fn open_load(caller: &Caller, length: Duration) -> Result<(usize, Vec<Duration>)> {
    let mut due = interval(Duration::from_secs(1) / RATE as u32);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for _ in 0..length.as_secs() * RATE {
        let since = due.tick().await;
        let caller = caller.clone();
        running.spawn(async move { (caller.call(since + PATIENCE).await, since.elapsed()) });
    }
    let (mut good, mut took) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        let (was_good, elapsed) = ended?;
        good += usize::from(was_good);
        took.push(elapsed);
    }
    Ok((good, took))
}
