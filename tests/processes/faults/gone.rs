//! Many endpoints are gone at once.

use std::time::Duration;

use mainstay::{axum::http::Method, client::Config};
use tokio::time::{Instant, sleep};

use super::{CALM, MANY, fleet::Fleet, load::Load, load::few};

/// How soon a service is called again that is back; and what a busy machine takes more.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_endpoints_can_go_at_once() {
    let mut fleet = Fleet::start(4).await;
    let client = fleet.client(Config::default());
    let load = Load::on(&client);
    load.succeed(CALM).await;
    fleet.kill(0).await;
    fleet.kill(1).await;
    load.succeed(MANY).await;
    fleet.start_all().await;
    load.succeed(MANY).await;
    let report = load.end().await;
    report.check(&fleet.books());
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_were_gone_the_first_that_is_back_is_called_within_a_second() {
    let mut fleet = Fleet::start(3).await;
    let client = fleet.client(Config::default());
    let load = Load::on(&client);
    load.succeed(CALM).await;
    for which in 0..3 {
        fleet.kill(which).await;
    }
    let gone = Instant::now();
    // So long that each of them was found dead many times, and pauses have grown.
    sleep(Duration::from_secs(6)).await;
    let back = Instant::now();
    fleet.start_all().await;
    let ready = Instant::now();
    load.succeed(CALM).await;
    let report = load.end().await;
    report.check(&fleet.books());
    let first = report.first_success_after(back).expect("calls succeed again");
    println!("called again {:?} after the copies were ready", first.saturating_duration_since(ready));
    assert!(first < ready + SOON, "called again only {:?} after they were ready", first - ready);
    // Who calls a service that is gone learns it at once.
    let slow: Vec<_> =
        report.failed_between(gone, back).into_iter().filter(|call| call.took() > SOON).collect();
    assert!(slow.is_empty(), "{}", few(&slow));
    // And soon after, all is well.
    let late = report.failed_between(ready + SOON, Instant::now());
    assert!(late.is_empty(), "{}", few(&late));
}
