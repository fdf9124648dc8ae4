//! What a call costs the caller: Mainstay's client with all its policies, against the clients that one would take instead.
//!
//! ```text
//! cargo xtask bench client -- [--rounds 5] [--calls 20000] [--instructions yes]
//! ```
//! The service is one process on core 0, the same for all. Each client is a process of its own on core 1, with a runtime of
//! one thread; what is counted is its CPU, from the first to the last of its calls, connections made before. With
//! `--instructions yes` each runs under callgrind instead, with few calls and with many: the difference is what a call costs.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, fs, process::Command, sync::Arc};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy, rt::TokioExecutor};
use mainstay::{Client, Service, axum::body::Bytes, discovery::Endpoint, discovery::fixed::Fixed};
use mainstay_benches::{
    Arguments, Contestant, Items, Table, cpu_time,
    grpc::{Wanted, items_client::ItemsClient, items_server::ItemsServer},
    median,
    servers::{host, routes, serve_host},
};
use tokio::task::JoinSet;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The reference of each group first.
const GROUPS: [(&str, &[&str]); 3] = [
    ("HTTP/1.1, GET of a small JSON", &["legacy-http1", "reqwest-http1", "mainstay-http1"]),
    ("HTTP/2, GET of a small JSON", &["legacy-http2", "reqwest-http2", "mainstay-http2"]),
    ("gRPC, unary", &["tonic-grpc", "mainstay-grpc"]),
];

/// Calls under way at a time.
const CALLERS: [u64; 2] = [1, 32];

/// Before it counts.
const WARM_UP: u64 = 200;

const FEW: u64 = 500;
const MANY: u64 = 2_500;

fn main() -> Result {
    let known = ["--serve", "--call", "--address", "--callers", "--calls", "--rounds", "--instructions"];
    let arguments = Arguments::read(&known).map_err(|error| error.to_string())?;
    let number = |name, default| arguments.number(name, default).map_err(|error| error.to_string());
    if arguments.text("--serve").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let service = Service::new("items").http(routes()).grpc(ItemsServer::new(Items));
        return runtime.block_on(serve_host(host(service))).map_err(|error| error.to_string().into());
    }
    let calls = number("--calls", 20_000)?;
    if let Some(name) = arguments.text("--call") {
        let address = arguments.text("--address").ok_or("`--address` is missing")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let micros = runtime.block_on(contest(name, address, number("--callers", 1)?, calls))?;
        println!("{micros}");
        return Ok(());
    }
    let server = Contestant::start(Some(0), &[], &["--serve", "items"])?;
    let address = server.address().to_string();
    if arguments.text("--instructions").is_some() {
        instructions(&address)?;
    } else {
        cpu(&address, number("--rounds", 5)?, calls)?;
    }
    server.finish()?;
    Ok(())
}

