//! The promises, one function each.
#![cfg_attr(
    not(any(feature = "etcd", feature = "nats", feature = "redis")),
    allow(dead_code, reason = "each feature brings a world with a server")
)]

use std::time::Duration;

use mainstay_discovery::{Endpoint, Health, Protocol};
use tokio::time::{sleep, timeout};

use crate::world::{PATIENCE, Served, Vigil, World, endpoint, hosts, name, until, until_hosts, within};

pub(crate) async fn what_is_registered_is_seen(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let said = Endpoint::tcp("10.0.0.7", 8443)
        .with_tls(true)
        .with_protocol(Protocol::Http2)
        .with_weight(7)
        .with_zone("north")
        .with_health(Health::Draining)
        .with_metadata("build", "a \"quoted\" ü");
    let lease = one.registry.register(&name("orders"), said.clone()).unwrap();
    within("being registered", lease.established()).await;
    let watch = other.registry.resolve(&name("orders"));
    within("settling", watch.settled()).await;
    until(&watch, "the endpoint", |watch| !watch.snapshot().is_empty()).await;
    assert_eq!(*watch.snapshot(), [said]);
    let own = one.registry.resolve(&name("orders"));
    until(&own, "the own endpoint", |watch| !watch.snapshot().is_empty()).await;
    let status = one.registry.status();
    assert!(status.is_connected, "{status:?}");
    assert!(status.registered.iter().any(|registered| registered.is_established), "{status:?}");
    // It stays, although time passes.
    sleep(world.ttl() * 2).await;
    assert_eq!(watch.snapshot().len(), 1);
}

pub(crate) async fn what_is_withdrawn_is_gone(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    within("withdrawing", lease.withdraw()).await;
    until_hosts(&watch, &[]).await;
    let dropped = one.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["b"]).await;
    drop(dropped);
    until_hosts(&watch, &[]).await;
    // Also one that was never waited for.
    drop(one.registry.register(&name("orders"), endpoint("c")).unwrap());
    sleep(world.ttl() / 2).await;
    assert!(hosts(&watch).is_empty());
}

pub(crate) async fn copies_come_and_go_one_by_one(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let first = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    let second = other.registry.register(&name("orders"), endpoint("b")).unwrap();
    let _stranger = one.registry.register(&name("stock"), endpoint("c")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    let vigil = Vigil::over(&watch, &["b"]);
    within("withdrawing", first.withdraw()).await;
    until_hosts(&watch, &["b"]).await;
    vigil.end().await;
    within("withdrawing", second.withdraw()).await;
    until_hosts(&watch, &[]).await;
}

pub(crate) async fn a_copy_can_change_what_is_said_of_it_without_a_gap(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let old = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    // Registrations tell the time in milliseconds.
    sleep(Duration::from_millis(5)).await;
    let changed = endpoint("a").with_weight(5).with_metadata("build", "8");
    let _new = one.registry.register(&name("orders"), changed.clone()).unwrap();
    until(&watch, "the change", |watch| watch.snapshot().contains(&changed)).await;
    within("withdrawing", old.withdraw()).await;
    until(&watch, "the change alone", |watch| *watch.snapshot() == [changed.clone()]).await;
    vigil.end().await;
}

pub(crate) async fn a_name_that_nobody_has_is_settled_and_empty(world: &impl World) {
    let process = world.process().await;
    let watch = process.registry.resolve(&name("nobody"));
    within("settling", watch.settled()).await;
    assert!(watch.snapshot().is_empty());
}

pub(crate) async fn known_names_are_told(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let _orders = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    let _orders_too = one.registry.register(&name("orders"), endpoint("b")).unwrap();
    let _stock = one.registry.register(&name("stock"), endpoint("a")).unwrap();
    within("knowing", async {
        while other.registry.known() != [name("orders"), name("stock")] {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

pub(crate) async fn a_watch_that_came_first_sees_what_comes_later(world: &impl World) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    within("settling", watch.settled()).await;
    assert!(watch.snapshot().is_empty());
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
}

pub(crate) async fn thousands_of_endpoints_are_listed(world: &impl World) {
    const COUNT: usize = 2000;
    let (one, other) = (world.calm_process().await, world.calm_process().await);
    let watch = other.registry.resolve(&name("orders"));
    let register =
        |number| one.registry.register(&name("orders"), endpoint(&format!("host-{number}"))).unwrap();
    let leases: Vec<_> = (0..COUNT).map(register).collect();
    until(&watch, "all of them", |watch| watch.snapshot().len() == COUNT).await;
    let late = world.calm_process().await;
    let late = late.registry.resolve(&name("orders"));
    until(&late, "all of them at once", |watch| watch.snapshot().len() == COUNT).await;
    drop(leases);
    until_hosts(&watch, &[]).await;
}

pub(crate) async fn a_crash_is_seen(world: &impl Served) {
    let (one, two, other) = (world.process().await, world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _crashes = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    let _stays = two.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    let vigil = Vigil::over(&watch, &["b"]);
    one.crash();
    // And nothing else is needed for it.
    until_hosts(&watch, &["b"]).await;
    vigil.end().await;
    two.crash();
    until_hosts(&watch, &[]).await;
}

pub(crate) async fn who_was_cut_off_keeps_what_it_knew_and_catches_up(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _stays = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    let goes = one.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    other.wire().cut();
    within("withdrawing", goes.withdraw()).await;
    let _comes = one.registry.register(&name("orders"), endpoint("c")).unwrap();
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), ["a", "b"], "the last known endpoints stay");
    assert!(!other.registry.status().is_connected);
    other.wire().heal();
    until_hosts(&watch, &["a", "c"]).await;
    vigil.end().await;
    assert!(other.registry.status().is_connected);
}

pub(crate) async fn a_registrant_that_was_cut_off_comes_back(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    one.wire().cut();
    until_hosts(&watch, &[]).await;
    one.wire().heal();
    until_hosts(&watch, &["a"]).await;
    within("being registered", lease.established()).await;
}

pub(crate) async fn a_server_that_restarts_changes_nothing(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    // Once for less than entries live, once for more.
    for away in [Duration::ZERO, world.ttl() * 3 / 2] {
        world.stop().await;
        sleep(away).await;
        world.start().await;
        // It is as good as before.
        let new = one.registry.register(&name("orders"), endpoint("b")).unwrap();
        until_hosts(&watch, &["a", "b"]).await;
        within("withdrawing", new.withdraw()).await;
        until_hosts(&watch, &["a"]).await;
        sleep(world.ttl() * 2).await;
    }
    vigil.end().await;
}

pub(crate) async fn a_server_that_was_wiped_is_filled_again(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    let _second = other.registry.register(&name("orders"), endpoint("b")).unwrap();
    until_hosts(&watch, &["a", "b"]).await;
    let vigil = Vigil::over(&watch, &["a", "b"]);
    world.stop().await;
    world.wipe();
    world.start().await;
    let late = world.process().await;
    until_hosts(&late.registry.resolve(&name("orders")), &["a", "b"]).await;
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), ["a", "b"]);
    vigil.end().await;
}

pub(crate) async fn registrations_wait_for_a_server_that_is_away(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    world.stop().await;
    // Also for one that starts while it is away.
    let starts = world.process().await;
    let waits = [&one, &starts].map(|process| {
        process.registry.register(&name("orders"), endpoint(&format!("b{}", process.wire().address.port())))
    });
    let waits = waits.map(Result::unwrap);
    let unknown = starts.registry.resolve(&name("orders"));
    sleep(world.ttl()).await;
    assert!(waits.iter().all(|lease| !lease.is_established()));
    assert!(!unknown.is_settled(), "nobody was asked");
    assert_eq!(hosts(&watch), ["a"]);
    world.start().await;
    for lease in &waits {
        within("being registered", lease.established()).await;
    }
    until(&watch, "all three", |watch| watch.snapshot().len() == 3).await;
    until(&unknown, "all three", |watch| watch.snapshot().len() == 3).await;
    vigil.end().await;
}

pub(crate) async fn a_server_that_is_stopped_changes_nothing(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    world.pause();
    let waits = one.registry.register(&name("orders"), endpoint("b")).unwrap();
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), ["a"]);
    assert!(!waits.is_established());
    assert!(!one.registry.status().is_connected && !other.registry.status().is_connected);
    world.resume();
    within("being registered", waits.established()).await;
    until_hosts(&watch, &["a", "b"]).await;
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), ["a", "b"]);
    vigil.end().await;
}

