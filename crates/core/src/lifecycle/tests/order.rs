//! Start: order, bounds, failures.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_component_starts_after_what_it_depends_on_and_stops_before_it() {
    let journal = Journal::default();
    let result = Lifecycle::new()
        .with(Part::new("server", &journal).after(Dependencies::everything()))
        .with(Part::new("register", &journal).after(Dependencies::everything().and("server")))
        .with(Part::new("cache", &journal).after(Dependencies::on(["database"])))
        .with(Part::new("database", &journal))
        .with(Part::new("log", &journal).after(Dependencies::before_everything()))
        .run_with(terminate_after(seconds(1)))
        .await;
    result.unwrap();
    for hook in ["start", "stop", "drain"] {
        let mut order = ["log", "database", "cache", "server", "register"];
        if hook != "start" {
            order.reverse();
        }
        for pair in order.windows(2) {
            let first = journal.position(&format!("{hook} {} done", pair[0]));
            assert!(first < journal.position(&format!("{hook} {}", pair[1])), "{:?}", journal.entries());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn independent_components_start_together() {
    let journal = Journal::default();
    let lifecycle = Lifecycle::new()
        .with(Part::new("a", &journal).taking(seconds(10)))
        .with(Part::new("b", &journal).taking(seconds(10)));
    let observer = lifecycle.observer();
    let run = lifecycle.run_with(futures_util::stream::pending());
    tokio::select! {
        _ = run => unreachable!("nothing ends it"),
        () = observer.reached(Stage::Running) => assert_eq!(observer.uptime(), seconds(10)),
    }
}

#[test]
fn a_circle_is_refused_with_its_path() {
    let journal = Journal::default();
    let error = Lifecycle::new()
        .with(Part::new("d", &journal).after(Dependencies::on(["a"])))
        .with(Part::new("a", &journal).after(Dependencies::on(["b"])))
        .with(Part::new("b", &journal).after(Dependencies::on(["c"])))
        .with(Part::new("c", &journal).after(Dependencies::on(["a"])))
        .check()
        .unwrap_err();
    assert_eq!(
        chain(&error),
        "the components can't be ordered: components depend on each other in a circle: a -> b -> c -> a"
    );
}

#[test]
fn a_component_that_depends_on_one_that_waits_for_everything_is_a_circle() {
    let journal = Journal::default();
    let error = Lifecycle::new()
        .with(Part::new("server", &journal).after(Dependencies::everything()))
        .with(Part::new("cache", &journal).after(Dependencies::on(["server"])))
        .check()
        .unwrap_err();
    assert!(matches!(error, Error::Order(InvalidOrder::Cycle(_))), "{error:?}");
}

#[test]
fn an_unknown_dependency_and_a_name_used_twice_are_refused_by_name() {
    let journal = Journal::default();
    let unknown = Lifecycle::new()
        .with(Part::new("cache", &journal).after(Dependencies::on(["databse"])))
        .with(Part::new("database", &journal));
    assert_eq!(
        chain(&unknown.check().unwrap_err()),
        "the components can't be ordered: component `cache` depends on `databse`, which is not a component; \
         there are: cache, database"
    );
    let twice = Lifecycle::new().with(Part::new("a", &journal)).with(Part::new("a", &journal));
    assert_eq!(
        chain(&twice.check().unwrap_err()),
        "the components can't be ordered: two components are named `a`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_scoped_component_finds_its_dependencies_in_its_scope_first() {
    let journal = Journal::default();
    let result = Lifecycle::new()
        .with(Part::new("identity", &journal))
        .with_scoped("orders", Part::new("cache", &journal).after(Dependencies::on(["db", "identity"])))
        .with_scoped("orders", Part::new("db", &journal))
        .with_scoped("stock", Part::new("db", &journal))
        .run_with(terminate_after(seconds(1)))
        .await;
    result.unwrap();
    assert!(journal.position("start identity done") < journal.position("start cache"));
    assert!(journal.position("start db done") < journal.position("start cache"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_stops_what_had_started_and_starts_nothing_more() {
    let journal = Journal::default();
    let broken = component::<(), _, _>("broken", |_| async { Err(std::io::Error::other("no route").into()) });
    let error = Lifecycle::new()
        .with(Part::new("log", &journal))
        .with(Part::new("database", &journal).after(Dependencies::on(["log"])))
        .with(broken.after(["database"]))
        .with(Part::new("server", &journal).after(Dependencies::everything()))
        .run_with(futures_util::stream::pending())
        .await
        .unwrap_err();
    assert_eq!(chain(&error), "component `broken` did not start: it failed: no route");
    assert_eq!(Exit::of(&Err(error)).code(), 1);
    assert!(journal.position("stop database done") < journal.position("stop log"));
    assert!(!journal.entries().iter().any(|entry| entry.contains("server")));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_panics_or_hangs_is_reported_by_name() {
    let panics = component::<(), _, _>("fragile", |_| async { panic!("index {} of 3", 7) });
    let error = Lifecycle::new().with(panics).run_with(futures_util::stream::pending()).await.unwrap_err();
    assert_eq!(chain(&error), "component `fragile` did not start: it panicked: index 7 of 3");

    let hangs = component::<(), _, _>("slow", |_| std::future::pending());
    let config = Config::default().with_start_timeout(seconds(7));
    let error = Lifecycle::new()
        .with_config(config.clone())
        .with(hangs)
        .run_with(futures_util::stream::pending())
        .await
        .unwrap_err();
    assert_eq!(chain(&error), "component `slow` did not start: it was not done after 7s");

    let patient = component::<(), _, _>("slow", |_| std::future::pending()).with_start_timeout(seconds(90));
    let error = Lifecycle::new()
        .with_config(config)
        .with(patient)
        .run_with(futures_util::stream::pending())
        .await
        .unwrap_err();
    assert_eq!(chain(&error), "component `slow` did not start: it was not done after 90s");
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_the_start_drops_the_start_and_stops_the_rest() {
    let journal = Journal::default();
    let result = Lifecycle::new()
        .with(Part::new("database", &journal))
        .with(Part::new("slow", &journal).after(Dependencies::on(["database"])).taking(seconds(20)))
        .run_with(terminate_after(seconds(1)))
        .await;
    result.unwrap();
    assert!(!journal.entries().contains(&"start slow done".to_owned()));
    assert!(!journal.entries().contains(&"stop slow".to_owned()));
    journal.position("stop database done");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_ends_before_its_delay_is_refused_as_configuration() {
    let drain = DrainConfig::default().with_delay(seconds(9)).with_timeout(seconds(9));
    let lifecycle = Lifecycle::new().with_drain(drain);
    let result = lifecycle.run_with(futures_util::stream::pending()).await;
    assert_eq!(Exit::of(&result).code(), 78);
    assert_eq!(
        result.unwrap_err().to_string(),
        "drain.delay is 9s, expected less than drain.timeout (9s), which includes it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_blocks_its_thread_does_not_hold_up_its_bound() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocks = component::<(), _, _>("blocks", |_| async move {
        let _ = blocked.recv();
        Ok(())
    });
    let run = Lifecycle::new()
        .with(blocks.with_start_timeout(Duration::from_millis(20)))
        .run_with(futures_util::stream::pending());
    let error = tokio::time::timeout(seconds(60), run).await.unwrap().unwrap_err();
    assert_eq!(chain(&error), "component `blocks` did not start: it was not done after 20ms");
    drop(release);
}
