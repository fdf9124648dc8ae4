//! A shop that is open, in one of its shapes, and what its customers do there.

use std::{fmt, net::SocketAddr, ops::Deref, path::Path, sync::Arc};

use mainstay::{
    Client,
    axum::http::{HeaderMap, Method},
    discovery::fixed::Fixed,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{
    moving::ask_with,
    process::{Process, set, socket},
    proto::{GetStockRequest, inventory_client::InventoryClient},
};

/// How the shop runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All services in one process, on embedded defaults.
    One,
    /// The same, but what they call goes over real bytes.
    Wire,
    /// Four processes that find each other through the files in `fleet/`.
    Four,
}

pub(crate) struct Shop {
    /// The first one is the door.
    processes: Vec<Process>,
    customer: Customer,
    /// Sockets of the fleet; kept until the last process has ended.
    _directory: TempDir,
}

impl Shop {
    pub(crate) fn open(shape: Shape, values: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let processes = match shape {
            Shape::One => vec![Process::shop(&set(values))],
            Shape::Wire => {
                let values = [&[("host.in_process", "wire")], values].concat();
                vec![Process::shop(&set(&values))]
            }
            Shape::Four => fleet(directory.path(), values),
        };
        Self::opened(processes, directory)
    }

    /// As one process that follows this file.
    pub(crate) fn configured(file: &Path) -> Self {
        Self::with(&["--config".to_owned(), file.display().to_string()])
    }

    /// As one process with these arguments.
    pub(crate) fn with(arguments: &[String]) -> Self {
        Self::opened(vec![Process::shop(arguments)], tempfile::tempdir().expect("a directory"))
    }

