//! The engine against a server that does as it is told, on a paused clock.
#![allow(clippy::disallowed_methods, reason = "tests own what they spawn")]

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainstay_core::{config, task::Tasks};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    History, MOST_FOLLOWED, Remote,
    backend::{Backend, Entry, Failure, Timing},
    changes::Changes,
    following::LINGER,
    view::View,
};
use crate::{
    Endpoint, Health, Register as _, Resolve as _, ServiceName, Watch,
    registry::{Cache, Registry as _},
};

const TTL: Duration = Duration::from_secs(12);
const TIMING: Timing = Timing { ttl: TTL, timeout: Duration::from_secs(2) };

/// Longer than any reconnect and any publication.
const SOON: Duration = Duration::from_secs(11);

type Listing = BTreeMap<String, (Vec<u8>, Option<Instant>)>;

#[derive(Clone, Default)]
struct Server(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
    followers: AtomicUsize,
    puts: AtomicUsize,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<ServiceName, Listing>,
    history: u64,
    position: u64,
    mood: Mood,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Mood {
    #[default]
    Well,
    Refusing,
    Hanging,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.state();
            change(&mut state);
            state.position += 1;
        }
        self.0.changed.notify_waiters();
    }

    fn be(&self, mood: Mood) {
        self.set(|state| state.mood = mood);
    }

    fn write(&self, service: &ServiceName, id: &str, value: &str) {
        self.set(|state| {
            let listing = state.entries.entry(service.clone()).or_default();
            listing.insert(id.to_owned(), (value.as_bytes().to_vec(), None));
        });
    }

    fn wipe(&self) {
        self.set(|state| {
            state.entries.clear();
            state.history += 1;
        });
    }

    async fn answer(&self) -> Result<MutexGuard<'_, State>, Failure> {
        let mood = self.state().mood;
        match mood {
            Mood::Well => {}
            Mood::Refusing => return Err(Failure::new("refused")),
            Mood::Hanging => pending().await,
        }
        let mut state = self.state();
        for listing in state.entries.values_mut() {
            listing.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > Instant::now()));
        }
        Ok(state)
    }

    fn remote(&self) -> impl Future<Output = Remote<Self>> {
        let server = self.clone();
        async move { Remote::new(server, TIMING, None, &Tasks::new()).await.unwrap() }
    }
}

impl Backend for Server {
    const NAME: &'static str = "scripted";

