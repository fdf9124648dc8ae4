//! Endpoints that are stopped, silent, broken or gone, and the choice among the others.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests own their tasks, and may fail")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use mainstay_client::{
    Client, Config,
    balance::{Key, Policy, check::Check, ejection::Reason, state::State},
    discovery::fixed::Fixed,
};
use mainstay_discovery::{Endpoint, Health, ServiceName, memory};
use support::{LONG, Server, raw::Raw};
use tokio::time::Instant;

/// In turn, so that each endpoint gets its share whatever is known of its load; no retries, so that each loss is seen.
fn in_turn() -> Config {
    let mut config = Config::default();
    config.balance.policy = Policy::RoundRobin;
    config.retry.max_attempts = 1;
    config
}

fn client(config: Config, endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::builder().config(config).build(Fixed::new().with("stock", endpoints).unwrap())
}

/// Answers with its name, and counts.
struct Named {
    server: Server,
    asked: Arc<AtomicUsize>,
}

impl Named {
    async fn start(name: &'static str, status: StatusCode) -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        let answer = move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            (status, name)
        };
        Self { server: Server::start(Router::new().route("/", get(answer))).await, asked }
    }

    async fn well(name: &'static str) -> Self {
        Self::start(name, StatusCode::OK).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// How many of `count` calls that begin together are answered with 200 in `patience`.
async fn answered(client: &Client, count: usize, patience: Duration) -> usize {
    let calls = (0..count).map(|_| async {
        let answer = client.get("http://stock/").timeout(patience).send().await;
        usize::from(answer.is_ok_and(|answer| answer.status() == StatusCode::OK))
    });
    futures_util::future::join_all(calls).await.into_iter().sum()
}

fn state(client: &Client, address: SocketAddr) -> State {
    let targets = client.targets();
    let place = format!("http://{address}");
    targets[0].balance.endpoints.iter().find(|endpoint| endpoint.place == place).unwrap().state
}

/// A server in a process of its own: this program, started again for [`serve_until_told`].
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_until_told", "--nocapture", "--ignored"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.ok()?.split_once("listens on ")?.1.parse().unwrap()));
        Self { child, address: address.unwrap() }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Stops it, and waits until all of its threads have: the kernel tells one, and the others run until that has its turn.
    async fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let since = Instant::now();
        while let Ok(mut tasks) = std::fs::read_dir(&tasks)
            && tasks.any(|task| {
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
                !stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('T'))
            })
        {
            assert!(since.elapsed() < LONG, "not stopped in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "started by other tests as a process of its own"]
fn serve_until_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Ends when the test does, however that ends.
        let _ = std::io::stdin().read(&mut [0]);
        let _ = stop.send(());
    });
    runtime.block_on(async {
        let server = Server::start(Router::new().route("/", get(|| async { "ok" }))).await;
        println!("\nlistens on {}", server.address);
        let _ = stopped.await;
    });
}

/// Of three endpoints one takes connections and answers nothing.
async fn a_silent_one_is_ejected(client: &Client, silent: SocketAddr) {
    // Five in a row that are not answered are what ejects it; fifteen in turn are five for each.
    let good = answered(client, 15, Duration::from_secs(3)).await;
    assert_eq!(good, 10);
    let State::Ejected { reason: Reason::NoAnswer, retry_in_ms } = state(client, silent) else {
        panic!("{:?}", state(client, silent));
    };
    assert!((1..=5000).contains(&retry_in_ms));
    assert_eq!(answered(client, 30, LONG).await, 30, "the others answer all");
}

#[tokio::test]
async fn a_process_that_is_stopped_is_passed_over_and_comes_back() {
    let (first, second, stopped) = (Process::start(), Process::start(), Process::start());
    let mut config = in_turn();
    config.ejection.time = Duration::from_secs(5).into();
    let addresses = [first.address, second.address, stopped.address];
    let client = client(config, addresses.map(Endpoint::from));
    assert_eq!(answered(&client, 6, LONG).await, 6);
    stopped.stop().await;
    a_silent_one_is_ejected(&client, stopped.address).await;

    stopped.signal("-CONT");
    let since = Instant::now();
    while matches!(state(&client, stopped.address), State::Ejected { .. }) {
        assert!(since.elapsed() < LONG, "{:?}", state(&client, stopped.address));
        assert_eq!(answered(&client, 3, LONG).await, 3);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_accepts_and_never_answers_is_passed_over() {
    let (first, second, raw) = (Named::well("first").await, Named::well("second").await, Raw::listen().await);
    let silent = raw.address;
    let client = client(in_turn(), [first.server.endpoint(), second.server.endpoint(), raw.endpoint()]);
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(raw.accept().await);
        }
    });
    a_silent_one_is_ejected(&client, silent).await;
    accepting.abort();
}