    fn opened(mut processes: Vec<Process>, directory: TempDir) -> Self {
        for process in &mut processes {
            process.find("readiness", |line| line.contains(r#""body":"ready""#).then_some(()));
        }
        let address =
            processes[0].find("address", |line| line.strip_prefix("The shop is open at ").map(str::to_owned));
        let door = address.strip_prefix("http://").and_then(|door| door.parse().ok()).expect("an address");
        let client = Client::new(Fixed::new().with("shop", [SocketAddr::into(door)]).expect("a name"));
        let customer = Customer { door, client, token: Arc::default() };
        Self { processes, customer, _directory: directory }
    }

    /// Where the admin listener of its first process is.
    pub(crate) fn admin(&mut self) -> String {
        self.processes[0].find("admin listener", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let told = line.get("attributes").filter(|told| told["listener"] == "admin")?;
            Some(told.get("address")?.as_str()?.to_owned())
        })
    }

    /// The commands that it prints.
    pub(crate) fn commands(&mut self) -> Vec<String> {
        let mut commands = Vec::new();
        self.processes[0].find("end of the commands", |line| {
            if let Some(command) = line.strip_prefix("  ") {
                commands.push(command.to_owned());
            }
            (line == "Ctrl-C closes it.").then_some(())
        });
        commands
    }

    /// Ends the payments of a fleet, as a power cut would.
    pub(crate) fn kill_payments(&mut self) {
        self.processes.remove(FLEET.iter().position(|name| *name == "payments").expect("it is one")).kill();
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(self) {
        self.processes.into_iter().for_each(Process::kill);
    }

    /// Sends SIGTERM to every process, as a service manager would.
    pub(crate) fn terminate(&self) {
        self.processes.iter().for_each(Process::terminate);
    }

    /// Waits for the end of every process, and checks that it ends well.
    pub(crate) fn ends_well(self) {
        self.processes.into_iter().for_each(Process::ends_well);
    }

    /// Closes it.
    pub(crate) fn close(self) {
        self.terminate();
        self.ends_well();
    }
}

impl Deref for Shop {
    type Target = Customer;

    fn deref(&self) -> &Customer {
        &self.customer
    }
}

/// Somebody at the door. Outlives the shop.
#[derive(Clone)]
pub(crate) struct Customer {
    /// Where the shop listens.
    pub(crate) door: SocketAddr,
    client: Client,
    token: Arc<OnceCell<String>>,
}

impl Customer {
    /// The token that the customer shows, asked for once.
    pub(crate) async fn token(&self) -> &str {
        let ask = async || token(self.door).await;
        self.token.get_or_init(ask).await
    }

    /// The same, who shows this token.
    pub(crate) fn showing(&self, token: &str) -> Self {
        Self { token: Arc::new(OnceCell::new_with(Some(token.to_owned()))), ..self.clone() }
    }

    /// One request; the status and the JSON of the answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<String>) -> Answer {
        self.call_with(method, path, &[], body).await
    }

    /// With more header fields.
    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let request = self.client.request(method, format!("http://shop{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token().await));
        let request = request.header("content-type", "application/json").body(body.into());
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.expect("an answer");
        let (status, head) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.expect("a body");
        let kind = head.get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
        let kind = kind.unwrap_or_default();
        Answer { status, head, kind, json: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    /// Orders so many of one product.
    pub(crate) async fn order(&self, sku: &str, quantity: u32, token: &str) -> Answer {
        let order =
            serde_json::json!({"items": [{"sku": sku, "quantity": quantity}], "payment_token": token});
        self.call(Method::POST, "/orders", order.to_string()).await
    }

    /// How much is left of a product: over gRPC, through the gateway.
    pub(crate) async fn stock(&self, sku: &str) -> u32 {
        let request = GetStockRequest { skus: vec![sku.to_owned()] };
        let lines = self.inventory().get_stock(request).await.expect("an answer").into_inner().lines;
        lines.iter().map(|line| line.quantity).sum()
    }
}

impl Customer {
    /// The stock, over gRPC.
    pub(crate) fn inventory(&self) -> InventoryClient<mainstay::client::grpc::Channel> {
        InventoryClient::new(self.client.channel("shop"))
    }
}

/// A token of the shop's own identity provider, by client credentials, as the shop prints it.
pub(crate) async fn token(door: SocketAddr) -> String {
    // shopper:shopper-in-development
    let lines = "authorization: Basic c2hvcHBlcjpzaG9wcGVyLWluLWRldmVsb3BtZW50\r\n";
    let form = "application/x-www-form-urlencoded";
    let (status, answer) =
        ask_with(door, "POST", "/identity/token", form, lines, "grant_type=client_credentials")
            .await
            .expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let (_, rest) = answer.split_once(r#""access_token":""#).unwrap_or_else(|| panic!("no token: {answer}"));
    rest.split('"').next().expect("it ends").to_owned()
}

/// The processes of a fleet, by the names of their files; the first one is the door.
const FLEET: [&str; 4] = ["gateway", "inventory", "payments", "orders"];

/// Each process gets its file, with sockets in the place of the ports there.
fn fleet(directory: &Path, values: &[(&str, &str)]) -> Vec<Process> {
    let socket = |name| socket(directory, name);
    let at = |name| format!("[{:?}]", socket(name));
    FLEET
        .into_iter()
        .map(|name| {
            let file = format!("{}/fleet/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let mut arguments = vec!["--config".to_owned(), file];
            if name == "gateway" {
                arguments.extend(set(&[
                    ("services.catalog.address", &socket("catalog")),
                    ("services.identity.address", &socket("identity")),
                ]));
            } else {
                arguments.extend(set(&[("server.address", &socket(name))]));
            }
            for other in ["catalog", "identity", "inventory", "payments", "orders"] {
                arguments.extend(set(&[(&format!("discovery.static.{other}"), &at(other))]));
            }
            arguments.extend(set(values));
            Process::shop(&arguments)
        })
        .collect()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: HeaderMap,
    pub(crate) kind: String,
    pub(crate) json: Value,
}

impl Answer {
    /// Checks that it is a problem document of this status with this detail.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, detail: &str) {
        assert_eq!((self.status, self.kind.as_str()), (status, "application/problem+json"), "{self}");
        assert_eq!(self.json["status"], status, "{self}");
        assert!(self.json["detail"].as_str().unwrap_or("").contains(detail), "{self}");
        assert_eq!(self.json["trace_id"].as_str().map(str::len), Some(32), "{self}");
    }

    /// The fields that a problem calls wrong.
    pub(crate) fn wrong_fields(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|error| error["field"].as_str()).collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.status, self.kind, self.json)
    }
}
