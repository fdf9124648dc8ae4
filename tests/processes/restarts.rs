//! Two copies of a service, restarted one at a time under steady load behind the client's balancing: not one request
//! fails, over HTTP/1.1, HTTP/2 and gRPC.

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
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use crate::harness::Process;

const RESTARTS: usize = 100;
/// Of each kind.
const CALLERS: usize = 2;

/// How a caller calls. Some calls are quick, some under way when the signal comes; some have a body that must not be sent
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quick(&'static str),
    Slow(&'static str),
    Body(&'static str),
    Grpc,
}

const KINDS: [Kind; 7] = [
    Kind::Quick("http1"),
    Kind::Slow("http1"),
    Kind::Body("http1"),
    Kind::Quick("http2"),
    Kind::Slow("http2"),
    Kind::Body("http2"),
    Kind::Grpc,
];

/// What the method `Say` takes and gives.
#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint32, tag = "2")]
    delay_ms: u32,
}

impl Kind {
    async fn call(self, client: &Client) -> Result<(), String> {
        let request = match self {
            Self::Quick(service) => client.get(format!("http://{service}/hello")),
            Self::Slow(service) => client.get(format!("http://{service}/slow?ms=30")),
            Self::Body(service) => client.post(format!("http://{service}/count")).body("a body"),
            Self::Grpc => return say(client).await,
        };
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        if response.status() != 200 {
            return Err(response.status().to_string());
        }
        response.text().await.map(drop).map_err(|error| format!("body: {error:?}"))
    }
}

async fn say(client: &Client) -> Result<(), String> {
    let mut grpc = Grpc::new(client.channel("http1"));
    grpc.ready().await.map_err(|error| format!("{error:?}"))?;
    let words = Words { text: "hello".to_owned(), delay_ms: 5 };
    let method = PathAndQuery::from_static("/mainstay.specimen.v1.Echo/Say");
    let codec = ProstCodec::<Words, Words>::default();
    let answer = grpc.unary(tonic::Request::new(words.clone()), method, codec).await;
    let answer = answer.map_err(|status| format!("{status:?}"))?.into_inner();
    if answer == words { Ok(()) } else { Err(format!("{answer:?}")) }
}

async fn copy(port: u16) -> Process {
    let address = format!("server.address=127.0.0.1:{port}");
    // Time for the client to notice, as it has it in production (there 3 s).
    let arguments = ["--set", &address, "--set", "drain.delay=200ms"];
    Process::start(Path::new(env!("CARGO_BIN_EXE_specimen")), &arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_restarts_under_load_fail_no_request() {
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let mut copies = [copy(ports[0]).await, copy(ports[1]).await];
    let endpoints = |scheme: &str| ports.map(|port| format!("{scheme}://127.0.0.1:{port}").parse().unwrap());
    let services = Fixed::new().with("http1", endpoints("http")).unwrap();
    let client = Client::new(services.with("http2", endpoints("h2c")).unwrap());

    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(KINDS.map(|_| AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS * KINDS.len())
        .map(|caller| {
            let (client, stop, answered) = (client.clone(), stop.clone(), answered.clone());
            let kind = caller % KINDS.len();
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match KINDS[kind].call(&client).await {
                        Ok(()) => _ = answered[kind].fetch_add(1, Ordering::Relaxed),
                        Err(error) => failures.push(format!("{:?}: {error}", KINDS[kind])),
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
    let answered: Vec<_> = answered.iter().map(|answered| answered.load(Ordering::Relaxed)).collect();
    println!("{RESTARTS} restarts, {answered:?} requests answered, {} failed", failures.len());
    let few = &failures[..failures.len().min(5)];
    assert!(failures.is_empty(), "{} beside {answered:?}: {few:#?}", failures.len());
    assert!(answered.iter().all(|answered| *answered > 500), "only {answered:?} requests");
}