#[tokio::test]
async fn an_endpoint_that_answers_500_is_passed_over_and_probed() {
    let (well, broken) =
        (Named::well("well").await, Named::start("broken", StatusCode::INTERNAL_SERVER_ERROR).await);
    let mut config = in_turn();
    config.ejection.time = Duration::from_millis(300).into();
    let client = client(config, [well.server.endpoint(), broken.server.endpoint()]);
    let mut good = 0;
    for _ in 0..10 {
        good += answered(&client, 1, LONG).await;
    }
    assert_eq!((good, broken.asked()), (5, 5), "in turn, until it is ejected");
    let ejected = state(&client, broken.server.address);
    assert!(matches!(ejected, State::Ejected { reason: Reason::Answers, .. }), "{ejected:?}");
    // Probed by one request, then left alone for longer.
    let since = Instant::now();
    while broken.asked() == 5 {
        assert!(since.elapsed() < LONG, "never probed");
        answered(&client, 1, LONG).await;
    }
    assert_eq!(broken.asked(), 6);
    assert!(matches!(state(&client, broken.server.address), State::Ejected { .. }));
    let shown = serde_json::to_value(client.targets()).unwrap();
    let shown = shown[0]["endpoints"].as_array().unwrap();
    assert!(shown.iter().any(|one| one["state"] == "ejected" && one["reason"] == "answers"), "{shown:?}");
}

#[tokio::test]
async fn with_half_of_the_endpoints_gone_no_call_fails() {
    let (first, second) = (Named::well("first").await, Named::well("second").await);
    let gone = [Raw::listen().await.address, Raw::listen().await.address];
    for policy in [Policy::PeakEwma, Policy::LeastRequest, Policy::RoundRobin, Policy::Hash] {
        let mut config = Config::default();
        config.balance.policy = policy;
        let endpoints = gone.map(Endpoint::from);
        let client =
            client(config, endpoints.into_iter().chain([first.server.endpoint(), second.server.endpoint()]));
        let mut good = 0;
        for _ in 0..50 {
            good += answered(&client, 2, LONG).await;
        }
        assert_eq!(good, 100, "{policy:?}");
        let unreachable =
            gone.iter().filter(|gone| matches!(state(&client, **gone), State::Unreachable { .. }));
        assert!(unreachable.count() >= 1, "{policy:?}");
    }
}

#[tokio::test]
async fn all_endpoints_go_and_come_back() {
    let servers = [Named::well("first").await, Named::well("second").await];
    let addresses = [servers[0].server.address, servers[1].server.address];
    let client = client(Config::default(), addresses.map(Endpoint::from));
    assert_eq!(answered(&client, 10, LONG).await, 10);
    for named in servers {
        named.server.drain().await;
    }
    for _ in 0..5 {
        assert_eq!(answered(&client, 4, LONG).await, 0);
    }
    let router = || Router::new().route("/", get(|| async { "ok" }));
    let _back =
        [Server::start_at(addresses[0], router()).await, Server::start_at(addresses[1], router()).await];
    let since = Instant::now();
    while !addresses.iter().all(|one| !matches!(state(&client, *one), State::Unreachable { .. })) {
        assert!(since.elapsed() < LONG, "{:?}", client.targets());
        answered(&client, 4, LONG).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(answered(&client, 20, LONG).await, 20);
}

#[tokio::test]
async fn equal_keys_find_the_same_endpoint_by_header_by_extension_and_by_the_word_of_the_caller() {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        servers.push(Named::well(name).await);
    }
    let mut config = Config::default();
    config.balance.policy = Policy::Hash;
    config.balance.hash_header = Some("x-user".to_owned());
    let client = client(config, servers.iter().map(|named| named.server.endpoint()));
    let mut seen = std::collections::HashSet::new();
    for user in 0..20 {
        let name = format!("user-{user}");
        let by_header = client.get("http://stock/").header("x-user", name.as_str()).send().await.unwrap();
        let by_header = by_header.text().await.unwrap();
        let mut request = axum::http::Request::get("http://stock/").body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(Key::of(&name));
        let by_extension = client.send(request).await.unwrap();
        let by_extension = axum::body::to_bytes(by_extension.into_body(), 10).await.unwrap();
        assert_eq!(by_extension, by_header);
        // What the caller says counts, and not the header.
        let by_key =
            client.get("http://stock/").header("x-user", "all").hash_key(&name).send().await.unwrap();
        assert_eq!(by_key.text().await.unwrap(), by_header);
        seen.insert(by_header);
    }
    assert!(seen.len() > 1, "different users, different endpoints");
}