fn cpu(address: &str, rounds: u64, calls: u64) -> Result {
    for (title, names) in GROUPS {
        let mut table = Table::new(&["client", "calls under way", "CPU µs a call", "ratio to the first"]);
        for callers in CALLERS {
            let mut samples = vec![Vec::new(); names.len()];
            for _ in 0..rounds {
                for (name, samples) in names.iter().zip(&mut samples) {
                    samples.push(child(&[], name, address, callers, calls)?);
                }
            }
            let reference = samples.first().cloned().unwrap_or_default();
            for (name, samples) in names.iter().zip(samples) {
                let ratios = samples.iter().zip(&reference).map(|(own, other)| own / other);
                table.row([
                    (*name).to_owned(),
                    callers.to_string(),
                    format!("{:.1}", median(samples.iter().copied())),
                    format!("{:.2}", median(ratios)),
                ]);
            }
        }
        println!("\n{title}, median of {rounds} rounds of {calls} calls\n\n{table}");
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn instructions(address: &str) -> Result {
    let mut table = Table::new(&["client", "user instructions a call"]);
    for name in GROUPS.iter().flat_map(|(_, names)| names.iter()) {
        let log = std::env::temp_dir().join(format!("mainstay-client-{}-{name}", std::process::id()));
        let log_file = format!("--log-file={}", log.display());
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", &log_file];
        let mut counted = [0; 2];
        for (calls, counted) in [FEW, MANY].into_iter().zip(&mut counted) {
            child(&tool, name, address, 1, calls)?;
            let text = fs::read_to_string(&log)?;
            let of = |line: &str| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok();
            *counted = text.lines().find_map(of).ok_or("callgrind counted nothing")?;
        }
        fs::remove_file(&log)?;
        let [few, many] = counted;
        table.row([(*name).to_owned(), format!("{:.0}", (many - few) as f64 / (MANY - FEW) as f64)]);
    }
    println!("\none call after the other\n\n{table}");
    Ok(())
}

/// Microseconds of CPU a call, by a process of its own.
fn child(tool: &[&str], name: &str, address: &str, callers: u64, calls: u64) -> Result<f64> {
    let program = std::env::current_exe()?;
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .args(tool)
        .arg(program)
        .args(["--call", name, "--address", address])
        .args(["--callers", &callers.to_string(), "--calls", &calls.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = || format!("{name} failed:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim().parse().map_err(|_| told().into())
}

type Legacy = legacy::Client<legacy::connect::HttpConnector, Empty<Bytes>>;

#[derive(Clone)]
enum Caller {
    Legacy(Legacy, Arc<str>),
    Reqwest(reqwest::Client, Arc<str>),
    Mainstay(Client),
    Tonic(ItemsClient<tonic::transport::Channel>),
    MainstayGrpc(ItemsClient<mainstay::client::grpc::Channel>),
}

impl Caller {
    async fn new(name: &str, address: &str) -> Result<Self> {
        let url: Arc<str> = format!("http://{address}/item").into();
        let mainstay = |scheme: &str| -> Result<Client> {
            let endpoint: Endpoint = format!("{scheme}://{address}").parse()?;
            Ok(Client::new(Fixed::new().with("items", [endpoint])?))
        };
        let legacy = |http2: bool| {
            let mut connector = legacy::connect::HttpConnector::new();
            connector.set_nodelay(true);
            legacy::Client::builder(TokioExecutor::new())
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .http2_only(http2)
                .build(connector)
        };
        Ok(match name {
            "legacy-http1" => Self::Legacy(legacy(false), url),
            "legacy-http2" => Self::Legacy(legacy(true), url),
            "reqwest-http1" => Self::Reqwest(reqwest::Client::builder().http1_only().build()?, url),
            "reqwest-http2" => {
                Self::Reqwest(reqwest::Client::builder().http2_prior_knowledge().build()?, url)
            }
            "mainstay-http1" => Self::Mainstay(mainstay("http")?),
            "mainstay-http2" => Self::Mainstay(mainstay("h2c")?),
            "tonic-grpc" => {
                let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
                Self::Tonic(ItemsClient::new(endpoint.connect().await?))
            }
            "mainstay-grpc" => Self::MainstayGrpc(ItemsClient::new(mainstay("h2c")?.channel("items"))),
            other => return Err(format!("no client {other:?}").into()),
        })
    }

    async fn call(&mut self) -> Result {
        let length = match self {
            Self::Legacy(client, url) => {
                let request = http::Request::get(&**url).body(Empty::new())?;
                let response = client.request(request).await?;
                if response.status() != 200 {
                    return Err(response.status().to_string().into());
                }
                response.into_body().collect().await?.to_bytes().len()
            }
            Self::Reqwest(client, url) => {
                client.get(&**url).send().await?.error_for_status()?.bytes().await?.len()
            }
            Self::Mainstay(client) => {
                client.get("http://items/item").send().await?.error_for_status()?.bytes().await?.len()
            }
            Self::Tonic(client) => client.show(WANTED).await?.into_inner().id as usize,
            Self::MainstayGrpc(client) => client.show(WANTED).await?.into_inner().id as usize,
        };
        if length > 0 { Ok(()) } else { Err("an empty answer".into()) }
    }
}

const WANTED: Wanted = Wanted { id: 7, delay: 0 };

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn contest(name: &str, address: &str, callers: u64, calls: u64) -> Result<f64> {
    let caller = Caller::new(name, address).await?;
    make(&caller, callers, WARM_UP).await?;
    let before = cpu_time("self")?;
    make(&caller, callers, calls).await?;
    let used = cpu_time("self")? - before;
    Ok(used.as_secs_f64() * 1e6 / calls as f64)
}

async fn make(caller: &Caller, callers: u64, calls: u64) -> Result {
    let mut running = JoinSet::new();
    for index in 0..callers {
        let mut caller = caller.clone();
        let share = calls / callers + u64::from(index < calls % callers);
        running.spawn(async move {
            for _ in 0..share {
                caller.call().await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}
