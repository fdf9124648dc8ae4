//! The promises of registries in which processes register, and whose server keeps that for a time to live.

use std::time::Duration;

use mainstay_discovery::{Health, Watch};
use tokio::time::{sleep, timeout};

use crate::world::{A, B, C, PATIENCE, Served, Vigil, endpoint, hosts, name, until, until_hosts, within};

pub(crate) async fn a_crash_is_seen(world: &impl Served) {
    let (one, two, other) = (world.process().await, world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _crashes = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    let _stays = two.registry.register(&name("orders"), endpoint(B)).unwrap();
    until_hosts(&watch, &[A, B]).await;
    let vigil = Vigil::over(&watch, &[B]);
    one.crash();
    // And nothing else is needed for it.
    until_hosts(&watch, &[B]).await;
    vigil.end().await;
    two.crash();
    // The last one is not given up: perhaps it is the registry that can't hear it.
    until(&watch, "a failing endpoint", |watch| fails(watch, B)).await;
}

fn fails(watch: &Watch, host: &str) -> bool {
    hosts(watch) == [host] && watch.snapshot().iter().all(|endpoint| endpoint.health() == Health::Failing)
}

pub(crate) async fn who_was_cut_off_keeps_what_it_knew_and_catches_up(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _stays = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    let goes = one.registry.register(&name("orders"), endpoint(B)).unwrap();
    until_hosts(&watch, &[A, B]).await;
    let vigil = Vigil::over(&watch, &[A]);
    other.wire().cut();
    within("withdrawing", goes.withdraw()).await;
    let _comes = one.registry.register(&name("orders"), endpoint(C)).unwrap();
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), [A, B], "the last known endpoints stay");
    assert!(!other.registry.status().is_connected);
    other.wire().heal();
    until_hosts(&watch, &[A, C]).await;
    vigil.end().await;
    assert!(other.registry.status().is_connected);
}

pub(crate) async fn a_registrant_that_was_cut_off_comes_back(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    one.wire().cut();
    until(&watch, "a failing endpoint", |watch| fails(watch, A)).await;
    one.wire().heal();
    until(&watch, "one that serves", |watch| hosts(watch) == [A] && !fails(watch, A)).await;
    within("being registered", lease.established()).await;
}

pub(crate) async fn a_server_that_was_wiped_is_filled_again(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    let _second = other.registry.register(&name("orders"), endpoint(B)).unwrap();
    until_hosts(&watch, &[A, B]).await;
    let vigil = Vigil::over(&watch, &[A, B]);
    world.stop().await;
    world.wipe();
    world.start().await;
    let late = world.process().await;
    until_hosts(&late.registry.resolve(&name("orders")), &[A, B]).await;
    sleep(world.ttl() * 2).await;
    assert_eq!(hosts(&watch), [A, B]);
    vigil.end().await;
}

pub(crate) async fn registrations_wait_for_a_server_that_is_away(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
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
    assert_eq!(hosts(&watch), [A]);
    world.start().await;
    for lease in &waits {
        within("being registered", lease.established()).await;
    }
    until(&watch, "all three", |watch| watch.snapshot().len() == 3).await;
    until(&unknown, "all three", |watch| watch.snapshot().len() == 3).await;
    vigil.end().await;
}

pub(crate) async fn what_strangers_write_changes_nothing(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let _lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    let vigil = Vigil::over(&watch, &[A]);
    world.disturb("orders").await;
    until_hosts(&watch, &[A, "z"]).await;
    // And for one who lists them instead of hearing of them.
    let late = world.process().await;
    until(&late.registry.resolve(&name("orders")), "ours", |watch| hosts(watch).contains(&A.into())).await;
    assert!(late.registry.known().iter().all(|known| known.as_str() != "Not-A-Name"));
    vigil.end().await;
}

pub(crate) async fn dropping_the_registry_ends_its_tasks(world: &impl Served) {
    let (one, other) = (world.process().await, world.process().await);
    let watch = other.registry.resolve(&name("orders"));
    let own = one.registry.resolve(&name("orders"));
    let lease = one.registry.register(&name("orders"), endpoint(A)).unwrap();
    until_hosts(&watch, &[A]).await;
    until_hosts(&own, &[A]).await;
    assert!(!one.tasks.is_empty());
    drop(one.registry);
    within("the end of all tasks", async {
        while !one.tasks.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(hosts(&own), [A], "a watch outlives its registry");
    until_hosts(&watch, &[]).await;
    within("withdrawing what is withdrawn", lease.withdraw()).await;
}

pub(crate) async fn a_withdrawal_from_a_server_that_is_away_is_bounded(world: &impl Served) {
    let process = world.process().await;
    let lease = process.registry.register(&name("orders"), endpoint(A)).unwrap();
    within("being registered", lease.established()).await;
    process.wire().cut();
    let withdrawn = timeout(PATIENCE, lease.withdraw()).await;
    assert!(withdrawn.is_ok(), "it waits for ever");
}
