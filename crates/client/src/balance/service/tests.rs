//! Endpoints that connect, refuse, hang and break as a test says, in virtual time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
};

use mainstay_discovery::{Address, watch::Publisher};
use tower::{ServiceExt as _, service_fn, util::BoxCloneService};

use super::*;
use crate::balance::{Config, Origin, ejection, state::State as Found};

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Well,
    Refuses,
    HangsConnecting,
    ConnectsSlowly,
    NotReady,
    Broken,
    /// Answers, and badly.
    Fails,
    Slow,
}

#[derive(Default)]
struct Peer {
    mode: Mode,
    connects: usize,
    open: usize,
    calls: usize,
    waiting: Vec<Waker>,
}

/// By port.
#[derive(Clone, Default)]
struct Fleet(Arc<Mutex<BTreeMap<u16, Peer>>>);

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Peer>> {
        self.0.lock().unwrap()
    }

    fn with<T>(&self, port: u16, change: impl FnOnce(&mut Peer) -> T) -> T {
        change(self.lock().entry(port).or_default())
    }

    fn set(&self, port: u16, mode: Mode) {
        let waiting = self.with(port, |peer| {
            peer.mode = mode;
            std::mem::take(&mut peer.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    fn calls(&self, port: u16) -> usize {
        self.with(port, |peer| peer.calls)
    }

    fn connects(&self, port: u16) -> usize {
        self.with(port, |peer| peer.connects)
    }
}

/// A connection, which insists on being ready when it is called.
struct Connection {
    fleet: Fleet,
    port: u16,
    is_ready: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.fleet.with(self.port, |peer| peer.open -= 1);
    }
}

impl Service<()> for Connection {
    type Response = u16;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<u16, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let port = self.port;
        self.is_ready = false;
        self.fleet.with(port, |peer| match peer.mode {
            Mode::Broken => Poll::Ready(Err("broken".into())),
            Mode::NotReady => {
                peer.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            _ => {
                self.is_ready = true;
                Poll::Ready(Ok(()))
            }
        })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been ready");
        let port = self.port;
        let mode = self.fleet.with(port, |peer| {
            peer.calls += 1;
            peer.mode
        });
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(if mode == Mode::Slow { 200 } else { 1 })).await;
            if mode == Mode::Fails { Err("500".into()) } else { Ok(port) }
        })
    }
}

type Make = BoxCloneService<Endpoint, Connection, BoxError>;
type Judge = fn(&Result<u16, BoxError>) -> Verdict;

struct Bed {
    fleet: Fleet,
    publisher: Publisher,
    balance: Balance<Make, Connection, Judge>,
}

impl Bed {
    fn new(ports: impl IntoIterator<Item = u16>) -> Self {
        let (fleet, publisher) = (Fleet::default(), Publisher::new());
        let of_make = fleet.clone();
        let make = service_fn(move |endpoint: Endpoint| {
            let fleet = of_make.clone();
            async move {
                let Address::Tcp(_, port) = *endpoint.address() else { panic!("of this test") };
                let mode = fleet.with(port, |peer| {
                    peer.connects += 1;
                    peer.mode
                });
                match mode {
                    Mode::Refuses => return Err(BoxError::from("refused")),
                    Mode::HangsConnecting => std::future::pending().await,
                    Mode::ConnectsSlowly => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    _ => {}
                }
                fleet.with(port, |peer| peer.open += 1);
                Ok(Connection { fleet, port, is_ready: false })
            }
        });
        let picker =
            Picker::new(publisher.watch(), Origin::default(), Config::default(), ejection::Config::default());
        let judge: Judge = |outcome| match outcome {
            Ok(_) => Verdict::Good,
            Err(error) if error.to_string() == "500" => Verdict::Bad,
            Err(_) => Verdict::Lost,
        };
        let balance = Balance::new(picker, BoxCloneService::new(make), judge);
        let bed = Self { fleet, publisher, balance };
        bed.list(ports);
        bed
    }

    fn list(&self, ports: impl IntoIterator<Item = u16>) {
        let endpoints: Vec<_> = ports.into_iter().map(|port| Endpoint::tcp("peer", port)).collect();
        self.publisher.publish(endpoints);
    }

    async fn call(&mut self) -> Result<u16, BoxError> {
        self.balance.ready().await?.call(()).await
    }

    fn found(&self, port: u16) -> Found {
        let state = self.balance.picker().state("stock".parse().unwrap());
        let place = Endpoint::tcp("peer", port).place().to_string();
        state.endpoints.iter().find(|endpoint| endpoint.place == place).unwrap().state
    }

