//! A call to a service of the same process, against the same call to the same service over loopback TCP.
//!
//! ```text
//! cargo xtask bench in_process -- [--rounds 7] [--seconds 1]
//! ```
//! Client and service are one process in all cases, so that the CPU counted is that of both sides; both take the same
//! client with the same policies to the same stack. Only the way between them differs.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

use std::{error::Error, time::Duration};

use mainstay::{
    Client, Service,
    discovery::{ServiceName, memory::Registry},
};
use mainstay_benches::{
    Arguments, Items, Table, cpu_time,
    grpc::{Wanted, items_client::ItemsClient, items_server::ItemsServer},
    median,
    servers::{host, routes},
};
use tokio::{task::JoinSet, time::Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Calls under way at a time.
const CALLERS: [usize; 2] = [1, 32];

#[derive(Clone, Copy)]
enum Call {
    Http,
    Grpc,
}

fn main() -> Result {
    let arguments = Arguments::read(&["--rounds", "--seconds"]).map_err(|error| error.to_string())?;
    let number = |name, default| arguments.number(name, default).map_err(|error| error.to_string());
    let (rounds, seconds) = (number("--rounds", 7)?, number("--seconds", 1)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(rounds, Duration::from_secs(seconds)))
}

async fn measure(rounds: u64, length: Duration) -> Result {
    let running = host(Service::new("items").http(routes()).grpc(ItemsServer::new(Items))).start().await?;
    let registry = Registry::new();
    let address = running.address().ok_or("no address")?;
    let _lease = registry.register(&ServiceName::new("items")?, address.into());
    let (in_process, loopback) = (running.client().clone(), Client::new(registry));

    let mut table = Table::new(&[
        "call",
        "calls under way",
        "CPU µs in process",
        "CPU µs over loopback TCP",
        "times cheaper",
    ]);
    for (title, call) in [("HTTP, GET of a small JSON", Call::Http), ("gRPC, unary", Call::Grpc)] {
        for callers in CALLERS {
            let mut samples = Vec::new();
            for _ in 0..rounds {
                let near = cpu_micros(&in_process, call, callers, length).await?;
                let far = cpu_micros(&loopback, call, callers, length).await?;
                samples.push((near, far));
            }
            table.row([
                title.to_owned(),
                callers.to_string(),
                format!("{:.2}", median(samples.iter().map(|(near, _)| *near))),
                format!("{:.2}", median(samples.iter().map(|(_, far)| *far))),
                format!("{:.1}", median(samples.iter().map(|(near, far)| far / near))),
            ]);
        }
    }
    println!("\nMedian of {rounds} rounds of {} s each way\n\n{table}", length.as_secs());
    running.stop().await?;
    Ok(())
}

/// CPU a call of the whole process, in microseconds, with `callers` at once for `length`.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn cpu_micros(client: &Client, call: Call, callers: usize, length: Duration) -> Result<f64> {
    // Connections are there before it counts.
    calls(client, call, callers, length / 10).await?;
    let before = cpu_time("self")?;
    let count = calls(client, call, callers, length).await?;
    let used = cpu_time("self")? - before;
    Ok(used.as_secs_f64() * 1e6 / count.max(1) as f64)
}

async fn calls(client: &Client, call: Call, callers: usize, length: Duration) -> Result<u64> {
    let end = Instant::now() + length;
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let client = client.clone();
        running.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                match call {
                    Call::Http => http(&client).await?,
                    Call::Grpc => grpc(&client).await?,
                }
                count += 1;
            }
            Ok::<u64, Box<dyn Error + Send + Sync>>(count)
        });
    }
    let mut total = 0;
    while let Some(ended) = running.join_next().await {
        total += ended??;
    }
    Ok(total)
}

async fn http(client: &Client) -> Result {
    let body = client.get("http://items/item").send().await?.error_for_status()?.bytes().await?;
    if body.is_empty() { Err("an empty answer".into()) } else { Ok(()) }
}

async fn grpc(client: &Client) -> Result {
    let mut items = ItemsClient::new(client.channel("items"));
    let item = items.show(Wanted { id: 7, delay: 0 }).await?.into_inner();
    if item.id == 7 { Ok(()) } else { Err("another answer".into()) }
}
