//! A service with a queue in front of it, on a paused clock: what the limit does to what callers get.
#![allow(clippy::disallowed_methods, reason = "a test is its own owner")]

use std::{
    cell::Cell,
    convert::Infallible,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tower::{ServiceExt as _, util::BoxCloneService};
use tower_layer::Layer as _;

use super::{Config, Limiter, ShedLayer};
use crate::Body;

/// A caller gives up after this.
const PATIENCE: Duration = Duration::from_millis(250);

type Simulated = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// `workers` at work at once, the others queue; how long the work takes is up to `time`, in microseconds.
#[derive(Clone)]
struct Server {
    workers: Arc<Semaphore>,
    time: Arc<AtomicU64>,
}

impl Server {
    fn new(workers: usize, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap();
        Self { workers: Arc::new(Semaphore::new(workers)), time: Arc::new(AtomicU64::new(micros)) }
    }

    fn service(&self, limiter: Option<&Limiter>) -> Simulated {
        let server = self.clone();
        let work = tower::service_fn(move |_: Request<Body>| {
            let server = server.clone();
            async move {
                let _worker = server.workers.acquire().await.unwrap();
                let mean = server.time.load(Ordering::Relaxed) as f64;
                // Between a half and one and a half of the mean; one in a hundred takes five times as long.
                let factor = (0.5 + fastrand::f64()) * if fastrand::f64() < 0.01 { 5.0 } else { 1.0 };
                tokio::time::sleep(Duration::from_micros((mean * factor) as u64)).await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        match limiter {
            Some(limiter) => {
                let shed = ShedLayer::new(limiter.clone()).layer(work);
                BoxCloneService::new(shed.map_response(|response| response.map(Body::new)))
            }
            None => BoxCloneService::new(work),
        }
    }
}

/// Sends `rate` requests a second for `span`; gives how many a second were answered in time in its second half.
async fn goodput(service: &Simulated, rate: u32, span: Duration) -> f64 {
    let good = Rc::new(Cell::new(0u32));
    let started = Instant::now();
    let counted_from = started + span / 2;
    let local = tokio::task::LocalSet::new();
    let mut due = 0.0;
    local
        .run_until(async {
            while started.elapsed() < span {
                tokio::time::sleep(Duration::from_millis(1)).await;
                due += f64::from(rate) / 1000.0;
                while due >= 1.0 {
                    due -= 1.0;
                    let (service, good) = (service.clone(), Rc::clone(&good));
                    tokio::task::spawn_local(async move {
                        let call = service.oneshot(Request::new(Body::empty()));
                        let answer = tokio::time::timeout(PATIENCE, call).await;
                        let served =
                            matches!(answer, Ok(Ok(response)) if response.status() == StatusCode::OK);
                        if served && Instant::now() >= counted_from {
                            good.set(good.get() + 1);
                        }
                    });
                }
            }
        })
        .await;
    f64::from(good.get()) / (span / 2).as_secs_f64()
}

const SPAN: Duration = Duration::from_secs(6);

/// Work of 20 ms by 16 workers: about 770 a second (the timer rounds up to whole milliseconds).
fn server() -> Server {
    // Of this thread, on which all of a simulation runs.
    fastrand::seed(7);
    Server::new(16, Duration::from_millis(20))
}

async fn peak(server: &Server) -> f64 {
    let mut best: f64 = 0.0;
    let workers = server.workers.available_permits() as f64;
    let capacity = workers / (server.time.load(Ordering::Relaxed) as f64 / 1e6);
    for share in [0.8, 0.9, 1.0] {
        best = best.max(goodput(&server.service(None), (capacity * share) as u32, SPAN).await);
    }
    best
}

#[tokio::test(start_paused = true)]
async fn at_ten_times_its_capacity_goodput_stays_near_the_peak() {
    let server = server();
    let peak = peak(&server).await;
    let without = goodput(&server.service(None), 8000, Duration::from_secs(4)).await;
    assert!(without < peak / 2.0, "the simulation does not collapse: {without} of {peak}");
    tokio::time::sleep(Duration::from_secs(5)).await;

    let limiter = Limiter::new(Config::default());
    let service = server.service(Some(&limiter));
    for times in [1, 2, 5, 10] {
        let goodput = goodput(&service, 800 * times, SPAN).await;
        assert!(goodput >= 0.9 * peak, "{goodput} of {peak} at {times} times, {limiter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_callers_leave_before_it_fills_the_limit_is_found() {
    fastrand::seed(7);
    // 200 a second; at twice that callers leave with no more than 100 in flight, a fifth of the first limit.
    let server = Server::new(8, Duration::from_millis(40));
    let peak = peak(&server).await;
    for times in [2, 5, 10] {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let limiter = Limiter::new(Config::default());
        let goodput = goodput(&server.service(Some(&limiter)), 200 * times, 2 * SPAN).await;
        assert!(goodput >= 0.9 * peak, "{goodput} of {peak} at {times} times, {limiter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn begun_under_overload_it_finds_the_limit_too() {
    let server = server();
    let peak = peak(&server).await;
    // A queue of many times what the service works on, from the first request.
    let limiter = Limiter::new(Config { initial: 400, ..Config::default() });
    let goodput = goodput(&server.service(Some(&limiter)), 8000, SPAN).await;
    assert!(goodput >= 0.9 * peak, "{goodput} of {peak}, {limiter:?}");
    // What the service works on in the target of 100 ms, at 770 a second.
    let snapshot = limiter.snapshot();
    assert!((60..=110).contains(&snapshot.limit), "{snapshot:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_shorter_than_the_target_is_no_overload() {
    let server = server();
    let limiter = Limiter::new(Config::default());
    let service = server.service(Some(&limiter));
    // 64 callers at once for 16 workers: 80 ms each, of which 60 in the queue.
    for _ in 0..40 {
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            callers.spawn(service.clone().oneshot(Request::new(Body::empty())));
        }
        while let Some(answer) = callers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200, "{limiter:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_service_gets_slower_or_faster_the_limit_is_found_again() {
    let server = server();
    let limiter = Limiter::new(Config::default());
    let service = server.service(Some(&limiter));
    goodput(&service, 4000, SPAN).await;
    for millis in [60, 5, 20] {
        server.time.store(millis * 1000, Ordering::Relaxed);
        // The first half of it is for finding.
        let goodput = goodput(&service, 4000, Duration::from_secs(12)).await;
        // Times are rounded up to whole milliseconds, and one in a hundred is five times as long.
        let capacity = 16.0 / ((millis as f64 + 0.5) * 1.04 / 1000.0);
        assert!(
            goodput >= 0.85 * capacity.min(4000.0),
            "{goodput} of {capacity} at {millis} ms, {limiter:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn below_capacity_nothing_is_refused() {
    let server = server();
    let limiter = Limiter::new(Config::default());
    let service = server.service(Some(&limiter));
    // Over a minute: probes have been due.
    for rate in [50, 400, 600] {
        let goodput = goodput(&service, rate, Duration::from_secs(25)).await;
        assert!(goodput >= 0.99 * f64::from(rate), "{goodput} of {rate}, {limiter:?}");
    }
    let refused: u64 = limiter.snapshot().refused.iter().sum();
    let admitted = limiter.snapshot().admitted;
    assert!(refused * 1000 < admitted, "{limiter:?}");
}