    async fn follow(&self, service: &ServiceName, changes: &Changes) -> Failure {
        self.0.followers.fetch_add(1, Ordering::Relaxed);
        struct Left(Server);
        impl Drop for Left {
            fn drop(&mut self) {
                self.0.0.followers.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let _left = Left(self.clone());
        let mut seen: Option<Vec<(String, Vec<u8>)>> = None;
        loop {
            let changed = self.0.changed.notified();
            let (history, listing) = match self.answer().await {
                Ok(state) => {
                    let listing = state.entries.get(service).cloned().unwrap_or_default();
                    let listing: Vec<_> = listing.into_iter().map(|(id, (value, _))| (id, value)).collect();
                    (History { id: state.history, position: state.position }, listing)
                }
                Err(failure) => return failure,
            };
            match &seen {
                None => changes.listed(history, &listing),
                Some(seen) => {
                    for (id, _) in seen.iter().filter(|(id, _)| !listing.iter().any(|(other, _)| other == id))
                    {
                        changes.deleted(id);
                    }
                    for (id, value) in listing.iter().filter(|entry| !seen.contains(entry)) {
                        changes.put(id, value);
                    }
                }
            }
            changes.heard();
            seen = Some(listing);
            let _ = timeout(TIMING.probe(), changed).await;
        }
    }

    async fn put(&self, entry: &Entry) -> Result<(), Failure> {
        drop(self.answer().await?);
        self.0.puts.fetch_add(1, Ordering::Relaxed);
        self.set(|state| {
            let listing = state.entries.entry(entry.service.clone()).or_default();
            let value = entry.value.clone().into_bytes();
            listing.insert(entry.id.clone(), (value, Some(Instant::now() + TTL)));
        });
        Ok(())
    }

    async fn renew(&self, entry: &Entry) -> Result<bool, Failure> {
        let mut state = self.answer().await?;
        let known = state.entries.get_mut(&entry.service).and_then(|listing| listing.get_mut(&entry.id));
        Ok(known.is_some_and(|(_, expires)| {
            *expires = Some(Instant::now() + TTL);
            true
        }))
    }

    async fn delete(&self, entry: &Entry) -> Result<(), Failure> {
        drop(self.answer().await?);
        self.set(|state| {
            if let Some(listing) = state.entries.get_mut(&entry.service) {
                listing.remove(&entry.id);
            }
        });
        Ok(())
    }

    async fn names(&self, at_most: usize) -> Result<Vec<String>, Failure> {
        let state = self.answer().await?;
        Ok(state.entries.keys().map(ToString::to_string).chain(["Not a name".into()]).take(at_most).collect())
    }
}

fn orders() -> ServiceName {
    ServiceName::new("orders").unwrap()
}

fn record(address: &str) -> String {
    format!(r#"{{"version":1,"address":"http://{address}"}}"#)
}

fn places(watch: &Watch) -> Vec<String> {
    watch.snapshot().iter().map(|endpoint| endpoint.address().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_registered_is_seen_and_what_is_withdrawn_goes() {
    let server = Server::default();
    let (one, other) = (server.remote().await, server.remote().await);
    let watch = other.resolve(&orders());
    assert!(!watch.is_settled(), "nobody was asked yet");
    watch.settled().await;
    assert!(places(&watch).is_empty());

    let lease = one.register(&orders(), Endpoint::tcp("a", 1).with_weight(3).with_zone("north")).unwrap();
    lease.established().await;
    sleep(SOON).await;
    assert_eq!(*watch.snapshot(), [Endpoint::tcp("a", 1).with_weight(3).with_zone("north")]);

    sleep(TTL * 10).await;
    assert_eq!(places(&watch), ["a:1"], "renewed");
    assert_eq!(server.0.puts.load(Ordering::Relaxed), 1, "and not put again");

    lease.withdraw().await;
    assert!(server.state().entries[&orders()].is_empty(), "withdraw waits for the server");
    sleep(SOON).await;
    assert!(places(&watch).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_server_forgot_is_put_anew() {
    let server = Server::default();
    let remote = server.remote().await;
    let lease = remote.register(&orders(), Endpoint::tcp("a", 1)).unwrap();
    lease.established().await;
    server.wipe();
    sleep(TTL / 3 + SOON).await;
    assert_eq!(server.state().entries[&orders()].len(), 1);
    assert!(lease.is_established());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_changes_nothing_and_registrations_wait_for_it() {
    for mood in [Mood::Refusing, Mood::Hanging] {
        let server = Server::default();
        server.write(&orders(), "1", &record("a:1"));
        let remote = server.remote().await;
        let watch = remote.resolve(&orders());
        watch.settled().await;
        assert!(remote.status().is_connected);

        server.be(mood);
        let lease = remote.register(&orders(), Endpoint::tcp("b", 1)).unwrap();
        sleep(TTL * 20).await;
        assert_eq!(places(&watch), ["a:1"]);
        assert!(!lease.is_established());
        let status = remote.status();
        assert!(!status.is_connected && !status.followed[0].is_current, "{status:?}");
        assert!(status.last_error.is_some() && !status.registered[0].is_established, "{status:?}");

        server.be(Mood::Well);
        lease.established().await;
        sleep(SOON).await;
        assert_eq!(places(&watch), ["a:1", "b:1"]);
        assert!(remote.status().is_connected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_answered_for_is_not_settled() {
    let server = Server::default();
    server.be(Mood::Hanging);
    let remote = server.remote().await;
    let watch = remote.resolve(&orders());
    assert!(timeout(TTL * 20, watch.settled()).await.is_err());
    server.be(Mood::Well);
    timeout(SOON, watch.settled()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_back_empty_is_given_the_time_to_live_to_be_restored() {
    let server = Server::default();
    let (one, other) = (server.remote().await, server.remote().await);
    let lease = one.register(&orders(), Endpoint::tcp("a", 1)).unwrap();
    lease.established().await;
    server.write(&orders(), "gone", &record("b:1"));
    let watch = other.resolve(&orders());
    watch.settled().await;
    assert_eq!(places(&watch), ["a:1", "b:1"]);

    server.be(Mood::Refusing);
    sleep(SOON).await;
    server.wipe();
    server.be(Mood::Well);
    // It is back, and empty, until the registrant renews.
    let until = Instant::now() + TTL / 2 + SOON;
    while Instant::now() < until {
        assert!(places(&watch).contains(&"a:1".to_owned()), "never withdrawn");
        sleep(Duration::from_millis(50)).await;
    }
    sleep(TTL).await;
    assert_eq!(places(&watch), ["a:1"], "who did not come back is gone");
}

#[tokio::test(start_paused = true)]
async fn what_runs_out_is_failing_and_the_last_of_it_stays_until_something_else_is_listed() {
    let mut view = View::new(TTL);
    let history = History { id: 1, position: 1 };
    let entry = |id: &str| (id.to_owned(), record(&format!("{id}:1")).into_bytes());
    view.list(Instant::now(), None, history, &[entry("a"), entry("b")]);
    let now = |view: &View| -> Vec<_> {
        let endpoints = view.endpoints().into_iter();
        endpoints.map(|endpoint| (endpoint.address().to_string(), endpoint.health())).collect()
    };
    let (a, b, c) = ("a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned());

    view.run_out(Instant::now(), "a");
    assert_eq!(now(&view), [(a, Health::Failing), (b.clone(), Health::Serving)]);
    sleep(view.next_expiry().unwrap() - Instant::now()).await;
    view.expire(Instant::now());
    assert_eq!(now(&view), [(b.clone(), Health::Serving)], "it crashed");

    view.run_out(Instant::now(), "b");
    assert_eq!(view.next_expiry(), None);
    sleep(TTL * 100).await;
    view.expire(Instant::now());
    assert_eq!(now(&view), [(b.clone(), Health::Failing)], "it is all there is");
    view.put("c", &entry("c").1);
    sleep(TTL).await;
    view.expire(Instant::now());
    assert_eq!(now(&view), [(c, Health::Serving)]);

    view.run_out(Instant::now(), "c");
    view.delete("c");
    assert_eq!(now(&view), [], "a withdrawal holds at once");
}

#[tokio::test(start_paused = true)]
async fn what_was_withdrawn_in_a_short_interruption_is_gone_after_it() {
    let server = Server::default();
    server.write(&orders(), "1", &record("a:1"));
    server.write(&orders(), "2", &record("b:1"));
    let remote = server.remote().await;
    let watch = remote.resolve(&orders());
    watch.settled().await;
    server.be(Mood::Refusing);
    // With the wait before the next attempt, which is 1.6 s at most by then, less than half a time to live.
    sleep(Duration::from_secs(1)).await;
    server.set(|state| drop(state.entries.get_mut(&orders()).unwrap().remove("1")));
    server.be(Mood::Well);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(places(&watch), ["b:1"]);
}

#[tokio::test(start_paused = true)]
async fn garbage_beside_and_in_the_place_of_entries_changes_nothing() {
    let server = Server::default();
    server.write(&orders(), "1", &record("a:1"));
    server.write(&orders(), "garbage", "\u{0}");
    let remote = server.remote().await;
    let watch = remote.resolve(&orders());
    watch.settled().await;
    assert_eq!(places(&watch), ["a:1"]);
    server.write(&orders(), "1", "[]");
    server.write(&orders(), "socket", r#"{"version":1,"address":"unix:/run/engine.sock"}"#);
    sleep(SOON).await;
    assert_eq!(places(&watch), ["a:1"]);
    assert_eq!(remote.status().counted["malformed"], 3);

    server.be(Mood::Refusing);
    sleep(SOON).await;
    server.be(Mood::Well);
    sleep(TTL * 2).await;
    assert_eq!(places(&watch), ["a:1"], "also after it was listed as garbage");
}

#[tokio::test(start_paused = true)]
async fn of_two_entries_for_one_place_the_newer_counts() {
    let server = Server::default();
    let remote = server.remote().await;
    let watch = remote.resolve(&orders());
    let old = remote.register(&orders(), Endpoint::tcp("a", 1)).unwrap();
    old.established().await;
    // The records tell the time by the wall clock, which is not paused.
    std::thread::sleep(Duration::from_millis(5));
    let new = remote.register(&orders(), Endpoint::tcp("a", 1).with_weight(9)).unwrap();
    new.established().await;
    sleep(SOON).await;
    assert_eq!(*watch.snapshot(), [Endpoint::tcp("a", 1).with_weight(9)]);
    old.withdraw().await;
    sleep(SOON).await;
    assert_eq!(*watch.snapshot(), [Endpoint::tcp("a", 1).with_weight(9)]);
}

#[tokio::test(start_paused = true)]
async fn what_no_other_host_could_reach_is_not_registered() {
    let remote = Server::default().remote().await;
    for endpoint in [Endpoint::in_process(), Endpoint::unix("/run/x"), Endpoint::tcp("0.0.0.0", 80)] {
        let refused = remote.register(&orders(), endpoint).unwrap_err();
        assert_eq!(refused.registry, "scripted");
    }
    assert!(remote.status().registered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn withdrawing_from_a_registry_that_is_away_ends_within_its_bound() {
    let server = Server::default();
    let remote = server.remote().await;
    let lease = remote.register(&orders(), Endpoint::tcp("a", 1)).unwrap();
    lease.established().await;
    server.be(Mood::Hanging);
    timeout(TIMING.withdrawal() + Duration::from_millis(10), lease.withdraw()).await.unwrap();
    sleep(SOON).await;
    assert!(remote.status().registered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_are_followed_while_they_are_watched_and_no_more_than_a_bound() {
    let server = Server::default();
    let remote = server.remote().await;
    let followers = || server.0.followers.load(Ordering::Relaxed);
    let watch = remote.resolve(&orders());
    let _again = remote.resolve(&orders());
    sleep(SOON).await;
    assert_eq!(followers(), 1, "once, however many watch");
    drop((watch, _again));
    sleep(LINGER * 2).await;
    assert_eq!(followers(), 0);
    assert!(remote.status().followed.is_empty());

    let name = |number| ServiceName::new(format!("n{number}")).unwrap();
    let held: Vec<_> = (0..MOST_FOLLOWED).map(|number| remote.resolve(&name(number))).collect();
    assert!(remote.resolve(&name(MOST_FOLLOWED)).is_settled(), "one too many has no endpoints");
    drop(held);
    assert!(!remote.resolve(&name(MOST_FOLLOWED)).is_settled(), "room is made at once");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_comes_back_while_the_name_lingers_keeps_it() {
    let server = Server::default();
    server.write(&orders(), "1", &record("a:1"));
    let remote = server.remote().await;
    remote.resolve(&orders()).settled().await;
    sleep(LINGER / 2).await;
    let watch = remote.resolve(&orders());
    assert_eq!(places(&watch), ["a:1"], "known without asking again");
    sleep(LINGER * 3).await;
    server.write(&orders(), "2", &record("b:1"));
    sleep(SOON).await;
    assert_eq!(places(&watch), ["a:1", "b:1"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_registry_is_dropped_its_tasks_end_and_watches_keep_what_they_have() {
    let server = Server::default();
    let tasks = Tasks::new();
    let remote = Remote::new(server.clone(), TIMING, None, &tasks).await.unwrap();
    let lease = remote.register(&orders(), Endpoint::tcp("a", 1)).unwrap();
    let watch = remote.resolve(&orders());
    lease.established().await;
    sleep(SOON).await;
    drop(remote);
    sleep(SOON).await;
    assert!(tasks.is_empty(), "{} tasks are left", tasks.len());
    assert_eq!(places(&watch), ["a:1"]);
    assert!(server.state().entries[&orders()].is_empty(), "what it registered is withdrawn");
    timeout(SOON, lease.withdraw()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn known_names_are_asked_for_in_the_background() {
    let server = Server::default();
    server.write(&orders(), "1", &record("a:1"));
    let remote = server.remote().await;
    sleep(SOON).await;
    assert_eq!(remote.known(), [orders()]);
    let other = ServiceName::new("stock").unwrap();
    server.write(&other, "1", &record("a:2"));
    sleep(SOON).await;
    remote.known();
    sleep(SOON).await;
    assert_eq!(remote.known(), [orders(), other]);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_is_published_in_lists_and_not_one_by_one() {
    let server = Server::default();
    let remote = server.remote().await;
    let watch = remote.resolve(&orders());
    watch.settled().await;
    for number in 0..1000 {
        server.write(&orders(), &number.to_string(), &record(&format!("a{number}:1")));
        if number % 100 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    sleep(SOON).await;
    assert_eq!(places(&watch).len(), 1000);
    assert!(watch.version() < 20, "{} publications", watch.version());
}

#[tokio::test]
async fn endpoints_are_kept_over_a_restart_until_the_registry_answers() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("endpoints.json"));
    let server = Server::default();
    server.write(&orders(), "1", &record("a:1"));
    let tasks = Tasks::new();
    let remote = Remote::new(server.clone(), TIMING, Some(&cache), &tasks).await.unwrap();
    remote.resolve(&orders()).settled().await;
    drop(remote);
    tasks.stop(SOON).await.unwrap();

    server.be(Mood::Refusing);
    let remote = Remote::new(server.clone(), TIMING, Some(&cache), &Tasks::new()).await.unwrap();
    let watch = remote.resolve(&orders());
    assert!(watch.is_settled());
    assert_eq!(places(&watch), ["a:1"]);
    let followed = &remote.status().followed[0];
    assert!(followed.unconfirmed == 1 && !followed.is_current, "{followed:?}");

    server.set(|state| drop(state.entries.remove(&orders())));
    server.write(&orders(), "2", &record("b:1"));
    server.be(Mood::Well);
    let mut seen = watch.version();
    while places(&watch) != ["b:1"] {
        seen = timeout(Duration::from_secs(30), watch.changed_since(seen)).await.unwrap();
    }
}

#[tokio::test]
async fn a_cache_that_is_old_foreign_or_garbage_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut cache = Cache::new(folder.path().join("endpoints.json"));
    cache.max_age = config::Duration::from_secs(60);
    let document = |registry: &str, confirmed: u64| {
        let record = record("a:1");
        format!(
            r#"{{"version":1,"registry":"{registry}","services":{{"orders":{{"confirmed":{confirmed},
            "entries":{{"1":{record},"2":{{"version":1,"address":"unix:/run/x"}},"3":7}}}}}}}}"#
        )
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let cases = [
        (document("scripted", now), 1),
        (document("scripted", now - 120), 0),
        (document("scripted", now + 120), 0),
        (document("other", now), 0),
        ("garbage".to_owned(), 0),
    ];
    let server = Server::default();
    server.be(Mood::Hanging);
    for (content, expected) in cases {
        std::fs::write(&cache.file, &content).unwrap();
        let remote = Remote::new(server.clone(), TIMING, Some(&cache), &Tasks::new()).await.unwrap();
        assert_eq!(places(&remote.resolve(&orders())).len(), expected, "{content}");
    }
    let nowhere = Cache::new(folder.path().join("nowhere/endpoints.json"));
    let error = Remote::new(server, TIMING, Some(&nowhere), &Tasks::new()).await.unwrap_err();
    assert!(error.to_string().contains("nowhere/endpoints.json"), "{error}");
}
