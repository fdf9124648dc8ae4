//! Two copies of a service, restarted one at a time under steady load behind the client's balancing: not one request
//! fails.

use std::{
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay::{Client, discovery::fixed::Fixed};

use crate::harness::Process;

const RESTARTS: usize = 50;
const CALLERS: usize = 8;

async fn copy(port: u16) -> Process {
    let address = format!("server.address=127.0.0.1:{port}");
    // Time for the client to notice, as it has it in production (there 3 s).
    let arguments = ["--set", &address, "--set", "drain.delay=200ms"];
    Process::start(Path::new(env!("CARGO_BIN_EXE_specimen")), &arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_restarts_under_load_fail_no_request() {
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let mut copies = [copy(ports[0]).await, copy(ports[1]).await];
    let endpoints = ports.map(|port| format!("http://127.0.0.1:{port}").parse().unwrap());
    let client = Client::new(Fixed::new().with("specimen", endpoints).unwrap());

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (client, stop, answered) = (client.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Some quick, some under way when the signal comes; some with a body that must not be sent twice.
                    let call = match caller % 4 {
                        0 | 1 => client.get("http://specimen/hello").send().await,
                        2 => client.get("http://specimen/slow?ms=30").send().await,
                        _ => client.post("http://specimen/count").body("a body").send().await,
                    };
                    match call {
                        Ok(response) if response.status() == 200 => match response.text().await {
                            Ok(_) => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => failures.push(format!("body: {error:?}")),
                        },
                        Ok(response) => failures.push(format!("{}", response.status())),
                        Err(error) => failures.push(format!("{error:?}")),
                    }
                }
                failures
            })
        })
        .collect();

    for restart in 0..RESTARTS {
        let which = restart % 2;
        copies[which].terminate().await;
        assert_eq!(copies[which].ended().await.code(), Some(0), "{}", copies[which].log().text());
        copies[which] = copy(ports[which]).await;
        // Steady load on both before the next one goes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut failures = Vec::new();
    for caller in callers {
        failures.extend(caller.await.unwrap());
    }
    let answered = answered.load(Ordering::Relaxed);
    println!("{RESTARTS} restarts, {answered} requests answered, {} failed", failures.len());
    assert!(
        failures.is_empty(),
        "{} of {answered}: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(answered > 1_000, "only {answered} requests");
}
