//! The promises, one function each.

use std::time::Duration;

use mainstay_discovery::{Endpoint, Health, Protocol};
use tokio::time::sleep;

use crate::world::{
    A, B, C, Listed, Outage, Vigil, World, endpoint, hosts, name, until, until_connected, until_hosts, within,
};

pub(crate) async fn what_is_listed_is_seen<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let said = Endpoint::tcp(A, 8443)
        .with_tls(true)
        .with_protocol(Protocol::Http2)
        .with_weight(7)
        .with_zone("north")
        .with_health(Health::Draining)
        .with_metadata("build", "a \"quoted\" ü");
    let kept = W::PROMISES.kept(&said);
    let listed = world.list_one(&one, "orders", said).await;
    if let Listed::Lease(lease) = &listed {
        within("being registered", lease.established()).await;
        let status = one.registry.status();
        assert!(status.registered.iter().any(|registered| registered.is_established), "{status:?}");
    }
    // One that asks only after it is there, and the one that has put it there.
    for process in [&other, &one] {
        let watch = process.registry.resolve(&name("orders"));
        within("settling", watch.settled()).await;
        until(&watch, "the endpoint", |watch| *watch.snapshot() == [kept.clone()]).await;
        until_connected(process, true).await;
        // It stays, although time passes.
        sleep(world.ttl() * 2).await;
        assert_eq!(*watch.snapshot(), *std::slice::from_ref(&kept));
    }
}

pub(crate) async fn what_is_taken_out_is_gone<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let listed = world.list_one(&one, "orders", endpoint(A)).await;
    until_hosts(&watch, &[A]).await;
    world.unlist([listed]).await;
    until_hosts(&watch, &[]).await;
    if world.book().is_some() {
        return;
    }
    // A registration ends with its lease, also without a word, also when it was never waited for.
    let dropped = one.registry.register(&name("orders"), endpoint(B)).unwrap();
    until_hosts(&watch, &[B]).await;
    drop(dropped);
    until_hosts(&watch, &[]).await;
    drop(one.registry.register(&name("orders"), endpoint(C)).unwrap());
    sleep(world.ttl() / 2).await;
    assert!(hosts(&watch).is_empty());
}

pub(crate) async fn copies_come_and_go_one_by_one<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let first = world.list_one(&one, "orders", endpoint(A)).await;
    let second = world.list_one(&other, "orders", endpoint(B)).await;
    let _stranger = world.list_one(&one, "stock", endpoint(C)).await;
    until_hosts(&watch, &[A, B]).await;
    let vigil = Vigil::over(&watch, &[B]);
    world.unlist([first]).await;
    until_hosts(&watch, &[B]).await;
    vigil.end().await;
    world.unlist([second]).await;
    until_hosts(&watch, &[]).await;
}

pub(crate) async fn a_copy_can_change_what_is_said_of_it_without_a_gap<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let old = world.list_one(&one, "orders", endpoint(A)).await;
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    // Registrations tell the time in milliseconds.
    sleep(Duration::from_millis(5)).await;
    let said = endpoint(A).with_weight(5).with_zone("south").with_metadata("build", "8");
    let kept = W::PROMISES.kept(&said);
    assert_ne!(kept, endpoint(A), "it can tell nothing that changes");
    let _new = world.list_one(&one, "orders", said).await;
    until(&watch, "the change", |watch| watch.snapshot().contains(&kept)).await;
    world.unlist([old]).await;
    until(&watch, "the change alone", |watch| *watch.snapshot() == [kept.clone()]).await;
    vigil.end().await;
}

pub(crate) async fn a_name_that_nobody_has_is_settled_and_empty<W: World>(world: &W) {
    let process = world.process().await;
    let watch = process.registry.resolve(&name("nobody"));
    within("settling", watch.settled()).await;
    assert!(watch.snapshot().is_empty());
}

pub(crate) async fn known_names_are_told<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let _orders = world.list(&one, "orders", vec![endpoint(A), endpoint(B)]).await;
    let _stock = world.list(&one, "stock", vec![endpoint(A)]).await;
    let asked = ["orders", "stock"]
        .map(|name| (!W::PROMISES.all_names).then(|| other.registry.resolve(&crate::world::name(name))));
    within("knowing", async {
        while other.registry.known() != [name("orders"), name("stock")] {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(asked);
}

pub(crate) async fn a_watch_that_came_first_sees_what_comes_later<W: World>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    within("settling", watch.settled()).await;
    assert!(watch.snapshot().is_empty());
    let _listed = world.list_one(&one, "orders", endpoint(A)).await;
    until_hosts(&watch, &[A]).await;
}

pub(crate) async fn as_many_endpoints_are_listed_as_are_promised<W: World>(world: &W) {
    let count = W::PROMISES.most.min(2000);
    let (one, other) = (world.calm_process().await, world.calm_process().await);
    let watch = other.registry.resolve(&name("orders"));
    let endpoints = (0..count).map(|n| endpoint(&format!("10.1.{}.{}", n / 250, n % 250 + 1))).collect();
    let listed = world.list(&one, "orders", endpoints).await;
    until(&watch, "all of them", |watch| watch.snapshot().len() == count).await;
    let late = world.calm_process().await;
    let late = late.registry.resolve(&name("orders"));
    until(&late, "all of them at once", |watch| watch.snapshot().len() == count).await;
    match world.book() {
        Some(_) => world.unlist(listed).await,
        None => drop(listed),
    }
    until_hosts(&watch, &[]).await;
}

pub(crate) async fn a_restart_changes_nothing<W: Outage>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _stays = world.list_one(&one, "orders", endpoint(A)).await;
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    // Once for less than entries live, once for more.
    for away in [Duration::ZERO, world.ttl() * 3 / 2] {
        world.stop().await;
        sleep(away).await;
        world.start().await;
        // It is as good as before.
        let new = world.list_one(&one, "orders", endpoint(B)).await;
        until_hosts(&watch, &[A, B]).await;
        world.unlist([new]).await;
        until_hosts(&watch, &[A]).await;
        sleep(world.ttl() * 2).await;
    }
    vigil.end().await;
    until_connected(&other, true).await;
}

pub(crate) async fn silence_changes_nothing<W: Outage>(world: &W) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _stays = world.list_one(&one, "orders", endpoint(A)).await;
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    world.pause();
    let waits = world.list_one(&one, "orders", endpoint(B)).await;
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), [A]);
    if W::PROMISES.notices_silence {
        until_connected(&other, false).await;
    }
    if let Listed::Lease(lease) = &waits {
        assert!(!lease.is_established());
        until_connected(&one, false).await;
    }
    world.resume();
    until_hosts(&watch, &[A, B]).await;
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), [A, B]);
    vigil.end().await;
}
