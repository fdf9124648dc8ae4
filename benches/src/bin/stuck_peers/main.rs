//! A graceful stop while a peer is stuck, and a request is in flight that takes a second.
//!
//! ```text
//! cargo xtask bench stuck_peers -- [--only axum,tonic,mainstay]
//! ```
//! Each kind of peer is tried alone, against a process of its own, which gets SIGTERM: what counts is the time until
//! the process has ended, and whether the request in flight was answered. `axum::serve` and tonic's server are stopped
//! by their own graceful shutdown, as their documentation shows it. Mainstay has `drain.delay=0s` and
//! `drain.timeout=5s`; the others have no such bound.

#![allow(clippy::print_stdout, reason = "a measurement prints its result")]

mod contestants;
mod peers;

use std::{error::Error, net::SocketAddr, time::Duration};

use mainstay_benches::{
    Arguments, Contestant, Table,
    grpc::{Wanted, items_client::ItemsClient},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use peers::{KINDS, Kind, Speech};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// After this the process is ended by force.
const CAP: Duration = Duration::from_secs(20);
/// For what should take no time at all, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the request in flight takes.
const WORK: Duration = Duration::from_secs(1);
/// A thing that nobody answers has arrived, and a request is under way, after this.
const SETTLED: Duration = Duration::from_millis(300);

fn main() -> Result {
    let arguments = Arguments::read(&["--serve", "--only"]).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(name) = arguments.text("--serve") {
        return runtime.block_on(contestants::serve(name));
    }
    runtime.block_on(matrix(&arguments.only(&contestants::NAMES)))
}

async fn matrix(names: &[&'static str]) -> Result {
    let head: Vec<&str> = ["the peer that is stuck"].into_iter().chain(names.iter().copied()).collect();
    let mut table = Table::new(&head);
    let mut columns = Vec::new();
    for name in names.iter().copied() {
        // Each has a process of its own: nothing is shared but the processors.
        let mut running = JoinSet::new();
        for (row, kind) in KINDS.into_iter().enumerate() {
            running.spawn(async move { (row, stopped(name, kind).await.map_err(|error| error.to_string())) });
        }
        let mut cells = vec![String::new(); KINDS.len()];
        while let Some(ended) = running.join_next().await {
            let (row, outcome) = ended?;
            cells[row] = outcome.unwrap_or_else(|error| format!("failed: {error}"));
        }
        columns.push(cells);
    }
    for (row, kind) in KINDS.into_iter().enumerate() {
        table.row([kind.name().to_owned()].into_iter().chain(columns.iter().map(|cells| cells[row].clone())));
    }
    println!("\nSeconds from SIGTERM until the process had ended, at most {} s\n\n{table}", CAP.as_secs());
    Ok(())
}

/// Stops `name` while a peer of this kind is stuck; the cell of the table.
async fn stopped(name: &'static str, kind: Kind) -> Result<String> {
    let Some((contestant, speech)) = contestants::against(name, kind) else { return Ok("–".to_owned()) };
    let contestant = Contestant::start(None, &[], &["--serve", contestant])?;
    let address = contestant.address();
    let peer = timeout(PATIENCE, peers::stuck(address, kind, speech)).await??;
    let (took, answered) = tokio::join!(stop(contestant), answered(address, kind, speech));
    drop(peer);
    let took =
        took?.map_or_else(|| "**still there**".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
    Ok(match answered {
        None => took,
        Some(true) => format!("{took}, answered"),
        Some(false) => format!("{took}, **not answered**"),
    })
}

/// How long it took; none where it had to be ended by force.
async fn stop(mut contestant: Contestant) -> Result<Option<Duration>> {
    sleep(SETTLED).await;
    let begun = Instant::now();
    contestant.terminate()?;
    while contestant.ended()?.is_none() {
        if begun.elapsed() > CAP {
            return Ok(None);
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(Some(begun.elapsed()))
}

/// Whether a request that takes [`WORK`] was answered whole; none where no request is made, since this port speaks TLS
/// and it is the handshake that is tried there.
async fn answered(address: SocketAddr, kind: Kind, speech: Speech) -> Option<bool> {
    if kind == Kind::HalfTlsHello {
        return None;
    }
    let request = async {
        match speech {
            Speech::Http => http_request(address).await,
            Speech::Grpc => grpc_request(address).await,
        }
    };
    Some(matches!(timeout(CAP, request).await, Ok(Ok(()))))
}

async fn http_request(address: SocketAddr) -> Result {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /slow/{} HTTP/1.1\r\nHost: bench\r\n\r\n", WORK.as_millis());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(contestants::DONE.as_bytes()) {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("closed".into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err("refused".into()) }
}

async fn grpc_request(address: SocketAddr) -> Result {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let delay = u32::try_from(WORK.as_millis())?;
    ItemsClient::new(channel).show(Wanted { id: 7, delay }).await?;
    Ok(())
}
