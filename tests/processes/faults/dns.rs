//! The DNS lies: NSD, with a zone that is wrong, empty or broken, and answers that live for no time.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use mainstay::{
    Client,
    axum::http::Method,
    client::Config,
    discovery::{self, Registry, Resolve as _, registry::Kind},
    task::Tasks,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    CALM,
    daemon::Daemon,
    fleet::{Fleet, Settings, elsewhere, free},
    load::{Load, few},
};
use crate::harness::PATIENCE;

/// How soon the truth is in use again after a lie: a round of questions, and what a busy machine takes more.
const SOON: Duration = Duration::from_secs(2);
/// Three copies, at the same port of `127.0.0.2` and so on.
const TRUTH: &str = "specimen A 127.0.0.2\nspecimen A 127.0.0.3\nspecimen A 127.0.0.4\n";

struct World {
    server: Daemon,
    fleet: Fleet,
    registry: Arc<dyn Registry>,
    client: Client,
    _tasks: Tasks,
}

impl World {
    async fn start() -> Self {
        let mut server = Daemon::new("nsd", |folder, _| {
            ["-d", "-c", &folder.join("nsd.conf").display().to_string()].map(str::to_owned).to_vec()
        });
        configure(server.folder(), server.address());
        write(server.folder(), TRUTH);
        server.start().await;

        let port = free([127, 0, 0, 2].into());
        let addresses = [2, 3, 4].map(|last| elsewhere(port, last)).to_vec();
        let fleet = Fleet::at(addresses, Settings::default()).await;
        let mut config = discovery::Config::default();
        config.registry = Some(Kind::Dns);
        config.dns.name = Some("{service}.internal".parse().unwrap());
        config.dns.servers = vec![server.address().to_string().parse().unwrap()];
        config.dns.port = port.port().try_into().ok();
        config.dns.min_ttl = Duration::from_millis(200).into();
        config.dns.timeout = Duration::from_millis(500).into();
        let tasks = Tasks::new();
        let registry = config.connect(&tasks).await.unwrap().unwrap();
        let client = Client::builder().config(Config::default()).build(registry.clone());
        Self { server, fleet, registry, client, _tasks: tasks }
    }

    /// Waits until the registry says that this is what went wrong.
    async fn until_told(&self, what: &str) {
        let last = || self.registry.status().last_error.map(|error| error.message).unwrap_or_default();
        let wait = async {
            while !last().contains(what) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not {what}: {}", last()));
    }

    /// Replaces the records, and waits until the client has these last parts of addresses.
    async fn say(&self, records: &str, expected: &[u8]) {
        write(self.server.folder(), records);
        self.server.signal("HUP").await;
        let watch = self.registry.resolve(&"specimen".parse().unwrap());
        let port = self.fleet.copies[0].address;
        let expected: Vec<_> = expected.iter().map(|last| elsewhere(port, *last).to_string()).collect();
        let known = || {
            let mut known: Vec<_> =
                watch.snapshot().iter().map(|endpoint| endpoint.address().to_string()).collect();
            known.sort();
            known
        };
        let wait = async {
            let mut seen = watch.version();
            while known() != expected {
                seen = watch.changed_since(seen).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("not {expected:?}: {:?}", known());
        }
    }
}

fn configure(folder: &Path, address: SocketAddr) {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n server-count: 1\n database: \"\"\n \
         zonesdir: \"{zones}\"\n pidfile: \"{pid}\"\n xfrdfile: \"{xfrd}\"\n zonelistfile: \"{list}\"\n \
         logfile: \"{log}\"\nremote-control:\n control-enable: no\nzone:\n name: internal\n zonefile: internal.zone\n",
        port = address.port(),
        zones = folder.display(),
        pid = path("pid"),
        xfrd = path("xfrd"),
        list = path("zones"),
        log = path("log"),
    );
    std::fs::write(folder.join("nsd.conf"), config).unwrap();
}

/// The zone, with records that live for no time.
fn write(folder: &Path, records: &str) {
    let zone = format!(
        "$ORIGIN internal.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\nns A 127.0.0.1\n{records}"
    );
    std::fs::write(folder.join("new"), zone).unwrap();
    std::fs::rename(folder.join("new"), folder.join("internal.zone")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_truths_errors_and_silence_of_the_dns_fail_no_request() {
    let mut world = World::start().await;
    world.say(TRUTH, &[2, 3, 4]).await;
    let load = Load::on(&world.client);
    load.succeed(CALM).await;

    // Addresses where nobody is, beside one that is true.
    let lie = "specimen A 127.0.0.3\nspecimen A 127.0.0.8\nspecimen A 127.0.0.9\n";
    world.say(lie, &[3, 8, 9]).await;
    load.succeed(2 * CALM).await;
    world.say(TRUTH, &[2, 3, 4]).await;

    // No answer at all; then SERVFAIL, for a zone that can't be read.
    world.server.stop("TERM").await;
    sleep(Duration::from_secs(2)).await;
    write(world.server.folder(), "specimen A nonsense\n");
    world.server.start().await;
    world.until_told("Server Failure").await;
    sleep(Duration::from_secs(2)).await;
    load.succeed(CALM).await;
    world.say("specimen A 127.0.0.2\n", &[2]).await;
    load.succeed(CALM).await;

    let report = load.end().await;
    report.check(&world.fleet.books());
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dns_denies_fails_at_once_and_is_called_again_as_soon_as_it_says_so() {
    let world = World::start().await;
    world.say(TRUTH, &[2, 3, 4]).await;
    let load = Load::on(&world.client);
    load.succeed(CALM).await;
    let begun = Instant::now();
    let mut true_again = Instant::now();
    for (lie, known) in [
        // NXDOMAIN.
        ("", &[][..]),
        // The name is there, without an address.
        ("specimen TXT \"nothing\"\n", &[]),
        // All addresses are wrong.
        ("specimen A 127.0.0.8\nspecimen A 127.0.0.9\n", &[8, 9]),
    ] {
        world.say(lie, known).await;
        sleep(Duration::from_millis(500)).await;
        world.say(TRUTH, &[2, 3, 4]).await;
        true_again = Instant::now();
        load.succeed(CALM).await;
    }
    let report = load.end().await;
    report.check(&world.fleet.books());
    let failed = report.failed_between(begun, true_again);
    assert!(!failed.is_empty(), "somebody noticed");
    let slow: Vec<_> = failed.into_iter().filter(|call| call.took() > SOON).collect();
    assert!(slow.is_empty(), "{}", few(&slow));
    let late = report.failed_between(true_again + SOON, Instant::now());
    assert!(late.is_empty(), "{}", few(&late));
    let back = report.first_success_after(true_again).expect("calls succeed again");
    assert!(back < true_again + SOON, "called again only after {:?}", back - true_again);
}
