use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::Result;

fn fails(with: &'static str) -> Result<()> {
    Err(std::io::Error::other(with).into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A check whose answers are switched by the test.
fn switched(name: &str) -> (Check, Arc<Mutex<Option<&'static str>>>) {
    let error = Arc::new(Mutex::new(None));
    let answer = error.clone();
    let check = Check::readiness(name, move || {
        let error = *answer.lock().unwrap();
        async move { error.map_or(Ok(()), fails) }
    });
    (check, error)
}

#[tokio::test(start_paused = true)]
async fn not_ready_until_started_and_each_check_passed_once() {
    let registry = Registry::new();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    registry.register(Check::readiness("warm", move || {
        let warm = count.fetch_add(1, Ordering::Relaxed) >= 2;
        async move { if warm { Ok(()) } else { fails("cold") } }
    }));
    assert_eq!(registry.report(Kind::Readiness).reason, Some("starting"));
    assert!(!registry.report(Kind::Startup).passing);
    assert!(registry.report(Kind::Liveness).passing);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a check ran before the start");

    registry.start();
    let report = registry.report(Kind::Readiness);
    assert!(!report.passing);
    assert_eq!((report.checks[0].state, report.checks[0].age), (State::Pending, None));
    // Asked at 0, 1 and 2 s although the interval is 10 s: nothing has passed yet.
    let began = tokio::time::Instant::now();
    registry.ready().await;
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_wait_for_a_check_that_hangs() {
    let registry = Registry::new();
    registry.register(Check::readiness("hung", std::future::pending).with_timeout(seconds(3)));
    let (fine, _) = switched("fine");
    registry.register(fine);
    registry.start();
    tokio::time::sleep(seconds(1)).await;
    let report = registry.report(Kind::Readiness);
    assert_eq!(
        report.checks.iter().map(|check| check.state).collect::<Vec<_>>(),
        [State::Pending, State::Passing]
    );
    tokio::time::sleep(seconds(3)).await;
    let hung = &registry.report(Kind::Readiness).checks[0];
    assert_eq!((hung.state, hung.error.as_deref()), (State::Failing, Some("no answer after 3s")));
    // It was dropped, and is asked again.
    tokio::time::sleep(seconds(8)).await;
    assert_eq!(registry.report(Kind::Readiness).checks[0].consecutive_failures, 3);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_has_failed_and_is_asked_again() {
    let registry = Registry::new();
    registry
        .register(Check::liveness("fragile", || async { panic!("lost its way") }).with_failure_threshold(2));
    registry.start();
    tokio::time::sleep(seconds(5)).await;
    let report = registry.report(Kind::Liveness);
    assert!(!report.passing);
    assert_eq!(report.checks[0].error.as_deref(), Some("panicked: lost its way"));
    assert!(report.checks[0].consecutive_failures > 2);
}

#[tokio::test(start_paused = true)]
async fn a_flapping_check_changes_its_state_by_the_thresholds_only() {
    let registry = Registry::new();
    let (check, error) = switched("flaps");
    registry.register(check.with_interval(seconds(1)).with_failure_threshold(3).with_success_threshold(2));
    registry.start();
    registry.ready().await;
    let mut observed = Vec::new();
    for answer in ["++--+--+---", "+-+-++"].concat().chars() {
        *error.lock().unwrap() = (answer == '-').then_some("refused");
        tokio::time::sleep(seconds(1)).await;
        let report = registry.report(Kind::Readiness);
        observed.push(if report.passing { '+' } else { '-' });
        assert_eq!(report.checks[0].error.is_some(), answer == '-');
    }
    assert_eq!(observed.iter().collect::<String>(), ["++++++++++-", "-----+"].concat());
}

#[tokio::test(start_paused = true)]
async fn every_check_keeps_its_own_interval_and_tells_the_age_of_its_result() {
    let registry = Registry::new();
    for (name, interval) in [("often", 2), ("seldom", 60)] {
        registry.register(Check::readiness(name, || async { Ok(()) }).with_interval(seconds(interval)));
    }
    registry.start();
    tokio::time::sleep(Duration::from_millis(31_500)).await;
    let ages: Vec<u64> =
        registry.report(Kind::Readiness).checks.iter().map(|check| check.age.unwrap().as_secs()).collect();
    assert_eq!(ages, [1, 31]);
}

#[tokio::test(start_paused = true)]
async fn a_startup_check_is_not_asked_again_once_it_passed() {
    let registry = Registry::new();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    registry.register(Check::startup("migrated", move || {
        let done = count.fetch_add(1, Ordering::Relaxed) == 1;
        async move { if done { Ok(()) } else { fails("not yet") } }
    }));
    registry.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!registry.report(Kind::Startup).passing);
    assert!(!registry.is_ready(), "ready before it has started");
    tokio::time::sleep(seconds(100)).await;
    assert!(registry.report(Kind::Startup).passing && registry.is_ready());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn the_drain_is_sticky_whatever_checks_say() {
    let registry = Registry::new();
    let (check, _) = switched("fine");
    registry.register(check.with_interval(seconds(1)));
    registry.start();
    registry.ready().await;
    registry.drain();
    registry.start();
    tokio::time::sleep(seconds(30)).await;
    let report = registry.report(Kind::Readiness);
    assert!(!report.passing);
    assert_eq!(report.reason, Some("draining"));
    assert_eq!(report.checks[0].state, State::Passing);
    assert!(registry.report(Kind::Liveness).passing, "a drain is no reason to restart");
}

#[tokio::test(start_paused = true)]
async fn checks_end_when_the_registry_stops_or_nobody_holds_it() {
    let asked = Arc::new(AtomicU32::new(0));
    let check = || {
        let count = asked.clone();
        Check::readiness("counted", move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })
        .with_interval(seconds(1))
    };
    let dropped = Registry::new();
    dropped.register(check());
    dropped.start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(dropped);
    let stopped = Registry::new();
    stopped.start();
    stopped.register(check());
    tokio::time::sleep(Duration::from_millis(500)).await;
    stopped.stop(seconds(1)).await;
    let before = asked.load(Ordering::Relaxed);
    assert_eq!(before, 3);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(asked.load(Ordering::Relaxed), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_blocks_its_thread_is_asked_once_and_hangs_nobody() {
    let registry = Registry::new();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    registry.register(
        Check::readiness("blocks", move || {
            count.fetch_add(1, Ordering::Relaxed);
            let blocked = blocked.clone();
            async move {
                let _ = blocked.lock().unwrap().recv();
                Ok(())
            }
        })
        .with_interval(Duration::from_millis(10))
        .with_timeout(Duration::from_millis(10)),
    );
    registry.start();
    let stuck = async {
        while registry.report(Kind::Readiness).checks[0].consecutive_failures < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(seconds(30), stuck).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let error = registry.report(Kind::Readiness).checks[0].error.clone().unwrap();
    assert_eq!(error, "the last question has not ended: it blocks its thread");
    drop(release);
}