pub(crate) async fn what_strangers_write_changes_nothing(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    let vigil = Vigil::over(&watch, &["a"]);
    let long = format!(r#"{{"version":1,"address":"http://long","x":"{}"}}"#, "x".repeat(500_000));
    let deep = "[".repeat(10_000);
    let values: [&[u8]; 10] = [
        b"",
        b"\x00\xff\xfe",
        b"null",
        b"{}",
        long.as_bytes(),
        deep.as_bytes(),
        br#"{"version":1,"address":"unix:/var/run/engine.sock"}"#,
        br#"{"version":1,"address":"http://0.0.0.0:80"}"#,
        br#"{"version":1,"address":"http://bad:80","weight":4294967295}"#,
        br#"{"version":9,"address":"http://newer:80"}"#,
    ];
    for (number, value) in values.iter().enumerate() {
        world.write("orders", &format!("stranger-{number}"), value).await;
    }
    world.write("Not-A-Name", "1", br#"{"version":1,"address":"http://b:80"}"#).await;
    // One of a newer version of us, that says more than is understood here.
    let newer = br#"{"version":1,"address":"http://z:80","mood":{"good":true},"health":"tired"}"#;
    world.write("orders", "newer", newer).await;
    until_hosts(&watch, &["a", "z"]).await;
    // And for one who lists them instead of hearing of them.
    let late = world.process().await;
    until(&late.registry.resolve(&name("orders")), "ours", |watch| hosts(watch).contains(&"a".into())).await;
    assert!(late.registry.known().iter().all(|known| known.as_str() != "Not-A-Name"));
    vigil.end().await;
}

pub(crate) async fn dropping_the_registry_ends_its_tasks(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let own = one.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint("a")).unwrap();
    until_hosts(&watch, &["a"]).await;
    until_hosts(&own, &["a"]).await;
    assert!(!one.tasks.is_empty());
    drop(one.registry);
    within("the end of all tasks", async {
        while !one.tasks.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(hosts(&own), ["a"], "a watch outlives its registry");
    until_hosts(&watch, &[]).await;
    within("withdrawing what is withdrawn", lease.withdraw()).await;
}

pub(crate) async fn a_withdrawal_from_a_server_that_is_away_is_bounded(world: &impl Served) {
    let process = world.process().await;
    let lease = process.registry.register(&name("orders"), endpoint("a")).unwrap();
    within("being registered", lease.established()).await;
    process.wire().cut();
    let withdrawn = timeout(PATIENCE, lease.withdraw()).await;
    assert!(withdrawn.is_ok(), "it waits for ever");
}
