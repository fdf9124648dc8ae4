//! The receiver dies, hangs, talks nonsense and comes back, under load.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{Duration, Instant, sleep, timeout},
};

use super::receiver::Receiver;
use crate::faults::fleet::free;
use crate::harness::{PATIENCE, Process, get, metrics};

const QUEUE: usize = 200;

/// Callers of `/hello`; each call has to be answered with 200.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: JoinSet<()>,
}

impl Load {
    fn on(process: &Process) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), process.main);
            callers.spawn(async move {
                while !stop.load(Relaxed) {
                    let answer = get(address, "/hello").await;
                    assert_eq!((answer.status, &*answer.body), (200, "hello"));
                    answered.fetch_add(1, Relaxed);
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Self { stop, answered, callers }
    }

    /// Until so many more were answered.
    async fn answer(&self, calls: u64) {
        let until = self.answered.load(Relaxed) + calls;
        let wait = async {
            while self.answered.load(Relaxed) < until {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("calls are answered");
    }

    async fn end(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("no call failed");
        }
        self.answered.load(Relaxed)
    }
}

fn dropped(metrics: &BTreeMap<String, f64>) -> f64 {
    let of = |name: &&String| name.starts_with("mainstay_telemetry_spans_dropped_total");
    metrics.keys().filter(of).map(|name| metrics[name]).sum()
}

/// Once this holds of a scrape.
async fn until(
    process: &Process,
    what: &str,
    holds: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = metrics(process).await;
        if holds(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < end, "{what}: {metrics:#?}\n{}", process.log().text());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Accepts on `port`, and reads; what it says is `said`, or nothing.
async fn stand_in(port: u16, said: &'static [u8]) -> JoinSet<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut buffer = [0; 65_536];
                let mut has_said = said.is_empty();
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {
                    if !std::mem::replace(&mut has_said, true) && stream.write_all(said).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    tasks
}

async fn survives(protocol: &str, setting: &str) {
    let port = free(Ipv4Addr::LOCALHOST).port();
    let receiver = Receiver::start(protocol, port).await;
    let endpoint = format!("otlp.endpoint=http://127.0.0.1:{port}");
    let (protocol_set, queue) = (format!("otlp.protocol={setting}"), format!("otlp.queue={QUEUE}"));
    let settings = [
        &*endpoint,
        &protocol_set,
        &queue,
        "otlp.batch=50",
        "otlp.interval=100ms",
        "otlp.timeout=500ms",
        "otlp.export_timeout=1s",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let began = Instant::now();
    let mut process = Process::specimen(&arguments).await;
    let load = Load::on(&process);

    load.answer(200).await;
    until(&process, "spans arrive", |metrics| metrics["mainstay_telemetry_spans_exported_total"] >= 100.0)
        .await;
    assert!(receiver.count() > 0);
    let resident = metrics(&process).await["process_resident_memory_bytes"];

    receiver.kill().await;
    let lost = until(&process, "the loss is counted", |metrics| dropped(metrics) > 0.0).await;
    for said in [&b""[..], b"\x00\x00 I am no receiver \xff\r\n\r\n"] {
        let before = dropped(&metrics(&process).await);
        let mut stand_in = stand_in(port, said).await;
        load.answer(200).await;
        until(&process, "the loss goes on", |metrics| dropped(metrics) > before).await;
        stand_in.shutdown().await;
    }
    let exported = metrics(&process).await["mainstay_telemetry_spans_exported_total"];
    assert!(exported >= lost["mainstay_telemetry_spans_exported_total"]);

    let receiver = Receiver::start(protocol, port).await;
    load.answer(100).await;
    until(&process, "spans arrive again", |metrics| {
        metrics["mainstay_telemetry_spans_exported_total"] > exported
    })
    .await;
    assert!(receiver.count() > 0);
    let answered = load.end().await;
    let done =
        until(&process, "everything is sent", |metrics| metrics["mainstay_telemetry_spans_waiting"] == 0.0);
    let done = done.await;
    // What was taken out of the queue is counted when its fate is known.
    let all = until(&process, "every span is accounted for", |metrics| {
        metrics["mainstay_telemetry_spans_exported_total"] + dropped(metrics) >= answered as f64
    });
    let all = all.await;
    assert_eq!(all["mainstay_telemetry_spans_exported_total"] + dropped(&all), answered as f64);
    let grown = done["process_resident_memory_bytes"] - resident;
    assert!(grown < 64.0 * 1024.0 * 1024.0, "{grown} bytes more");

    let minutes = began.elapsed().as_secs() / 60;
    let text = process.log().text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let warnings: Vec<Value> = lines.filter(|line| line["body"] == "spans can't be sent").collect();
    assert!((1..=minutes + 1).contains(&(warnings.len() as u64)), "{warnings:#?}");
    process.terminate().await;
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn a_receiver_over_grpc_may_die_hang_and_babble() {
    survives("grpc", "grpc").await;
}

#[tokio::test]
async fn a_receiver_over_http_may_die_hang_and_babble() {
    survives("http", "http/protobuf").await;
}

#[tokio::test]
async fn a_receiver_that_was_never_there_holds_nobody_up_at_the_end() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Bound, and nobody accepts: connections are made by the kernel, and never answered.
    let endpoint = format!("otlp.endpoint=http://{}", vacant.local_addr().unwrap());
    let mut process = Process::specimen(&[
        "--set",
        &endpoint,
        "--set",
        "otlp.timeout=1h",
        "--set",
        "otlp.export_timeout=1h",
    ])
    .await;
    assert_eq!(get(process.main, "/hello").await.status, 200);
    process.terminate().await;
    assert!(process.ended().await.success(), "{}", process.log().text());
    let text = process.log().text();
    assert!(text.contains("the process ends before all spans were sent"), "{text}");
}
