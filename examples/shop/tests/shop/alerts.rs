//! What the shop promises, watched by real Prometheus, promtool and Alertmanager: Debian's, which `cargo xtask test`
//! installs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay::{
    Client,
    axum::{self, Router, http::Method, routing::post},
    discovery::fixed::Fixed,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

use crate::{
    process::Process,
    shop::{Customer, Shop},
};

/// With a receiver of spans that is not there, and an objective of a route that is not there either; with more asked of
/// payments than in the code, which knows its bank, and less of orders, which may be slow on a busy machine.
fn configuration(failure_rate: &str) -> String {
    format!(
        r#"
[app.payments]
failure_rate = {failure_rate}
delay = "1ms"
[app.inventory.stock]
mug = 1000000
[otlp]
endpoint = "http://127.0.0.1:9"
[slo.payments.paying]
objective = 99
method = "PUT"
route = "/payments/{{id}}"
[slo.orders.fast]
objective = 95
latency = "10s"
method = "POST"
route = "/orders"
[slo.orders.typo]
objective = 99
route = "/ordres"
"#
    )
}

/// Alertmanager tells this what it would tell people: severity, alert, service and objective.
#[derive(Clone, Default)]
struct People(Arc<Mutex<BTreeSet<String>>>);

impl People {
    async fn listen(&self) -> (u16, JoinHandle<()>) {
        let told = self.0.clone();
        let take = async move |axum::Json(message): axum::Json<Value>| {
            let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
            let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or("-").to_owned();
            let names = ["severity", "alertname", "service_name", "slo"];
            let firing = alerts.iter().filter(|alert| alert["status"] == "firing");
            told.lock().unwrap().extend(firing.map(|alert| names.map(|name| label(alert, name)).join(" ")));
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new().route("/page", post(take.clone())).route("/ticket", post(take));
        (port, tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
    }

    fn told(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A program that says where it listens, on a port of its own.
fn listening(program: &str, directory: &Path, arguments: &[&str]) -> (Process, String) {
    let mut command = Command::new(program);
    command.current_dir(directory).arg("--web.listen-address=127.0.0.1:0").args(arguments);
    let mut process = Process::start(command);
    let address = process.find("address", |line| {
        let (_, rest) = line.split_once(r#"msg="Listening on" address="#)?;
        rest.split_whitespace().next().map(str::to_owned)
    });
    (process, address)
}

/// Runs a program in `directory` that has to find everything right.
fn passes(program: &str, directory: &Path, arguments: &[&str], input: Option<&Path>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input).unwrap());
    }
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("FAILED"), "{program} {arguments:?}: {said}");
    said
}

/// `mainstay export`: its status, and what it says on standard error.
fn export(what: &str, admin: &str, directory: &Path) -> (Option<i32>, String) {
    let command = Path::new(env!("CARGO_BIN_EXE_shop")).with_file_name("mainstay");
    assert!(command.exists(), "run the tests of the whole workspace, `cargo xtask test`");
    let output = Command::new(command)
        .args(["export", what, admin, "--strict", "--timeout", "1m", "--out"])
        .arg(directory)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Places orders and looks around, until it is aborted. Whoever gets no answer comes back.
fn trade(customer: Customer) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let customer = customer.clone();
            let visit = tokio::spawn(async move {
                customer.order("mug", 1, "tok_visa").await;
                customer.get("/products").await;
                customer.stock("mug").await;
            });
            let _ = visit.await;
            sleep(Duration::from_millis(40)).await;
        }
    })
}

/// Waits for long, since the machine may be busy with other tests, and says what was there instead.
async fn eventually(holds: impl AsyncFn() -> bool, instead: impl AsyncFn() -> String) {
    for _ in 0..480 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(250)).await;
    }
    panic!("{}", instead().await);
}

#[derive(Clone)]
struct Prometheus(Client);

impl Prometheus {
    fn at(address: &str) -> Self {
        let endpoint = format!("http://{address}").parse().unwrap();
        Self(Client::new(Fixed::new().with("prometheus", [endpoint]).unwrap()))
    }

    /// The samples that a query gives now, but for those that are no numbers.
    async fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = self.0.request(Method::POST, "http://prometheus/api/v1/query");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.timeout(Duration::from_secs(60));
        let answer = request.body(format!("query={encoded}")).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        samples.into_iter().filter(|sample| sample["value"][1] != "NaN").collect()
    }

    /// Waits until the query gives something.
    async fn gives(&self, query: &str) {
        eventually(async || !self.query(query).await.is_empty(), async || format!("no data: {query}")).await;
    }
}

/// The queries of the exported page, as Grafana would send them.
fn dashboard_queries(directory: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(directory.join("services.dashboard.json")).unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    let panels = page["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$service", ".+").replace("$__rate_interval", "1m")).collect()
}

