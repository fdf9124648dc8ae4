//! Packets that are dropped: an endpoint in a network namespace, at the other end of a pair of virtual cables.
//!
//! Needs root. Where namespaces can't be made the test says so and ends; the black hole in front of a listener
//! (`endpoints.rs`) needs nothing.

use std::{net::Ipv4Addr, process::Output, time::Duration};

use mainstay::axum::http::Method;
use tokio::{process::Command, time::sleep};

use super::{
    ATTEMPT, CALM, MANY,
    daemon::find,
    fleet::{Fleet, Settings, client},
    load::Load,
    sturdy,
};

/// Removed when dropped.
struct Namespace {
    name: String,
    /// The ends of the cable: in this namespace, in the other one.
    cables: [String; 2],
    there: Ipv4Addr,
}

impl Namespace {
    /// `None` where this process may not.
    async fn make() -> Option<Self> {
        let id = std::process::id();
        let name = format!("faults-{id}");
        let added = ip(&format!("netns add {name}")).await;
        if !added.status.success() {
            println!("no network namespaces here: {}", String::from_utf8_lossy(&added.stderr));
            return None;
        }
        // Four addresses of those that are kept for such tests (RFC 2544).
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + id % 16_384 * 4;
        let [here, there] = [network + 1, network + 2].map(Ipv4Addr::from);
        let cables = ["a", "b"].map(|end| format!("ms{id}{end}"));
        let made = Self { name, cables, there };
        let Self { name, cables: [near, far], .. } = &made;
        for command in [
            format!("link add {near} type veth peer name {far} netns {name}"),
            format!("address add {here}/30 dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} address add {there}/30 dev {far}"),
            format!("-n {name} link set {far} up"),
        ] {
            let done = ip(&command).await;
            assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Some(made)
    }

    /// What is sent either way is dropped, and nobody is told.
    async fn drop_packets(&self) {
        let Self { name, cables: [near, far], .. } = self;
        tc(&format!("qdisc replace dev {near} root blackhole")).await;
        tc(&format!("-n {name} qdisc replace dev {far} root blackhole")).await;
    }

    async fn heal(&self) {
        let Self { name, cables: [near, far], .. } = self;
        tc(&format!("qdisc delete dev {near} root")).await;
        tc(&format!("-n {name} qdisc delete dev {far} root")).await;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cables go with it.
        let _ = std::process::Command::new(find("ip")).args(["netns", "delete", &self.name]).status();
    }
}

async fn ip(arguments: &str) -> Output {
    Command::new(find("ip")).args(arguments.split(' ')).output().await.unwrap()
}

async fn tc(arguments: &str) {
    let output = Command::new(find("tc")).args(arguments.split(' ')).output().await.unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_packets_cost_reads_an_attempt_at_most() {
    let Some(namespace) = Namespace::make().await else { return };
    let ip = find("ip").display().to_string();
    let starter = [&ip, "netns", "exec", &namespace.name].map(str::to_owned).to_vec();
    let set = vec![format!("admin.address={}:0", namespace.there)];
    let settings = Settings { set, starter, ..Settings::default() };
    let there = Fleet::at(vec![(namespace.there, 8080).into()], settings).await;
    let here = Fleet::start(2).await;
    let endpoints = there.copies.iter().chain(&here.copies).map(|copy| copy.address.into());
    let client = client(sturdy(), endpoints);
    let load = Load::on(&client);
    load.succeed(CALM).await;
    there.until_asked(0).await;
    namespace.drop_packets().await;
    load.succeed(MANY).await;
    sleep(Duration::from_secs(3)).await;
    namespace.heal().await;
    there.until_asked(0).await;
    let report = load.end().await;
    report.check(&here.books().and(there.books()));
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 12);
    assert!(report.longest(&Method::GET) < 3 * ATTEMPT, "{:?}", report.longest(&Method::GET));
}
