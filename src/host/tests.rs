use std::{net::TcpListener, sync::Arc};

use axum::{Router, routing::get};
use mainstay_core::{
    config::{Loader, Section},
    error::Report,
    lifecycle::Exit,
};
use serde::{Deserialize, Serialize};

use super::*;
use crate::ServiceContext;

/// Nothing of this machine's, in a profile that is strict; for everybody.
fn host() -> Host {
    let host = bare();
    if cfg!(feature = "auth") { host.set("auth.required=false") } else { host }
}

/// The same, and nothing was said of who may come.
pub(super) fn bare() -> Host {
    Host::new().load_with(|_| {
        Loader::new()
            .directory("/nonexistent")
            .set("server.address=127.0.0.1:0")
            .set("admin.address=127.0.0.1:0")
    })
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    password: String,
}

impl Section for Ledger {}

fn ledger(config: Arc<Ledger>, context: &ServiceContext) -> Result<Service> {
    let routes = Router::new().route("/", get(async move || config.password.len().to_string()));
    Ok(context.service().http(routes))
}

pub(super) async fn refused(host: Host) -> (String, Exit) {
    let error = host.start().await.unwrap_err();
    (Report::new(&error).to_string(), error.exit())
}

#[tokio::test]
async fn a_service_that_runs_elsewhere_needs_no_configuration_here() {
    let both = || host().service(Service::new("front")).service(Service::configured("ledger", ledger));
    let (text, exit) = refused(both()).await;
    assert!(text.contains("app.ledger.password: missing"), "{text}");
    assert_eq!(exit, Exit::Configuration);

    both().set("host.services=front").start().await.unwrap().stop().await.unwrap();
    // Its table may be there all the same: the processes of a fleet share their file.
    let running = both().set("host.services=front").set("app.ledger.password=hunter2").start().await;
    running.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn every_service_that_there_is_not_is_named_with_what_set_it() {
    let host = host().service(Service::new("front"));
    let host = host.set("host.services=front,ledgre").set("services.pay.address=127.0.0.1:0");
    // With everything else that is wrong.
    let host = host.set("request.max_timeout=1s");
    let (text, exit) = refused(host).await;
    let parts = [
        "3 errors",
        "host.services[1]: wrong value",
        "\"ledgre\"",
        "services.pay: wrong value",
        "request.default_timeout: wrong value",
        "set by:   --set on the command line",
        "expected: a service of this program: front",
    ];
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert_eq!(exit, Exit::Configuration);
    let (text, _) = refused(self::host().service(Service::new("front")).set("host.services=[]")).await;
    assert!(text.contains("host.services: wrong value"), "{text}");
}

#[tokio::test]
async fn a_service_may_have_the_name_of_a_part_of_the_host() {
    let names = ["main", "admin", "logs", "configuration"];
    let all = names.iter().fold(host(), |host, name| {
        host.service(Service::new(*name)).set(format!("services.{name}.address=127.0.0.1:0"))
    });
    all.start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn calls_are_made_as_the_file_says_also_when_it_changes() {
    let directory = std::env::temp_dir().join(format!("mainstay-calls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("mainstay.toml");
    std::fs::write(&file, "[client]\ntimeout = \"3s\"\n").unwrap();
    let load = {
        let directory = directory.clone();
        move |_: Loader| Loader::new().directory(&directory).set("server.address=127.0.0.1:0")
    };
    let host = host().load_with(load).set("admin.enabled=false").service(Service::new("front"));
    let host = if cfg!(feature = "auth") { host.set("auth.required=false") } else { host };
    let running = host.start().await.unwrap();
    let stock = "stock".parse().unwrap();
    let timeout = || running.client().config().for_service(&stock).timeout.as_secs();
    assert_eq!(timeout(), 3);
    running.client().get("http://front/").send().await.unwrap();
    assert_eq!(running.client().targets()[0].balance.service.as_str(), "front");
    std::fs::write(&file, "[client]\ntimeout = \"3s\"\nservices.stock.timeout = \"7s\"\n").unwrap();
    let changed = async {
        while timeout() != 7 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(30), changed).await;
    running.stop().await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    in_time.unwrap();
}

#[tokio::test]
async fn a_name_that_is_none_or_there_twice_is_refused_and_no_panic() {
    let (text, exit) = refused(host().service(Service::configured("Ledger Service", ledger))).await;
    assert!(text.starts_with("`Ledger Service` can't be the name of a service"), "{text}");
    assert_eq!(exit, Exit::Configuration);
    let (text, _) = refused(host().service(Service::new("a")).service(Service::new("a"))).await;
    assert_eq!(text, "two services are named `a`");
}

#[tokio::test]
async fn a_service_that_can_not_be_made_is_named_with_the_cause() {
    let service = Service::from_fn("front", |_| Err(std::io::Error::other("no such key").into()));
    let (text, exit) = refused(host().service(service)).await;
    assert_eq!(text, "the service `front` can't be made: no such key");
    assert_eq!(exit, Exit::Failure);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_own_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (key, component) in
        [("server.address", "main"), ("admin.address", "admin"), ("services.b.address", "listener:b")]
    {
        let host = host().service(Service::new("a")).service(Service::new("b"));
        let (text, _) = refused(host.set(format!("{key}={address}"))).await;
        let expected = format!(
            "component `{component}` did not start: it failed: can't listen on {address} ({key}): address already in use"
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn only_a_developer_has_no_delay_unless_one_is_set() {
    let delay = |host: Host| host.service(Service::new("a")).load().unwrap().get::<Settings>("").drain.delay;
    let profile = |name: &'static str| host().load_with(move |loader| loader.profile(name));
    assert_eq!(delay(profile("production")).as_secs(), 3);
    assert_eq!(delay(profile("dev")).as_secs(), 0);
    assert_eq!(delay(profile("dev").set("drain.delay=1s")).as_secs(), 1);
}

#[tokio::test]
async fn a_process_has_the_name_that_it_was_given_if_that_is_one() {
    let named = |name: &str| host().service(Service::new("front")).set(format!("host.instance={name}"));
    let (text, exit) = refused(named(&"x".repeat(129))).await;
    assert!(text.contains("host.instance: wrong value"), "{text}");
    assert_eq!(exit, Exit::Configuration);
    named("front-7").start().await.unwrap().stop().await.unwrap();
}

/// Calls within a process, as functions and over real bytes.
#[allow(clippy::disallowed_methods, reason = "tests own their tasks")]
mod in_process {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use axum::{body::Body, extract::Request};
    use mainstay_client::Client;
    use tokio::sync::{Notify, mpsc};

    use super::*;

    fn both(back: &Router) -> [Host; 2] {
        ["call", "wire"].map(|mode| {
            let front = Service::new("front");
            let back = Service::new("back").http(back.clone());
            host().service(front).service(back).set(format!("host.in_process={mode}")).set("drain.delay=0s")
        })
    }

    #[tokio::test]
    async fn only_over_the_wire_do_the_server_and_its_bounds_stand_between() {
        let back = Router::new().route("/", axum::routing::post(async |body: Body| body));
        let mut seen = Vec::new();
        for host in both(&back) {
            let host = host.set("server.bounds.max_header_bytes=16KiB");
            let running = host.start().await.unwrap();
            let send = async |name: usize| {
                let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("one "), Ok("two")]);
                let request = Request::post("http://back/").header("long", "x".repeat(name));
                let answer =
                    running.client().send(request.body(Body::from_stream(parts)).unwrap()).await.unwrap();
                let status = answer.status().as_u16();
                // RFC 9110 section 6.6.1: an origin server with a clock sends it. A function has no need to.
                let is_dated = answer.headers().contains_key("date");
                let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
                (status, is_dated, body)
            };
            let (status, is_dated, body) = send(1).await;
            assert_eq!((status, &body[..]), (200, &b"one two"[..]));
            let places = running.client().targets();
            let place = serde_json::to_value(&places).unwrap().to_string();
            seen.push((is_dated, send(20 * 1024).await.0, place.contains("in-process")));
            running.stop().await.unwrap();
        }
        assert_eq!(seen, [(false, 200, true), (true, 431, false)]);
    }

    #[tokio::test]
    async fn giving_up_reaches_the_callee_either_way() {
        struct Dropped(mpsc::UnboundedSender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let (dropped, mut is_dropped) = mpsc::unbounded_channel();
        let never = move || {
            let _ = begun.send(());
            let dropped = Dropped(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(dropped);
            }
        };
        for host in both(&Router::new().route("/", get(never))) {
            let running = host.start().await.unwrap();
            let client = running.client().clone();
            let call = tokio::time::timeout(Duration::from_secs(30), async {
                tokio::select! {
                    _ = client.get("http://back/").send() => panic!("there is no answer"),
                    begun = has_begun.recv() => begun.unwrap(),
                }
            });
            call.await.unwrap();
            let dropped = tokio::time::timeout(Duration::from_secs(30), is_dropped.recv()).await;
            dropped.unwrap().unwrap();
            running.stop().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_request_in_flight_still_reaches_the_others_while_the_process_drains() {
        for mode in ["call", "wire"] {
            let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let calls = Arc::new(AtomicUsize::new(0));
            let handler = {
                let (begun, go) = (begun.clone(), go.clone());
                move |client: Client| {
                    let (begun, go) = (begun.clone(), go.clone());
                    async move {
                        begun.notify_one();
                        go.notified().await;
                        client.get("http://back/").send().await.unwrap().text().await.unwrap()
                    }
                }
            };
            let back = {
                let calls = calls.clone();
                async move || calls.fetch_add(1, Ordering::Relaxed).to_string()
            };
            let front = Service::new("front").http(Router::new().route("/", get(handler)));
            let back = Service::new("back").http(Router::new().route("/", get(back)));
            let host = host().service(front).service(back).set(format!("host.in_process={mode}"));
            let running = host.set("drain.delay=0s").start().await.unwrap();
            let door = mainstay_discovery::fixed::Fixed::new();
            let door = Client::new(door.with("door", [running.address().unwrap().into()]).unwrap());
            let request =
                tokio::spawn(async move { door.get("http://door/").send().await.unwrap().text().await });
            begun.notified().await;
            let stopping = tokio::spawn(running.stop());
            // Long past the announcement: the main listener has closed.
            tokio::time::sleep(Duration::from_millis(300)).await;
            go.notify_one();
            assert_eq!(request.await.unwrap().unwrap(), "0");
            stopping.await.unwrap().unwrap();
        }
    }
}

/// Tests of services, beside each other.
#[cfg(feature = "telemetry")]
mod captured {
    use mainstay_client::Client;
    use mainstay_telemetry::test::Capture;

    use super::*;

    async fn one_of_two(name: &'static str) {
        let telemetry = Capture::start();
        let begun = telemetry.lines().len();
        let routes = Router::new().route(
            "/orders/{id}",
            get(async move || {
                let tasks = mainstay_core::task::Tasks::new();
                let spawned = tasks.spawn(async move { tracing::info!(name, "spawned") });
                let blocking = tasks.spawn_blocking(move || tracing::info!(name, "blocking"));
                spawned.await.unwrap();
                blocking.await.unwrap();
                name
            }),
        );
        let component = mainstay_core::lifecycle::component("stock", move |context| async move {
            tracing::info!(name, "starting");
            context.tasks().spawn(async move { tracing::info!(name, "running") });
            Ok(())
        });
        let service = Service::new("orders").http(routes).component(component);
        let host = host().service(service).set("drain.delay=0s").captured_by(&telemetry);
        let running = host.start().await.unwrap();
        let door = mainstay_discovery::fixed::Fixed::new();
        let door = Client::new(door.with("door", [running.address().unwrap().into()]).unwrap());
        assert_eq!(door.get("http://door/orders/7").send().await.unwrap().text().await.unwrap(), name);
        running.stop().await.unwrap();

        let request = telemetry.span("GET /orders/{id}");
        for body in ["starting", "running", "spawned", "blocking"] {
            let line = telemetry.line(body);
            assert_eq!(line["attributes"]["name"], name);
            if body != "starting" && body != "running" {
                assert_eq!(line["trace_id"], request.trace.trace_id().to_string());
            }
        }
        assert_eq!(telemetry.metric("http.server.request.duration", &[("http.route", "/orders/{id}")]), 1.0);
        assert_eq!((begun, telemetry.line("stopped")["severity_text"].as_str()), (0, Some("INFO")));
    }

    #[test]
    fn each_sees_what_its_own_services_do() {
        let run = |name| {
            std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                runtime.worker_threads(2).enable_all().build().unwrap().block_on(one_of_two(name));
            })
        };
        let running = [run("one"), run("two")];
        running.into_iter().for_each(|test| test.join().unwrap());
    }
}

#[cfg(feature = "gossip")]
mod gossip {
    use std::time::Duration;

    use mainstay_client::Client;
    use mainstay_discovery::gossip;

    use super::*;

    /// A port for datagrams that nobody else is given: the process that holds it is the seed.
    async fn seed() -> (gossip::Gossip, String) {
        let mut config = gossip::Config::default();
        config.address = "127.0.0.1:0".parse().unwrap();
        config.seeds.clear();
        let gossip = gossip::Gossip::start(&config, &mainstay_core::task::Tasks::new()).await.unwrap();
        let address = gossip.address().to_string();
        (gossip, address)
    }

    fn part(seed: &str, runs: &str) -> Host {
        let front = Service::new("front").http(Router::new().route(
            "/",
            get(async |client: Client| -> Result<String> {
                Ok(client.get("http://back/").send().await?.text().await?)
            }),
        ));
        let back = Service::new("back").http(Router::new().route("/", get(async || "from the back")));
        host()
            .service(front)
            .service(back)
            .set(format!("host.services={runs}"))
            .set("discovery.registry=gossip")
            .set("discovery.gossip.address=127.0.0.1:0")
            .set(format!("discovery.gossip.seeds={seed}"))
            .set("drain.delay=0s")
    }

    async fn json(address: std::net::SocketAddr, path: &str) -> serde_json::Value {
        let admin = mainstay_discovery::fixed::Fixed::new().with("admin", [address.into()]).unwrap();
        let text =
            Client::new(admin).get(format!("http://admin{path}")).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn services_of_two_processes_find_each_other_and_are_withdrawn_when_one_stops() {
        let (watching, seed) = seed().await;
        let back = part(&seed, "back").start().await.unwrap();
        let front = part(&seed, "front").set("discovery.zone=north").start().await.unwrap();
        let text = async || front.client().get("http://front/").send().await.unwrap().text().await.unwrap();
        assert_eq!(text().await, "from the back");

        let page = json(front.admin_address().unwrap(), "/discovery").await;
        assert_eq!(page["registry"]["registry"], "gossip", "{page}");
        assert_eq!(page["registry"]["registered"][0]["is_established"], true, "{page}");
        let place = format!("http://{}", back.address().unwrap());
        assert_eq!(page["services"]["back"][0]["place"], place, "{page}");
        assert_eq!(page["services"]["front"][0]["place"], "in-process", "{page}");
        let called = page["called"].as_array().unwrap();
        assert!(called.iter().any(|target| target["service"] == "back"), "{page}");

        use mainstay_discovery::Resolve as _;
        let fronts = watching.resolve(&"front".parse().unwrap());
        assert_eq!(fronts.snapshot()[0].zone(), Some("north"));
        front.stop().await.unwrap();
        let gone = async {
            let mut seen = fronts.version();
            while !fronts.snapshot().is_empty() {
                seen = fronts.changed_since(seen).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
        back.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_advertised_can_be_said() {
        let (watching, seed) = seed().await;
        let back = part(&seed, "front,back")
            .set("server.address=0.0.0.0:0")
            .set("services.back.address=127.0.0.1:0")
            .set("services.back.advertise=h2c://localhost:7");
        let running = back.start().await.unwrap();
        use mainstay_discovery::Resolve as _;
        let place = |name: &str| {
            let snapshot = watching.resolve(&name.parse().unwrap()).snapshot();
            snapshot[0].place().to_string()
        };
        assert_eq!(place("back"), "h2c://localhost:7");
        // Bound to the wildcard: where gossip has been found on this host, the service is too.
        assert_eq!(place("front"), format!("http://127.0.0.1:{}", running.address().unwrap().port()));
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_service_that_others_could_not_reach_is_refused_by_name() {
        let key = "k".repeat(32);
        let far = part("10.0.0.7:7649", "back")
            .set(format!("discovery.gossip.key={key}"))
            .set("discovery.gossip.advertise=10.0.0.8:7649");
        let (text, _) = refused(far).await;
        assert!(text.contains("`back`") && text.contains("this host only"), "{text}");
    }
}