fn with_end(directory: &Path, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

fn replace(file: PathBuf, parts: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (part, other) in parts {
        assert!(text.contains(part), "{part} in {}:\n{text}", file.display());
        text = text.replace(part, other);
    }
    std::fs::write(file, text).unwrap();
}

// People trade on while programs are waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_the_shop_is_told_when_payments_fail() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let file = directory.join("shop.toml");
    std::fs::write(&file, configuration("0.0")).unwrap();
    let mut shop = Shop::configured(&file);
    let admin = shop.admin();
    shop.order("mug", 1, "tok_visa").await;
    shop.get("/products").await;
    let trading = trade(Customer::clone(&shop));

    // Exported while people trade, so that everything is measured that ever is.
    let (code, said) = export("alerts", &admin, directory);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(r#"has had no http_route="/ordres""#), "{said}");
    for line in said.lines() {
        assert!(line.contains("/ordres") || line.contains("1 names in files of"), "{said}");
    }
    for what in ["dashboard", "alertmanager"] {
        assert_eq!(export(what, &admin, directory), (Some(0), String::new()), "{what}");
    }

    // What is exported is right, and so is what is measured.
    let (rules, tests) = (with_end(directory, ".rules.yaml"), with_end(directory, ".tests.yaml"));
    assert_eq!(rules.len(), 7, "{rules:?}");
    for (verb, files) in [("check", &rules), ("test", &tests)] {
        let files = files.iter().map(String::as_str);
        passes("promtool", directory, &[verb, "rules"].into_iter().chain(files).collect::<Vec<_>>(), None);
    }
    let scrape = Process::line(&format!("curl --silent --show-error --fail http://{admin}/metrics")).wait();
    assert!(scrape.0.success(), "{}", scrape.1);
    let metrics = directory.join("metrics.txt");
    std::fs::write(&metrics, scrape.1 + "\n").unwrap();
    let said = passes("promtool", directory, &["check", "metrics"], Some(&metrics));
    assert_eq!(said, "", "{said}");

    // Nobody waits until alerts are a group, nor for the five minutes after which budgets are counted again. All else is as
    // exported, so that what would be told to people is.
    let people = People::default();
    let (port, listening_people) = people.listen().await;
    let told_here = format!("127.0.0.1:{port}");
    let waits = [
        ("127.0.0.1:9095", told_here.as_str()),
        ("group_wait: 10s", "group_wait: 0s"),
        ("group_wait: 30s", "group_wait: 0s"),
    ];
    replace(directory.join("alertmanager.yaml"), &waits);
    for rules in ["orders.rules.yaml", "payments.rules.yaml"] {
        replace(directory.join(rules), &[("interval: \"5m\"", "interval: \"1s\"")]);
    }
    passes("amtool", directory, &["check-config", "alertmanager.yaml"], None);
    let arguments =
        ["--config.file=alertmanager.yaml", "--storage.path=alertmanager", "--cluster.listen-address="];
    let (alertmanager, alertmanager_at) = listening("prometheus-alertmanager", directory, &arguments);
    let config = format!(
        r#"
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["*.rules.yaml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager_at}"]}}]}}]}}
scrape_configs: [{{job_name: shop, static_configs: [{{targets: ["{admin}"]}}]}}]
"#
    );
    std::fs::write(directory.join("prometheus.yaml"), config).unwrap();
    passes("promtool", directory, &["check", "config", "prometheus.yaml"], None);
    let arguments = ["--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus"];
    let (mut process, address) = listening("prometheus", directory, &arguments);
    process.find("readiness", |line| line.contains("Server is ready").then_some(()));
    let prometheus = Prometheus::at(&address);

    // All is well: the budgets are counted, and nobody is told of anything.
    let counted = r#"slo:error_ratio:rate1h{service_name="orders",slo="placing"} == 0"#;
    prometheus.gives(counted).await;
    let firing = r#"ALERTS{alertstate="firing",alertname!="TelemetryDropped"}"#;
    assert_eq!(prometheus.query(firing).await, Vec::<Value>::new());

    std::fs::write(&file, configuration("1.0")).unwrap();
    let expected = ["page SloErrorBudgetBurn orders placing", "page SloErrorBudgetBurn payments paying"];
    let are_told = async || expected.iter().all(|alert| people.told().contains(*alert));
    let instead = async || format!("{:?} of {:?}", people.told(), prometheus.query(firing).await);
    eventually(are_told, instead).await;
    let told = people.told();
    // Nobody takes the spans.
    let only =
        ["SloErrorBudgetBurn orders placing", "SloErrorBudgetBurn payments paying", "TelemetryDropped - -"];
    assert!(told.iter().all(|alert| only.iter().any(|part| alert.ends_with(part))), "{told:?}");

    // The page has something to show everywhere; and this would notice where it had not.
    let queries = dashboard_queries(directory);
    assert!(queries.len() > 30, "{queries:?}");
    for query in &queries {
        prometheus.gives(query).await;
    }
    for query in queries.iter().filter(|query| query.contains("_total")) {
        let wrong = query.replace("_total", "_totals");
        assert_eq!(prometheus.query(&wrong).await, Vec::<Value>::new(), "{wrong}");
    }

    trading.abort();
    listening_people.abort();
    for process in [process, alertmanager] {
        process.terminate();
        process.ends_well();
    }
    shop.close();
}
