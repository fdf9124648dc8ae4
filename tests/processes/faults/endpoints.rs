//! One endpoint of three is at fault.

use std::time::Duration;

use mainstay::{axum::http::Method, client::Config};
use tokio::time::sleep;

use super::{
    ATTEMPT, CALM, MANY,
    fleet::{Books, Fleet, client},
    load::{DEADLINE, Load, Report},
    sturdy, usual,
    wire::Wire,
};

/// A client has this many calls under way.
const AT_ONCE: usize = 6;
/// An attempt that comes to nothing and one that is good, and what a busy machine takes more.
const LONGEST_READ: Duration = ATTEMPT.saturating_mul(3);

/// Load on three endpoints, the first of which is told to do something else meanwhile.
async fn while_one_is(how: &str, config: Config) -> (Report, Books, Asked) {
    let fleet = Fleet::start(3).await;
    let client = fleet.client(config);
    let load = Load::on(&client);
    load.succeed(CALM).await;
    let before = fleet.books();
    fleet.behave(0, how).await;
    load.succeed(MANY).await;
    sleep(Duration::from_secs(2)).await;
    let during = fleet.books();
    fleet.behave(0, "well").await;
    // How slow it was is forgotten over tens of seconds; what was ejected is probed.
    if !how.starts_with("slow") && how != "never" {
        fleet.until_asked(0).await;
    }
    let report = load.end().await;
    let first = fleet.copies[0].address;
    let asked = Asked { it: during.of(first) - before.of(first), all: during.total() - before.total() };
    println!("{how}: {asked:?}");
    let books = fleet.books();
    report.check(&books);
    (report, books, asked)
}

