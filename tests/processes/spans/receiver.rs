//! A receiver that others wrote, as a process.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::{Map, Value};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Duration, sleep, timeout},
};

use crate::harness::PATIENCE;

/// A span as it arrived.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Span {
    pub(super) resource: BTreeMap<String, Value>,
    pub(super) scope: String,
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Map<String, Value>,
    pub(super) status: u8,
    pub(super) flags: u32,
}

/// A point of a metric as it arrived.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Point {
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) kind: String,
    pub(super) resource: BTreeMap<String, Value>,
    pub(super) attributes: Map<String, Value>,
    pub(super) value: f64,
}

/// A log record as it arrived.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Record {
    pub(super) resource: BTreeMap<String, Value>,
    pub(super) scope: String,
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) severity: u8,
    pub(super) body: String,
    pub(super) attributes: Map<String, Value>,
    pub(super) flags: u32,
}

/// `SPAN_KIND_SERVER`.
pub(super) const SERVER: u8 = 2;

impl Span {
    pub(super) fn service(&self) -> &str {
        self.resource["service.name"].as_str().unwrap()
    }
}

/// Ended by drop.
pub(super) struct Receiver {
    child: Child,
    pub(super) port: u16,
    spans: Arc<Mutex<Vec<Span>>>,
    points: Arc<Mutex<Vec<Point>>>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Receiver {
    /// Over `grpc` or `http`, on this port; 0 is one that is free.
    pub(super) async fn start(protocol: &str, port: u16) -> Self {
        let python = env::var("TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("processes/spans/receiver.py");
        let mut command = Command::new(python);
        command.arg(script).args([protocol, &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("Python; `cargo xtask test` installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            timeout(PATIENCE, lines.next_line()).await.expect("it starts").unwrap().expect("it listens");
        let port = said.strip_prefix("listening ").unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let points = Arc::new(Mutex::new(Vec::new()));
        let records = Arc::new(Mutex::new(Vec::new()));
        let (to, points_to) = (Arc::clone(&spans), Arc::clone(&points));
        let records_to = Arc::clone(&records);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // An empty request is an empty line.
                if let Some(records) = line.strip_prefix("logs ") {
                    records_to.lock().unwrap().extend(read::<Vec<Record>>(records));
                } else if line.starts_with('[') {
                    points_to.lock().unwrap().extend(read::<Vec<Point>>(&line));
                } else if !line.is_empty() {
                    to.lock().unwrap().push(read(&line));
                }
            }
        });
        Self { child, port, spans, points, records }
    }

    /// Ends it without a word.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(super) fn count(&self) -> usize {
        self.spans.lock().unwrap().len()
    }

    /// The points, once there are some.
    pub(super) async fn points(&self) -> Vec<Point> {
        let wait = async {
            while self.points.lock().unwrap().is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("metrics arrive");
        self.points.lock().unwrap().clone()
    }

    /// The first log record for which `is` holds, once it is there.
    pub(super) async fn record(&self, is: impl Fn(&Record) -> bool) -> Record {
        let found = || self.records.lock().unwrap().iter().find(|record| is(record)).cloned();
        let wait = async {
            loop {
                match found() {
                    Some(record) => return record,
                    None => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(record) => record,
            Err(_) => panic!("there are only {:#?}", self.records.lock().unwrap()),
        }
    }

    /// The spans of this trace, once there are those for which `all` holds.
    pub(super) async fn trace(&self, trace: &str, all: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let of_trace = || -> Vec<Span> {
            let spans = self.spans.lock().unwrap();
            spans.iter().filter(|span| span.trace == trace).cloned().collect()
        };
        let wait = async {
            while !all(&of_trace()) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("of {trace} there are only: {:#?}", of_trace());
        }
        of_trace()
    }
}

fn read<T: serde::de::DeserializeOwned>(line: &str) -> T {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
