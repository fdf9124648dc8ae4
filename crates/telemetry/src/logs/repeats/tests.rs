use serde_json::Value as Json;
use tokio::time::sleep;

use super::*;
use crate::{logs, test::Capture};

fn capture(limit: u32) -> Capture {
    Capture::with(&logs::Config::default().with_repeats(Config::default().with_limit(limit)))
}

fn bodies(capture: &Capture) -> Vec<Json> {
    capture.lines().iter().map(|line| line["body"].clone()).collect()
}

async fn window() {
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_repeats_is_told_once_a_window_by_the_next_line() {
    let capture = capture(2);
    let round = |number: u32| tracing::warn!(number, "round {number}");
    (0..5).for_each(round);
    tracing::info!("another place");
    window().await;
    // Not as a line of the request in which it happens to be told.
    capture.request("GET /").sync_scope(|| round(5));
    assert_eq!(
        bodies(&capture),
        ["round 0", "round 1", "another place", "round 2 … repeated 3 times", "round 5"]
    );
    let lines = capture.lines();
    assert_eq!(
        (&lines[3]["severity_text"], &lines[3]["scope"]),
        (&lines[0]["severity_text"], &lines[0]["scope"])
    );
    assert_eq!((lines[3].get("trace_id"), lines[4].get("trace_id").is_some()), (None, true));
    assert_eq!(capture.logs().left_out(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_repeats_is_told_where_no_line_comes_any_more() {
    let capture = capture(1);
    let logs = capture.logs().clone();
    let steps = async {
        window().await;
        for number in 0..3 {
            tracing::info!(number, "first");
            tracing::info!(number);
            tracing::info!(password = "hunter2", number, "");
        }
        sleep(Duration::from_millis(500)).await;
        (0..3).for_each(|_| tracing::info!("second"));
        assert_eq!(bodies(&capture), ["first", "", "", "second"]);
        sleep(Duration::from_millis(600)).await;
        let mut told: Vec<_> =
            bodies(&capture).drain(4..).map(|body| body.as_str().unwrap().to_owned()).collect();
        told.sort();
        assert_eq!(told, ["", "first … repeated 2 times", "… repeated 2 times"]);
        let of_a_field = capture.lines().into_iter().skip(4).find(|line| line["body"] == "").unwrap();
        assert_eq!(of_a_field["attributes"]["number"], "… repeated 2 times");
        sleep(Duration::from_millis(500)).await;
        assert_eq!(bodies(&capture).last().unwrap(), "second … repeated 2 times");
        assert_eq!(bodies(&capture).len(), 8);
        tracing::info!("left alone");
    };
    tokio::select! {
        () = logs.keep_time() => {}
        () = steps => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_repeats_is_told_at_the_end() {
    let capture = capture(1);
    (0..3).for_each(|_| tracing::info!("last words"));
    capture.logs().sum_up();
    capture.logs().sum_up();
    assert_eq!(bodies(&capture), ["last words", "last words … repeated 2 times"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_was_not_told_yet_is_told_however_many_others_there_were() {
    let capture = capture(2);
    let fail = |why: &str, who: u32| tracing::error!(why, trace_id = who, "failed");
    (0..100).for_each(|who| fail("busy", who));
    fail("no such table", 7);
    fail("no such table", 8);
    let told = || capture.lines().iter().filter(|line| line["attributes"]["why"] == "no such table").count();
    assert_eq!(told(), 1);
    window().await;
    (0..100).for_each(|who| fail("busy", who));
    fail("no such table", 9);
    assert_eq!(told(), 2);
    // However different they are, they are not without end.
    let before = capture.lines().len();
    (0..1000).for_each(|number| fail(&number.to_string(), 1));
    assert!(capture.lines().len() <= before + 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_excepted_is_all_written_and_so_is_everything_where_it_is_off() {
    let one = capture(1);
    (0..5).for_each(|_| tracing::info!(target: "mainstay::access", "GET /"));
    (0..5).for_each(|_| tracing::info!(target: "mainstay::accessory", "GET /"));
    assert_eq!(one.lines().len(), 6);
    drop(one);
    let off = capture(0);
    (0..500).for_each(|_| tracing::info!("all"));
    assert_eq!((off.lines().len(), off.logs().left_out()), (500, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_logs_while_it_is_looked_at_holds_nobody_up() {
    struct Chatty;
    impl fmt::Display for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::error!("within");
            f.write_str(&"ä".repeat(LENGTH))
        }
    }
    let capture = capture(1);
    (0..3).for_each(|_| tracing::error!("{}", Chatty));
    capture.logs().sum_up();
    let told =
        capture.lines().into_iter().rfind(|line| line["body"].as_str().unwrap().contains("ä …")).unwrap();
    assert_eq!(told["body"].as_str().unwrap().chars().filter(|c| *c == 'ä').count(), LENGTH / 2);
}

#[test]
fn no_more_places_are_looked_after_than_there_is_room_for() {
    let repeats = Repeats::new(&Config::default(), &Redact::none()).unwrap();
    let (now, window) = (Instant::now(), Duration::from_secs(1));
    let place = |at: usize| Place {
        metadata: some_metadata(),
        since: now,
        written: at as u32,
        left_out: 0,
        body: String::new(),
    };
    let mut state = repeats.lock();
    state.places.extend((0..PLACES).map(|at| (at, place(at))));
    assert!(state.place(some_metadata(), now, window).is_none());
    assert!(state.place(some_metadata(), now + window, window).is_some());
    assert_eq!(state.places.len(), 1);
}

fn some_metadata() -> &'static Metadata<'static> {
    let _capture = Capture::with(&logs::Config::default());
    let span = tracing::info_span!("some");
    span.metadata().unwrap()
}

#[test]
fn what_can_not_be_is_refused_by_its_key() {
    let load = |assignment: &str| {
        let loader = mainstay_core::config::Loader::new().set(format!("log.{assignment}"));
        loader
            .tree::<logs::Config>("log")
            .load()
            .map(|_| ())
            .map_err(|errors| errors.findings()[0].key.to_string())
    };
    assert_eq!(load("repeats.limit=0"), Ok(()));
    for key in ["repeats.window=0s", "repeats.window=2h", "repeats.except=[\"a b\"]", "repeats.limit=-1"] {
        let name = key.split_once('=').unwrap().0;
        assert!(load(key).unwrap_err().starts_with(&format!("log.{name}")), "{key}");
    }
}