/// Attempts while it lasted.
#[derive(Debug)]
struct Asked {
    /// At the endpoint that is at fault.
    it: u64,
    /// At all of them.
    all: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_killed_costs_what_it_had_in_hand() {
    let mut fleet = Fleet::start(3).await;
    let client = fleet.client(usual());
    let load = Load::on(&client);
    load.succeed(CALM).await;
    fleet.kill(0).await;
    load.succeed(MANY).await;
    fleet.start_all().await;
    fleet.until_asked(0).await;
    let report = load.end().await;
    report.check(&fleet.books());
    report.none_failed(&Method::GET);
    // Nobody knows whether they were done.
    report.few_failed(&Method::POST, AT_ONCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_stopped_costs_reads_an_attempt_at_most() {
    let fleet = Fleet::start(3).await;
    let client = fleet.client(sturdy());
    let load = Load::on(&client);
    load.succeed(CALM).await;
    fleet.signal(0, "STOP").await;
    load.succeed(MANY).await;
    sleep(Duration::from_secs(3)).await;
    fleet.signal(0, "CONT").await;
    fleet.until_asked(0).await;
    let report = load.end().await;
    report.check(&fleet.books());
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2 * AT_ONCE);
    assert!(report.longest(&Method::GET) < LONGEST_READ, "{:?}", report.longest(&Method::GET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_is_hardly_asked_and_nothing_fails() {
    let (report, _, asked) = while_one_is("slow 400", usual()).await;
    report.none_failed(&Method::GET);
    report.none_failed(&Method::POST);
    // A third would be its share.
    assert!(asked.it * 10 < asked.all, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_answers_500_is_ejected() {
    let (report, _, asked) = while_one_is("status 500", usual()).await;
    // Five in a row, what was under way with them, and a probe now and then; nothing is sent again after an answer.
    let most = 5 + AT_ONCE + 4;
    report.few_failed(&Method::GET, most);
    report.few_failed(&Method::POST, most);
    assert!(asked.it <= most as u64, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_do_not_see_a_500_that_the_configuration_lists() {
    let (report, _, asked) = while_one_is("status 500", sturdy()).await;
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 5 + AT_ONCE + 4);
    assert!(asked.it <= 5 + AT_ONCE as u64 + 4, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_never_answers_costs_reads_an_attempt_at_most() {
    let (report, _, asked) = while_one_is("never", sturdy()).await;
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2 * AT_ONCE);
    assert!(asked.it <= 5 + 2 * AT_ONCE as u64, "{asked:?}");
    assert!(report.longest(&Method::GET) < LONGEST_READ, "{:?}", report.longest(&Method::GET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bound_for_attempts_what_never_answers_costs_the_deadline() {
    let (report, _, asked) = while_one_is("never", usual()).await;
    let most = 5 + 2 * AT_ONCE;
    report.few_failed(&Method::GET, most);
    report.few_failed(&Method::POST, most);
    assert!(asked.it <= most as u64, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hedged_reads_do_not_wait_for_an_endpoint_that_never_answers() {
    let mut config = usual();
    config.hedge.enabled = true;
    let (report, ..) = while_one_is("never", config).await;
    report.none_failed(&Method::GET);
    assert!(report.longest(&Method::GET) < DEADLINE / 2, "{:?}", report.longest(&Method::GET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_breaks_off_its_answers_is_ejected() {
    let (report, _, asked) = while_one_is("half", sturdy()).await;
    // The head was handed on, and then nothing can be sent again.
    let most = 5 + AT_ONCE + 4;
    report.few_failed(&Method::GET, most);
    report.few_failed(&Method::POST, most);
    assert!(asked.it <= 2 * most as u64, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_in_the_middle_of_answers_get_their_endpoint_ejected() {
    let fleet = Fleet::start(3).await;
    let wire = Wire::to(fleet.copies[0].address).await;
    let [_, second, third] = &fleet.copies[..] else { unreachable!() };
    let client = client(sturdy(), [wire.address.into(), second.address.into(), third.address.into()]);
    let load = Load::on(&client);
    load.succeed(CALM).await;
    wire.reset_after(1500);
    load.succeed(MANY).await;
    sleep(Duration::from_secs(2)).await;
    wire.reset_after(usize::MAX);
    fleet.until_asked(0).await;
    let report = load.end().await;
    report.check(&fleet.books());
    let most = 5 + AT_ONCE + 4;
    report.few_failed(&Method::GET, most);
    report.few_failed(&Method::POST, most);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goaway_in_the_middle_of_streams_fails_no_call() {
    let fleet = Fleet::start(1).await;
    fleet.behave(0, "slow 50").await;
    let wire = Wire::http2(fleet.copies[0].address).await;
    let client = client(usual(), [format!("h2c://{}", wire.address).parse().unwrap()]);
    let load = Load::on(&client);
    load.succeed(20).await;
    for _ in 0..6 {
        wire.say_goodbye();
        // What is sent again is paid for by what succeeds.
        load.succeed(60).await;
    }
    let report = load.end().await;
    report.check(&fleet.books());
    report.none_failed(&Method::GET);
    // Streams beyond the last one were not processed: they are sent again whatever they are.
    report.none_failed(&Method::POST);
}

/// Three endpoints, the first of which is a black hole for three seconds.
async fn beside_a_black_hole(config: Config) -> Report {
    let fleet = Fleet::start(3).await;
    let mut wire = Wire::to(fleet.copies[0].address).await;
    let [_, second, third] = &fleet.copies[..] else { unreachable!() };
    let client = client(config, [wire.address.into(), second.address.into(), third.address.into()]);
    let load = Load::on(&client);
    load.succeed(CALM).await;
    wire.cut().await;
    load.succeed(MANY).await;
    sleep(Duration::from_secs(3)).await;
    wire.heal();
    fleet.until_asked(0).await;
    let report = load.end().await;
    report.check(&fleet.books());
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_costs_reads_an_attempt_at_most() {
    let report = beside_a_black_hole(sturdy()).await;
    report.none_failed(&Method::GET);
    report.few_failed(&Method::POST, 2 * AT_ONCE);
    assert!(report.longest(&Method::GET) < LONGEST_READ, "{:?}", report.longest(&Method::GET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hedged_reads_do_not_wait_for_a_black_hole() {
    let mut config = usual();
    config.hedge.enabled = true;
    let report = beside_a_black_hole(config).await;
    report.none_failed(&Method::GET);
    assert!(report.longest(&Method::GET) < DEADLINE / 2, "{:?}", report.longest(&Method::GET));
}
