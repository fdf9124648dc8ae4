//! How many requests an outage behind three tiers makes of one, against tiers that try three times each.
//!
//! ```text
//! cargo xtask bench amplification -- [--seconds 10] [--rate 20]
//! ```
//! Callers, `front` and `middle` call the next one; `leaf`, the last, counts what reaches it. It works for a while, then
//! fails for as long. All of it is one process: what is counted is requests, and the machine doesn't matter.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{
    collections::HashMap,
    error::Error,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::StatusCode;
use mainstay::{
    Client, Service, client,
    discovery::{Endpoint, ServiceName, memory::Registry},
};
use mainstay_benches::{Arguments, Table, servers::host};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the leaf does in its outage.
#[derive(Debug, Clone, Copy)]
enum Outage {
    Refuses,
    Hangs,
}

/// How the tiers call one another.
#[derive(Debug, Clone, Copy)]
enum Tiers {
    /// Three times, whatever went wrong.
    Naive,
    /// As Mainstay's client does by default: an answer is an answer.
    Mainstay,
    /// Told to try again after a 503, three times in all.
    MainstayAgain,
}

/// Who calls the next tier.
#[derive(Debug, Clone)]
enum Caller {
    Naive(reqwest::Client, Arc<HashMap<&'static str, SocketAddr>>),
    Mainstay(Client),
}

/// The last tier.
#[derive(Debug, Clone, Default)]
struct Leaf {
    fails: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

fn main() -> Result {
    let arguments = Arguments::read(&["--seconds", "--rate"]).map_err(|error| error.to_string())?;
    let number = |name, default| arguments.number(name, default).map_err(|error| error.to_string());
    let (length, rate) = (Duration::from_secs(number("--seconds", 10)?), number("--rate", 20)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut table = Table::new(&["the last tier", "tiers", "requests that reach it for each call"]);
        for outage in [Outage::Refuses, Outage::Hangs] {
            for tiers in [Tiers::Naive, Tiers::Mainstay, Tiers::MainstayAgain] {
                let times = amplification(outage, tiers, length, rate).await?;
                table.row([
                    match outage {
                        Outage::Refuses => "answers 503 at once".to_owned(),
                        Outage::Hangs => "never answers".to_owned(),
                    },
                    match tiers {
                        Tiers::Naive => "three tries each".to_owned(),
                        Tiers::Mainstay => "Mainstay, default settings".to_owned(),
                        Tiers::MainstayAgain => "Mainstay, `retry.statuses = [503]`".to_owned(),
                    },
                    format!("{times:.2}"),
                ]);
            }
        }
        println!("\n{rate} calls a second for {} s\n\n{table}", length.as_secs());
        Ok(())
    })
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn amplification(outage: Outage, tiers: Tiers, length: Duration, rate: u64) -> Result<f64> {
    let leaf = Leaf::default();
    let mut addresses = HashMap::new();
    let mut running = Vec::new();
    let mut routes = leaf.routes(outage);
    for (name, next) in [("leaf", "middle"), ("middle", "front"), ("front", "")] {
        let tier = host(Service::new(name).http(routes)).set("request.default_timeout=0s").start().await?;
        addresses.insert(name, tier.address().ok_or("no address")?);
        running.push(tier);
        let caller = Caller::new(tiers, &addresses)?;
        routes = Router::new().route("/item", get(async move || caller.get(name).await));
        if next.is_empty() {
            break;
        }
    }
    let caller = Caller::new(tiers, &addresses)?;
    load(&caller, length, rate).await?;
    leaf.fails.store(true, Relaxed);
    let before = leaf.asked.load(Relaxed);
    let calls = load(&caller, length, rate).await?;
    let asked = leaf.asked.load(Relaxed) - before;
    for tier in running.into_iter().rev() {
        tier.stop().await?;
    }
    Ok(asked as f64 / calls as f64)
}

/// Calls at a steady rate; how many there were.
async fn load(caller: &Caller, length: Duration, rate: u64) -> Result<u64> {
    let mut calls = JoinSet::new();
    let count = rate * length.as_secs();
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..count {
        ticks.tick().await;
        let caller = caller.clone();
        calls.spawn(async move { caller.get("front").await });
    }
    while let Some(ended) = calls.join_next().await {
        ended?;
    }
    Ok(count)
}

impl Caller {
    fn new(tiers: Tiers, addresses: &HashMap<&'static str, SocketAddr>) -> Result<Self> {
        if matches!(tiers, Tiers::Naive) {
            let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
            return Ok(Self::Naive(client, Arc::new(addresses.clone())));
        }
        let registry = Registry::new();
        for (name, address) in addresses {
            // Registered for as long as the process runs.
            std::mem::forget(registry.register(&ServiceName::new(*name)?, Endpoint::from(*address)));
        }
        let mut config = client::Config::default();
        if matches!(tiers, Tiers::MainstayAgain) {
            config.retry.statuses = vec![503];
        }
        Ok(Self::Mainstay(Client::builder().config(config).build(registry)))
    }

    async fn get(&self, name: &'static str) -> StatusCode {
        match self {
            Self::Naive(client, addresses) => {
                let Some(address) = addresses.get(name) else { return StatusCode::BAD_GATEWAY };
                let mut last = StatusCode::BAD_GATEWAY;
                for _ in 0..3 {
                    match client.get(format!("http://{address}/item")).send().await {
                        Ok(answer) if answer.status().is_success() => return answer.status(),
                        Ok(answer) => last = answer.status(),
                        Err(_) => last = StatusCode::GATEWAY_TIMEOUT,
                    }
                }
                last
            }
            Self::Mainstay(client) => {
                let call = client.get(format!("http://{name}/item")).timeout(PATIENCE).send();
                call.await.map_or(StatusCode::SERVICE_UNAVAILABLE, |answer| answer.status())
            }
        }
    }
}

impl Leaf {
    fn routes(&self, outage: Outage) -> Router {
        let leaf = self.clone();
        let item = async move || {
            leaf.asked.fetch_add(1, Relaxed);
            match (leaf.fails.load(Relaxed), outage) {
                (false, _) => StatusCode::OK,
                (true, Outage::Refuses) => StatusCode::SERVICE_UNAVAILABLE,
                (true, Outage::Hangs) => pending().await,
            }
        };
        Router::new().route("/item", get(item))
    }
}
