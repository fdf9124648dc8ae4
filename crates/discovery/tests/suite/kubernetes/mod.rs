//! Kubernetes as a registry, against a stand-in for its API server: no real one can be run by a test.

mod apiserver;
mod world;

use std::{sync::Arc, time::Duration};

use mainstay_core::task::Tasks;
use mainstay_discovery::{Health, Registry, ServiceName, Watch, kubernetes::Config};
use serde_json::json;

use self::apiserver::{ApiServer, endpoint};

/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn connect(server: &ApiServer, scheme: &str) -> (Arc<dyn Registry>, Watch) {
    let registry = registry(server, scheme, &Tasks::new());
    let watch = registry.resolve(&ServiceName::new("orders").unwrap());
    (registry, watch)
}

fn registry(server: &ApiServer, scheme: &str, tasks: &Tasks) -> Arc<dyn Registry> {
    let mut config = Config::default();
    config.server = Some(format!("{scheme}://{}", server.address).parse().unwrap());
    config.namespace = Some("shop".to_owned());
    config.token_file = server.file("token");
    config.ca_file = server.file("ca.crt");
    Arc::new(mainstay_discovery::kubernetes::registry(&config, tasks).unwrap())
}

fn shown(watch: &Watch) -> Vec<String> {
    let health = |health| match health {
        Health::Serving => "",
        Health::Draining => " draining",
        _ => " failing",
    };
    let snapshot = watch.snapshot();
    snapshot.iter().map(|endpoint| format!("{}{}", endpoint.address(), health(endpoint.health()))).collect()
}

async fn until(watch: &Watch, expected: &[&str]) {
    let changed = async {
        let mut seen = watch.version();
        while !watch.is_settled() || shown(watch) != expected {
            seen = watch.changed_since(seen).await;
        }
    };
    assert!(tokio::time::timeout(SOON, changed).await.is_ok(), "{:?}, not {expected:?}", shown(watch));
}

async fn until_true(what: &str, mut is_true: impl FnMut() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{what}");
}

async fn until_failed(registry: &Arc<dyn Registry>, part: &str) {
    let failed = || registry.status().last_error.is_some_and(|error| error.message.contains(part));
    until_true(&format!("{part} is not in {:?}", registry.status()), failed).await;
}

#[tokio::test]
async fn a_stand_in_lists_pages_of_slices_and_its_changes_are_seen() {
    let server = ApiServer::start(true).await;
    server.state().page = 1;
    server.apply(
        "orders-a",
        "IPv4",
        json!([endpoint("10.0.0.1", true, true, false), endpoint("10.0.0.2", false, false, false)]),
    );
    // While pods move between slices one may stand in both: the healthier counts.
    server.apply(
        "orders-b",
        "IPv4",
        json!([endpoint("10.0.0.2", true, true, false), endpoint("10.0.0.3", false, true, true)]),
    );
    server.apply("orders-c", "IPv6", json!([{"addresses": ["fd00::9"], "conditions": {}}]));
    let (registry, orders) = connect(&server, "https");
    until(&orders, &["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080 draining", "[fd00::9]:8080"]).await;
    assert_eq!(orders.snapshot()[0].zone(), Some("north"));
    assert_eq!(server.state().lists, 3, "one a page");
    until_true("a watch", || server.state().watches == 1).await;

    server.apply("orders-b", "IPv4", json!([endpoint("10.0.0.4", false, false, false)]));
    until(&orders, &["10.0.0.1:8080", "10.0.0.2:8080 failing", "10.0.0.4:8080 failing", "[fd00::9]:8080"])
        .await;
    server.delete("orders-c");
    server.delete("orders-b");
    until(&orders, &["10.0.0.1:8080", "10.0.0.2:8080 failing"]).await;
    server.apply("orders-a", "IPv4", json!(null));
    until(&orders, &[]).await;
    assert!(orders.is_settled() && registry.status().is_connected);
    let state = server.state();
    assert!(state.lists == 3 && state.watches == 1, "changes come by the watch alone");
}

#[tokio::test]
async fn a_cut_watch_of_a_stand_in_goes_on_where_it_was_and_a_bookmark_says_where() {
    let server = ApiServer::start(true).await;
    server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
    let (_registry, orders) = connect(&server, "https");
    until(&orders, &["10.0.0.1:8080"]).await;
    for n in 2..6 {
        until_true("a watch", || server.state().watches == n - 1).await;
        server.cut();
        let address = format!("10.0.0.{n}");
        server.apply("orders-a", "IPv4", json!([endpoint(&address, true, true, false)]));
        until(&orders, &[&format!("{address}:8080")]).await;
    }

    // The history before the bookmark goes; who has seen it needs none of it.
    server.bookmark();
    server.apply("orders-b", "IPv4", json!([endpoint("10.0.1.1", true, true, false)]));
    until(&orders, &["10.0.0.5:8080", "10.0.1.1:8080"]).await;
    server.bookmark();
    until_true("the bookmark is on its way", || server.is_told()).await;
    let watches = server.state().watches;
    server.compact();
    server.cut();
    until_true("a watch from the bookmark on", || server.state().watches > watches).await;
    server.apply("orders-b", "IPv4", json!([endpoint("10.0.1.2", true, true, false)]));
    until(&orders, &["10.0.0.5:8080", "10.0.1.2:8080"]).await;
    assert_eq!(server.state().lists, 1, "nothing had to be listed anew");
}