    async fn is_ready_within(&mut self, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), self.balance.ready()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_while_nothing_is_listed_and_hears_of_what_is() {
    let mut bed = Bed::new([]);
    assert!(!bed.is_ready_within(3600).await);
    let Bed { publisher, balance, .. } = &mut bed;
    let later = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        publisher.publish([Endpoint::tcp("peer", 1)]);
    };
    let since = Instant::now();
    let (ready, ()) = tokio::join!(balance.ready(), later);
    assert!(ready.is_ok());
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_can_not_be_connected_to_is_left_alone_for_longer_each_time_and_never_given_up() {
    let mut bed = Bed::new([1]);
    bed.fleet.set(1, Mode::Refuses);
    assert!(!bed.is_ready_within(60).await);
    let connects = bed.fleet.connects(1);
    assert!((10..40).contains(&connects), "{connects}");
    assert!(matches!(bed.found(1), Found::Unreachable { .. }));
    assert!(!bed.is_ready_within(86_400).await);
    bed.fleet.set(1, Mode::Well);
    assert!(bed.is_ready_within(6).await);
    assert_eq!(bed.call().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_for_ever_to_connect_to_holds_nothing_up() {
    let mut bed = Bed::new([1, 2]);
    bed.fleet.set(1, Mode::HangsConnecting);
    let since = Instant::now();
    for _ in 0..20 {
        assert_eq!(bed.call().await.unwrap(), 2);
    }
    assert_eq!(since.elapsed(), Duration::from_millis(20));
    assert!(bed.fleet.connects(1) <= 1);
    // It is given up in time, for now.
    while bed.fleet.connects(1) == 0 {
        bed.call().await.unwrap();
    }
    for _ in 0..5 {
        tokio::time::advance(PATIENCE / 4).await;
        bed.call().await.unwrap();
    }
    assert!(matches!(bed.found(1), Found::Unreachable { .. }), "{:?}", bed.found(1));
    bed.fleet.set(1, Mode::Well);
    let since = Instant::now();
    while bed.fleet.calls(1) == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "lost");
        tokio::time::advance(Duration::from_millis(100)).await;
        bed.call().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_asked_for_meanwhile_is_not_to_blame() {
    let mut bed = Bed::new([1]);
    bed.fleet.set(1, Mode::ConnectsSlowly);
    assert!(tokio::time::timeout(Duration::from_millis(1), bed.balance.ready()).await.is_err());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(bed.call().await.unwrap(), 1);
    assert_eq!(bed.fleet.connects(1), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_is_made_anew() {
    let mut bed = Bed::new([1]);
    bed.call().await.unwrap();
    bed.fleet.set(1, Mode::Broken);
    assert!(!bed.is_ready_within(1).await);
    assert_eq!(bed.fleet.with(1, |peer| peer.open), 0);
    bed.fleet.set(1, Mode::Well);
    assert_eq!(bed.call().await.unwrap(), 1);
    assert!(bed.fleet.connects(1) >= 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_ready_and_is_no_longer_is_not_called() {
    let mut bed = Bed::new([1, 2]);
    for _ in 0..20 {
        assert!(bed.is_ready_within(1).await);
        let chosen = bed.balance.ready.as_ref().unwrap().member.endpoint().clone();
        let Address::Tcp(_, port) = *chosen.address() else { panic!("of this test") };
        bed.fleet.set(port, Mode::NotReady);
        let before = bed.fleet.calls(port);
        assert_eq!(bed.call().await.unwrap(), 3 - port);
        assert_eq!(bed.fleet.calls(port), before);
        bed.fleet.set(port, Mode::Well);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_becomes_ready_wakes_who_waits() {
    let mut bed = Bed::new([1]);
    bed.fleet.set(1, Mode::NotReady);
    let fleet = bed.fleet.clone();
    let since = Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        fleet.set(1, Mode::Well);
    };
    let (ready, ()) = tokio::join!(bed.balance.ready(), later);
    assert!(ready.is_ok());
    assert_eq!(since.elapsed(), Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_listed_is_let_go_and_what_is_new_is_used() {
    let mut bed = Bed::new([1, 2]);
    while bed.fleet.calls(1) == 0 || bed.fleet.calls(2) == 0 {
        bed.call().await.unwrap();
    }
    bed.list([2, 3]);
    while bed.fleet.calls(3) == 0 {
        assert_ne!(bed.call().await.unwrap(), 1);
    }
    assert_eq!(bed.fleet.with(1, |peer| peer.open), 0);
    // Nobody else is left, and it hangs: the wait ends with what is listed next.
    bed.fleet.set(4, Mode::HangsConnecting);
    bed.list([4]);
    assert!(!bed.is_ready_within(1).await);
    bed.list([5]);
    assert_eq!(bed.call().await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_badly_is_ejected() {
    let mut bed = Bed::new([1, 2, 3]);
    bed.fleet.set(2, Mode::Fails);
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(bed.call().await.is_err());
    }
    assert_eq!((failed, bed.fleet.calls(2)), (5, 5));
    assert!(matches!(bed.found(2), Found::Ejected { .. }), "{:?}", bed.found(2));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_gets_less() {
    let mut bed = Bed::new([1, 2]);
    bed.fleet.set(1, Mode::Slow);
    for _ in 0..200 {
        bed.call().await.unwrap();
    }
    assert!(bed.fleet.calls(1) < 20, "{}", bed.fleet.calls(1));
}

#[tokio::test(start_paused = true)]
async fn clones_share_what_is_known_and_no_service() {
    let mut bed = Bed::new([1, 2]);
    bed.fleet.set(1, Mode::Refuses);
    while bed.fleet.connects(1) == 0 {
        bed.call().await.unwrap();
    }
    bed.fleet.set(1, Mode::Well);
    let mut other = bed.balance.clone();
    assert_eq!(other.ready().await.unwrap().call(()).await.unwrap(), 2);
    assert_eq!((bed.fleet.connects(1), bed.fleet.connects(2)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn many_that_refuse_at_once_do_not_keep_the_thread() {
    let mut bed = Bed::new(1..=100);
    (1..=100).for_each(|port| bed.fleet.set(port, Mode::Refuses));
    let once =
        std::future::poll_fn(|cx| Poll::Ready(Service::<()>::poll_ready(&mut bed.balance, cx).is_pending()));
    assert!(once.await);
    let connects: usize = bed.fleet.lock().values().map(|peer| peer.connects).sum();
    assert!(connects <= AT_A_TIME, "{connects}");
    bed.fleet.set(77, Mode::Well);
    assert!(bed.is_ready_within(10).await);
}
