//! What every store promises, by two handles on one of them, as two processes have it.

#![allow(clippy::disallowed_methods, reason = "the tasks of a test end in it")]

use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};

use super::*;
use crate::issuer::{
    config,
    database::Database,
    tests::databases::{Databases, Postgres},
};

const NOW: u64 = 1_800_000_000;
const LATER: u64 = NOW + 60;

type Two = [Store; 2];

async fn open(url: &str) -> Store {
    Store::in_database(Database::open(&config::Store::new(url)).await.unwrap())
}

async fn two(databases: &Databases) -> Two {
    let url = databases.new_url();
    [open(&url).await, open(&url).await]
}

/// Each promise, of stores that nobody else uses.
async fn keeps_its_promises(two: impl AsyncFn() -> Two) {
    a_record_is_there_until_it_ends(two().await).await;
    kinds_and_names_are_told_apart(two().await).await;
    of_many_that_add_one_wins(two().await).await;
    of_many_that_swap_one_wins(two().await).await;
    what_is_replaced_removed_or_prolonged_is_so_for_all(two().await).await;
    Box::pin(what_has_ended_is_swept_and_nothing_else(two().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    keeps_its_promises(async || {
        let store = Store::in_memory();
        [store.clone(), store]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_sqlite() {
    let databases = Databases::sqlite();
    keeps_its_promises(async || two(&databases).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_postgresql() {
    let databases = Databases::postgres().await;
    keeps_its_promises(async || two(&databases).await).await;
}

async fn value(store: &Store, kind: Kind, name: &str, now: u64) -> Option<String> {
    store.get::<String>(kind, name, now).await.unwrap().map(|found| found.value)
}

async fn a_record_is_there_until_it_ends([one, other]: Two) {
    let name = "na'me\"; DROP TABLE x; -- \u{1f511}";
    let text = format!("te'xt \0 \\ \u{1f511} {}", "x".repeat(20_000));
    assert!(one.insert(Kind::Code, name, &text, LATER, NOW).await.unwrap());
    assert_eq!(value(&other, Kind::Code, name, LATER - 1).await, Some(text));
    assert_eq!(value(&other, Kind::Code, name, LATER).await, None);
    assert!(!other.insert(Kind::Code, name, &"2", LATER, LATER - 1).await.unwrap());
    assert!(other.insert(Kind::Code, name, &"3", LATER + 9, LATER).await.unwrap(), "the other has ended");
    assert_eq!(value(&one, Kind::Code, name, LATER).await.as_deref(), Some("3"));
    assert!(one.insert(Kind::Keys, "for ever", &"4", u64::MAX, NOW).await.unwrap());
    assert_eq!(value(&one, Kind::Keys, "for ever", NOW << 10).await.as_deref(), Some("4"));
}

async fn kinds_and_names_are_told_apart([one, other]: Two) {
    let kinds = [
        Kind::Code,
        Kind::Grant,
        Kind::Refresh,
        Kind::Session,
        Kind::Consent,
        Kind::Assertion,
        Kind::Revoked,
        Kind::Keys,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        for name in ["a", "A", "a ", ""] {
            assert!(one.insert(kind, name, &format!("{index}{name}"), LATER, NOW).await.unwrap());
        }
    }
    for (index, kind) in kinds.into_iter().enumerate() {
        assert_eq!(value(&other, kind, "A", NOW).await, Some(format!("{index}A")));
    }
}

/// How many of several that begin at once, on both handles, hear that it was they.
async fn winners<F>(stores: &Two, what: impl Fn(Store, usize) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    const MANY: usize = 12;
    let barrier = Arc::new(Barrier::new(MANY));
    let mut all = JoinSet::new();
    for index in 0..MANY {
        let (barrier, work) = (Arc::clone(&barrier), what(stores[index % 2].clone(), index));
        all.spawn(async move {
            barrier.wait().await;
            work.await
        });
    }
    all.join_all().await.into_iter().filter(|won| *won).count()
}

async fn of_many_that_add_one_wins(stores: Two) {
    for round in 0..10 {
        let won = winners(&stores, |store, index| async move {
            store.insert(Kind::Assertion, &format!("{round}"), &index, LATER, NOW).await.unwrap()
        });
        assert_eq!(won.await, 1);
        // And of one that has ended, too.
        let won = winners(&stores, |store, index| async move {
            store.insert(Kind::Assertion, &format!("{round}"), &index, LATER + 60, LATER).await.unwrap()
        });
        assert_eq!(won.await, 1);
    }
}

async fn of_many_that_swap_one_wins(stores: Two) {
    let [one, other] = &stores;
    one.insert(Kind::Refresh, "r", &0, LATER, NOW).await.unwrap();
    for _ in 0..10 {
        let found = one.get::<usize>(Kind::Refresh, "r", NOW).await.unwrap().unwrap();
        let won = winners(&stores, |store, index| {
            let found = found.clone();
            async move {
                let value = found.value + 1 + index;
                store.swap(Kind::Refresh, "r", &found, &value).await.unwrap()
            }
        });
        assert_eq!(won.await, 1);
        assert!(!other.swap(Kind::Refresh, "r", &found, &0).await.unwrap(), "it is another now");
    }
    let found = one.get::<usize>(Kind::Refresh, "r", NOW).await.unwrap().unwrap();
    assert!(!other.swap(Kind::Refresh, "s", &found, &0).await.unwrap(), "there is none");
    assert!(one.get::<usize>(Kind::Refresh, "r", LATER).await.unwrap().is_none(), "its end has stayed");
}

async fn what_is_replaced_removed_or_prolonged_is_so_for_all([one, other]: Two) {
    one.put(Kind::Consent, "c", &"1", LATER, NOW).await.unwrap();
    other.put(Kind::Consent, "c", &"2", LATER + 9, NOW).await.unwrap();
    assert_eq!(value(&one, Kind::Consent, "c", LATER).await.as_deref(), Some("2"));
    assert!(other.keep(Kind::Consent, "c", LATER + 99, LATER).await.unwrap());
    assert_eq!(value(&one, Kind::Consent, "c", LATER + 98).await.as_deref(), Some("2"));
    assert!(!one.keep(Kind::Consent, "c", LATER + 999, LATER + 99).await.unwrap(), "it has ended");
    assert!(!one.keep(Kind::Consent, "d", LATER, NOW).await.unwrap(), "there is none");
    other.remove(Kind::Consent, "c").await.unwrap();
    other.remove(Kind::Consent, "c").await.unwrap();
    assert_eq!(value(&one, Kind::Consent, "c", NOW).await, None);
}

async fn what_has_ended_is_swept_and_nothing_else(stores: Two) {
    const MANY: usize = 1_200;
    let mut adding = JoinSet::new();
    for part in 0..8 {
        let store = stores[part % 2].clone();
        adding.spawn(async move {
            for index in 0..MANY / 8 {
                store.insert(Kind::Code, &format!("{part}.{index}"), &"x", LATER, NOW).await.unwrap();
            }
        });
    }
    adding.join_all().await;
    let [one, other] = &stores;
    one.insert(Kind::Code, "lasts", &"x", LATER + 1, NOW).await.unwrap();
    one.sweep(LATER - 1).await.unwrap();
    assert!(one.get::<String>(Kind::Code, "0.0", NOW).await.unwrap().is_some());
    let (first, second) = tokio::join!(one.sweep(LATER), other.sweep(LATER));
    first.unwrap();
    second.unwrap();
    // Times before its end would find it, were it there.
    for name in ["0.0", "7.149"] {
        assert!(one.get::<String>(Kind::Code, name, NOW).await.unwrap().is_none());
    }
    assert!(one.get::<String>(Kind::Code, "lasts", NOW).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_start_at_once_make_the_tables_once() {
    for databases in [Databases::sqlite(), Databases::postgres().await] {
        let url = databases.new_url();
        let mut all = JoinSet::new();
        for _ in 0..6 {
            let url = url.clone();
            all.spawn(async move { open(&url).await });
        }
        let stores = all.join_all().await;
        assert!(stores[0].insert(Kind::Code, "a", &(), LATER, NOW).await.unwrap());
        assert!(!stores[5].insert(Kind::Code, "a", &(), LATER, NOW).await.unwrap());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_is_for_nobody_else_and_one_that_others_may_read_is_refused() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let databases = Databases::sqlite();
    let url = databases.new_url();
    let store = open(&url).await;
    store.insert(Kind::Code, "a", &(), LATER, NOW).await.unwrap();
    let path = url.strip_prefix("sqlite://").unwrap();
    for beside in ["", "-wal", "-shm"] {
        let mode = fs::metadata(format!("{path}{beside}")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{beside}");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Database::open(&config::Store::new(url.as_str())).await.unwrap_err().to_string();
    assert!(refused.contains("mode 640") && refused.contains("expected 600"), "{refused}");
    let refused =
        Database::open(&config::Store::new("sqlite:///nowhere/at/all")).await.unwrap_err().to_string();
    assert!(refused.contains("/nowhere/at/all"), "{refused}");
}

#[tokio::test]
async fn tables_of_a_newer_program_are_left_alone() {
    let server = Postgres::start().await;
    let url = server.url("postgres");
    drop(open(&url).await);
    server.sql("postgres", "INSERT INTO mainstay_idp_schema VALUES (99)");
    let refused = Database::open(&config::Store::new(url)).await.unwrap_err().to_string();
    assert!(refused.contains("version 99") && refused.contains("newer"), "{refused}");
}

#[tokio::test]
async fn once_the_tables_are_there_no_right_to_make_some_is_needed() {
    let server = Postgres::start().await;
    server.sql("postgres", "CREATE ROLE lesser LOGIN");
    let url = server.url("postgres").replace("mainstay@", "lesser@");
    let refused = Database::open(&config::Store::new(url.as_str())).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
    drop(open(&server.url("postgres")).await);
    let tables = "mainstay_idp_schema, mainstay_idp_records, mainstay_idp_users, mainstay_idp_clients";
    server.sql("postgres", &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO lesser"));
    assert!(open(&url).await.insert(Kind::Code, "a", &(), LATER, NOW).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stands_still_costs_the_configured_time_and_is_found_again() {
    let server = Postgres::start().await;
    let mut config = config::Store::new(server.url("postgres"));
    (config.connections, config.timeout) = (2, mainstay_core::config::Duration::from_millis(500));
    let store = Store::in_database(Database::open(&config).await.unwrap());
    store.insert(Kind::Code, "a", &(), LATER, NOW).await.unwrap();
    server.freeze();
    // More than it has connections: those that hang must not stay taken.
    let mut all = JoinSet::new();
    for _ in 0..6 {
        let store = store.clone();
        all.spawn(async move { store.get::<()>(Kind::Code, "a", NOW).await.unwrap_err().to_string() });
    }
    for told in all.join_all().await {
        assert!(told.contains("did not answer within 500ms"), "{told}");
    }
    let refused = Database::open(&config).await.unwrap_err().to_string();
    assert!(refused.contains("did not answer"), "{refused}");
    server.thaw();
    until(async || store.get::<()>(Kind::Code, "a", NOW).await.is_ok_and(|found| found.is_some())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_is_found_again_with_what_it_had() {
    let server = Postgres::start().await;
    let mut config = config::Store::new(server.url("postgres"));
    config.timeout = mainstay_core::config::Duration::from_secs(1);
    let store = Store::in_database(Database::open(&config).await.unwrap());
    store.insert(Kind::Refresh, "a", &1, LATER, NOW).await.unwrap();
    server.kill();
    assert!(store.get::<u8>(Kind::Refresh, "a", NOW).await.is_err());
    server.restart().await;
    until(async || store.get::<u8>(Kind::Refresh, "a", NOW).await.is_ok_and(|found| found.is_some())).await;
}

/// It comes in the end; the machine may be slow.
async fn until(is_so: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < end, "it never comes");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