#[tokio::test]
async fn what_the_registry_says_is_draining_or_failing_gets_no_new_request_while_another_serves() {
    let (going, staying) = (Named::well("going").await, Named::well("staying").await);
    let stock: ServiceName = "stock".parse().unwrap();
    for health in [Health::Draining, Health::Failing] {
        let registry = memory::Registry::new();
        let _stays = registry.register(&stock, staying.server.endpoint());
        let lease = registry.register(&stock, going.server.endpoint());
        let mut config = in_turn();
        // One that comes later gets its share at once.
        config.balance.slow_start = Duration::ZERO.into();
        let client = Client::builder().config(config).build(registry.clone());
        let before = going.asked();
        assert_eq!(answered(&client, 10, LONG).await, 10);
        assert_eq!(going.asked(), before + 5, "in turn");

        // One that is under way when it is said goes on.
        let slow = Raw::listen().await;
        let slow_lease = registry.register(&stock, slow.endpoint());
        let calls = tokio::spawn({
            let client = client.clone();
            async move { answered(&client, 3, LONG).await }
        });
        let mut under_way = slow.accept().await;
        under_way.head().await.unwrap();
        let since = Instant::now();
        while going.asked() < before + 6 {
            assert!(since.elapsed() < LONG, "not asked in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        lease.withdraw().await;
        slow_lease.withdraw().await;
        let _leaving = registry.register(&stock, going.server.endpoint().with_health(health));
        let _slow = registry.register(&stock, slow.endpoint().with_health(health));
        for _ in 0..10 {
            assert_eq!(answered(&client, 4, LONG).await, 4);
        }
        assert_eq!(going.asked(), before + 6, "{health:?}");
        under_way.ok("late").await;
        assert_eq!(calls.await.unwrap(), 3);
    }

    // Where nobody else is left, any is better than none.
    let registry = memory::Registry::new();
    let _leaving = registry.register(&stock, going.server.endpoint().with_health(Health::Draining));
    let client = Client::builder().config(in_turn()).build(registry);
    assert_eq!(answered(&client, 4, LONG).await, 4);
}

#[tokio::test]
async fn health_checks_take_an_endpoint_out_and_bring_it_back() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_ready = ready.clone();
    let check = move || async move {
        if is_ready.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    let router = Router::new().route("/", get(|| async { "checked" })).route("/ready", get(check));
    let (checked, other) = (
        Server::start(router).await,
        Server::start(Router::new().route("/", get(|| async { "other" })).route("/ready", get(|| async {})))
            .await,
    );
    let mut check = Check::default();
    check.path = Some("/ready".to_owned());
    check.interval = Duration::from_millis(20).into();
    check.timeout = LONG.into();
    let mut config = in_turn();
    config.balance.health_check = Some(check);
    let client = client(config, [checked.endpoint(), other.endpoint()]);
    for (is_ready, wanted) in [(true, false), (false, true), (true, false)] {
        ready.store(is_ready, Ordering::SeqCst);
        let since = Instant::now();
        answered(&client, 1, LONG).await;
        while (state(&client, checked.address) == State::Unhealthy) != wanted {
            assert!(since.elapsed() < LONG, "{:?}", client.targets());
            answered(&client, 1, LONG).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if wanted {
            for _ in 0..10 {
                let text = client.get("http://stock/").send().await.unwrap().text().await.unwrap();
                assert_eq!(text, "other");
            }
        }
    }
}

#[tokio::test]
async fn health_checks_ask_over_grpc_and_count_what_has_no_health_service_as_well() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("stock", tonic_health::ServingStatus::Serving).await;
    let router = tonic::service::Routes::new(service).into_axum_router();
    let reporting = Server::start(router.route("/", get(|| async { "reporting" }))).await;
    let plain = tonic::service::Routes::default().into_axum_router();
    let plain = Server::start(plain.route("/", get(|| async { "plain" }))).await;
    let mut check = Check::default();
    check.grpc = Some("stock".to_owned());
    check.interval = Duration::from_millis(20).into();
    check.timeout = LONG.into();
    check.unhealthy_after = 1;
    let mut config = in_turn();
    config.balance.health_check = Some(check);
    let client = client(config, [reporting.endpoint(), plain.endpoint()]);
    for (status, wanted) in
        [(tonic_health::ServingStatus::NotServing, true), (tonic_health::ServingStatus::Serving, false)]
    {
        reporter.set_service_status("stock", status).await;
        let since = Instant::now();
        answered(&client, 1, LONG).await;
        while (state(&client, reporting.address) == State::Unhealthy) != wanted {
            assert!(since.elapsed() < LONG, "{:?}", client.targets());
            answered(&client, 1, LONG).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_ne!(state(&client, plain.address), State::Unhealthy, "UNIMPLEMENTED says nothing");
    }
}
