//! Files that change while decisions are made.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use super::*;

fn files(policies: &str) -> (TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.cedarschema"), SCHEMA).unwrap();
    fs::write(folder.path().join("orders.cedar"), policies).unwrap();
    let schema = folder.path().join("shop.cedarschema");
    let config = Config::of_files(schema, [folder.path()])
        .with_issuer(ISSUER)
        .with_claim("level", "level")
        .with_claim("tenant", "t");
    (folder, config)
}

/// Replaced, as whoever deploys it does.
fn replace(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

/// Until `condition` holds; the clock of the test goes on by itself.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_is_taken_over_whole_or_refused_whole() {
    let (folder, config) = files("permit(principal, action, resource);");
    let policies = Policies::open(&config, &Tasks::new()).await.unwrap();
    let now = || outcome(&policies, &alice(), READ, &order());
    assert_eq!(now(), Outcome::Permit);

    // One good file and one bad one: neither is taken.
    fs::write(folder.path().join("more.cedar"), "forbid(principal, action, resource);").unwrap();
    replace(folder.path(), "orders.cedar", "permit(principal, action, resource is Nothing);");
    let refused = || policies.0.shared.refused.borrow().clone();
    until(|| refused().is_some_and(|why| why.contains("orders.cedar:1: ") && why.contains("Nothing"))).await;
    assert_eq!(now(), Outcome::Permit);

    replace(folder.path(), "orders.cedar", "permit(principal, action, resource is Order);");
    until(|| now() == Outcome::Forbid).await;
    assert_eq!(refused(), None);

    // A file that is gone is a change as well, one of the schema too.
    fs::remove_file(folder.path().join("more.cedar")).unwrap();
    until(|| now() == Outcome::Permit).await;
    replace(folder.path(), "shop.cedarschema", "entity User;");
    until(|| refused().is_some()).await;
    assert_eq!(now(), Outcome::Permit);

    let registry = Registry::new();
    policies.observe(&registry);
    let reloads = super::audit::series(&registry, "auth.policy.reloads");
    assert!(reloads["taken"] >= 2 && reloads["refused"] >= 2, "{reloads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "a task of the test's own")]
async fn no_decision_sees_half_of_a_change() {
    let version = |number: usize| {
        format!(
            "@id(\"a{number}\") permit(principal, action, resource);\n@id(\"b{number}\") permit(principal is User, action, resource);"
        )
    };
    let (_folder, config) = files(&version(0));
    let policies = Policies::read(&config).unwrap();
    let (end, ended) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), policies.clone());
    let stop = end.clone();
    let deciding = tokio::task::spawn_blocking(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let (outcome, ids) = decided(&ended, &alice(), READ, &order());
            assert_eq!(outcome, Outcome::Permit);
            assert_eq!(ids.len(), 2);
            assert_eq!(ids[0][1..], ids[1][1..], "{ids:?}");
            seen.insert(ids[0].clone());
        }
        seen
    });
    for number in 1..40 {
        let mut config = config.clone();
        config.paths = Vec::new();
        config.policies = Some(version(number));
        let source = Source::read(&config).unwrap();
        policies.0.shared.take(Set::understand(&source, &config));
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(!deciding.await.unwrap().is_empty());
    assert_eq!(decided(&policies, &alice(), READ, &order()).1, ["a39", "b39"]);
}

#[tokio::test(start_paused = true)]
async fn the_watching_ends_with_the_last_clone() {
    let (_folder, config) = files("permit(principal, action, resource);");
    let tasks = Tasks::new();
    let policies = Policies::open(&config, &tasks).await.unwrap();
    let clone = policies.clone();
    drop(policies);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tasks.len(), 1);
    drop(clone);
    until(|| tasks.is_empty()).await;
}