#[tokio::test]
async fn a_stand_in_whose_history_is_gone_is_listed_anew() {
    for by_event in [false, true] {
        let server = ApiServer::start(true).await;
        server.state().refuses_by_event = by_event;
        server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
        server.apply("orders-b", "IPv4", json!([endpoint("10.0.0.2", true, true, false)]));
        let (_registry, orders) = connect(&server, "https");
        until(&orders, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
        until_true("a watch", || server.state().watches == 1).await;

        // While nobody looks: one slice goes, one comes, and the history of that is lost.
        server.state().refuses = Some((503, ""));
        server.cut();
        until_true("the cut is seen", || server.state().authorizations.len() > 3).await;
        server.delete("orders-a");
        server.apply("orders-c", "IPv4", json!([endpoint("10.0.0.3", true, true, false)]));
        server.compact();
        server.state().refuses = None;
        until(&orders, &["10.0.0.2:8080", "10.0.0.3:8080"]).await;
        assert_eq!(server.state().lists, 2, "by event: {by_event}");
    }
}

#[tokio::test]
async fn what_was_known_of_a_stand_in_stays_while_it_refuses_or_talks_nonsense() {
    let server = ApiServer::start(true).await;
    server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
    let (registry, orders) = connect(&server, "https");
    until(&orders, &["10.0.0.1:8080"]).await;

    server.state().refuses = Some((500, ""));
    server.cut();
    until_failed(&registry, "500").await;
    server.state().refuses = Some((429, "retry-after: 1\r\n"));
    until_failed(&registry, "429").await;
    assert_eq!(shown(&orders), ["10.0.0.1:8080"]);
    server.state().refuses = None;
    until_true("it answers again", || registry.status().is_connected).await;

    let endless = vec![b'{'; 9 << 20];
    let error = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is away"}}"#;
    let garbage: [(&[u8], &str); 4] = [
        (b"what?\n", "can't be read"),
        (b"{\"type\":\"ADDED\",\"object\":7}\n", "can't be read"),
        (&[&error[..], b"\n"].concat(), "etcd is away"),
        (&endless, "at once"),
    ];
    for (garbage, part) in garbage {
        server.state().garbage = Some(garbage.to_vec());
        server.cut();
        until_failed(&registry, part).await;
        assert_eq!(shown(&orders), ["10.0.0.1:8080"], "{part}");
    }
    // A slice that can't be read hides no other.
    server.state().garbage =
        Some(b"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"x\"}}}\n".to_vec());
    server.cut();
    server.apply("orders-b", "IPv4", json!([endpoint("10.0.0.2", true, true, false)]));
    until(&orders, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
}

#[tokio::test]
async fn a_rotated_token_is_read_anew_and_never_sent_in_the_clear() {
    let server = ApiServer::start(true).await;
    server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
    let (registry, orders) = connect(&server, "https");
    until(&orders, &["10.0.0.1:8080"]).await;
    server.state().token = "second".into();
    server.cut();
    until_failed(&registry, "401").await;
    std::fs::write(server.file("token"), "second").unwrap();
    server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.2", true, true, false)]));
    until(&orders, &["10.0.0.2:8080"]).await;
    assert_eq!(server.state().authorizations.last().unwrap().as_deref(), Some("second"));

    let plain = ApiServer::start(false).await;
    plain.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
    let (_registry, orders) = connect(&plain, "http");
    until(&orders, &["10.0.0.1:8080"]).await;
    assert!(plain.state().authorizations.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_signed_by_the_authority_is_not_believed() {
    let (server, other) = (ApiServer::start(true).await, ApiServer::start(true).await);
    server.apply("orders-a", "IPv4", json!([endpoint("10.0.0.1", true, true, false)]));
    std::fs::copy(other.file("ca.crt"), server.file("ca.crt")).unwrap();
    let (registry, orders) = connect(&server, "https");
    until_failed(&registry, "certificate").await;
    assert!(!orders.is_settled());
    assert!(server.state().authorizations.is_empty(), "the token was not shown");
}

#[test]
fn outside_of_a_cluster_it_says_what_is_missing() {
    let refused = |config: &Config| {
        mainstay_discovery::kubernetes::registry(config, &Tasks::new()).map(drop).unwrap_err()
    };
    let mut config = Config::default();
    assert!(refused(&config).to_string().contains("discovery.kubernetes.server"));
    config.server = Some("https://10.0.0.1:6443".parse().unwrap());
    assert!(refused(&config).to_string().contains("discovery.kubernetes.namespace"));
}
