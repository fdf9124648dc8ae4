//! Real sockets on loopback addresses.

use super::*;
use crate::{Health, Registry as _};

const ANY: &str = "127.0.0.1:0";
/// Far more than anything here takes; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(seeds: &[SocketAddr]) -> Config {
    Config {
        address: ANY.parse().unwrap(),
        seeds: seeds.iter().map(|seed| Seed::from(*seed)).collect(),
        interval: mainstay_core::config::Duration::from_millis(50),
        ..Config::default()
    }
}

async fn start(config: &Config) -> Gossip {
    Gossip::start(config, &Tasks::new()).await.unwrap()
}

fn name(name: &str) -> ServiceName {
    name.parse().unwrap()
}

async fn until(watch: &Watch, wanted: impl Fn(&[Endpoint]) -> bool) {
    let reached = async {
        let mut seen = watch.version();
        while !wanted(&watch.snapshot()) {
            seen = watch.changed_since(seen).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("still {watch:?}"));
}

fn lists(places: &[&str]) -> impl Fn(&[Endpoint]) -> bool {
    let places: Vec<String> = places.iter().map(|place| (*place).to_owned()).collect();
    move |endpoints| {
        let mut listed: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address().to_string()).collect();
        listed.sort();
        listed == places && endpoints.iter().all(|endpoint| endpoint.health() == Health::Serving)
    }
}

#[tokio::test]
async fn what_one_registers_the_others_resolve_until_it_withdraws() {
    let first = start(&config(&[])).await;
    let second = start(&config(&[first.address()])).await;
    let third = start(&config(&[first.address()])).await;
    let watches = [&first, &second, &third].map(|node| node.resolve(&name("orders")));
    for watch in &watches {
        tokio::time::timeout(PATIENCE, watch.settled()).await.unwrap();
    }

    let one = second.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap();
    let two = third.register(&name("orders"), Endpoint::tcp("127.0.0.1", 2).with_zone("a")).unwrap();
    for watch in &watches {
        until(watch, lists(&["127.0.0.1:1", "127.0.0.1:2"])).await;
    }
    tokio::time::timeout(PATIENCE, one.established()).await.unwrap();
    assert_eq!(first.known(), [name("orders")]);

    one.withdraw().await;
    for watch in &watches {
        until(watch, lists(&["127.0.0.1:2"])).await;
    }
    third.leave().await;
    drop(two);
    for watch in &watches {
        until(watch, lists(&[])).await;
    }
    let status = first.status();
    assert!(status.processes.iter().any(|process| process.state == "left"), "{status:?}");
}

#[tokio::test]
async fn dropping_the_last_handle_says_goodbye() {
    let first = start(&config(&[])).await;
    let second = start(&config(&[first.address()])).await;
    let watch = first.resolve(&name("orders"));
    second.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap().keep();
    until(&watch, lists(&["127.0.0.1:1"])).await;
    drop(second);
    until(&watch, lists(&[])).await;
}

#[tokio::test]
async fn other_keys_and_other_clusters_are_not_heard() {
    let (key, other) = ("k".repeat(32), "o".repeat(32));
    let with = |cluster: &str, key: &str, seeds: &[SocketAddr]| Config {
        cluster: cluster.to_owned(),
        key: Some(key.into()),
        ..config(seeds)
    };
    let first = start(&with("shop", &key, &[])).await;
    let at = [first.address()];
    let strangers = [
        start(&with("shop", &other, &at)).await,
        start(&with("bank", &key, &at)).await,
        start(&config(&at)).await,
    ];
    let rotated = start(&with("shop", &format!("{key}\n{other}"), &at)).await;
    let watch = first.resolve(&name("orders"));
    let mut leases = Vec::new();
    for stranger in &strangers {
        leases.push(stranger.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap());
    }
    leases.push(rotated.register(&name("orders"), Endpoint::tcp("127.0.0.1", 2)).unwrap());
    until(&watch, lists(&["127.0.0.1:2"])).await;
    // They keep trying, and keep being dropped.
    let foreign = async {
        while first.stats().foreign < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, foreign).await.unwrap();
    assert!(lists(&["127.0.0.1:2"])(&watch.snapshot()));
}

#[tokio::test]
async fn garbage_is_counted_and_dropped() {
    let first = start(&config(&[])).await;
    let socket = tokio::net::UdpSocket::bind(ANY).await.unwrap();
    for length in [0, 1, 30, 41, 200, 1232, 1233, 9000] {
        for version in [0, 1] {
            socket.send_to(&vec![version; length], first.address()).await.unwrap();
        }
    }
    let counted = async {
        loop {
            let stats = first.stats();
            if stats.oversized + stats.malformed + stats.foreign >= 16 {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let stats = tokio::time::timeout(PATIENCE, counted).await.unwrap();
    assert!(stats.oversized >= 4 && stats.malformed >= 8 && stats.foreign >= 3, "{stats:?}");
    // And it works as before.
    let second = start(&config(&[first.address()])).await;
    let _lease = second.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap();
    until(&first.resolve(&name("orders")), lists(&["127.0.0.1:1"])).await;
}

#[tokio::test]
async fn a_port_that_another_process_of_this_host_has_is_no_error() {
    let first = start(&config(&[])).await;
    let taken = Config { address: first.address(), ..config(&[first.address()]) };
    let second = start(&taken).await;
    assert_ne!(first.address(), second.address());
    let _lease = second.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap();
    until(&first.resolve(&name("orders")), lists(&["127.0.0.1:1"])).await;
}

#[tokio::test]
async fn what_others_can_not_reach_is_refused() {
    let here = start(&config(&[])).await;
    let reason = |endpoint: Endpoint| here.register(&name("a"), endpoint).unwrap_err().reason;
    assert_eq!(reason(Endpoint::in_process()), "other processes can't reach it");
    assert_eq!(reason(Endpoint::tcp("0.0.0.0", 1)), "nobody can connect to the wildcard address");
    assert!(reason(Endpoint::tcp("a", 1).with_metadata("k", "v".repeat(2000))).contains("1000 bytes"));
    assert!(here.register(&name("a"), Endpoint::unix("/run/a.sock")).is_ok());

    let key = Some("k".repeat(32).into());
    let far = Config { advertise: Some("10.0.0.7:7649".parse().unwrap()), key, ..config(&[]) };
    let far = start(&far).await;
    for endpoint in [Endpoint::unix("/run/a.sock"), Endpoint::tcp("127.0.0.1", 1), Endpoint::tcp("::1", 1)] {
        let reason = far.register(&name("a"), endpoint).unwrap_err().reason;
        assert!(reason.contains("this host only"), "{reason}");
    }
    assert!(far.register(&name("a"), Endpoint::tcp("10.0.0.7", 1)).is_ok());
}

#[tokio::test]
async fn who_is_alone_knows_what_it_registered() {
    let alone = start(&config(&[])).await;
    let watch = alone.resolve(&name("orders"));
    assert!(watch.is_settled() && watch.snapshot().is_empty());
    let lease = alone.register(&name("orders"), Endpoint::tcp("127.0.0.1", 1)).unwrap();
    assert!(lease.is_established());
    assert!(lists(&["127.0.0.1:1"])(&watch.snapshot()));
    tokio::time::timeout(PATIENCE, lease.withdraw()).await.unwrap();
    assert!(watch.snapshot().is_empty());
    for number in 0..100 {
        let _ = alone.resolve(&name(&format!("n{number}")));
    }
    assert!(alone.shared.with(|inner| inner.followed.len()) <= 2, "names that nobody follows take no room");
}
