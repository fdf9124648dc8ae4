//! Run, drain, stop.

use super::{log::Log, *};

/// A server as the facade writes it: serves until the listeners close, then takes this long.
fn server(takes: Duration, journal: &Journal) -> impl Component + use<> {
    let journal = journal.clone();
    component("server", move |context: Context| async move {
        let drain = context.drain();
        context.serve(async move {
            drain.reached(Phase::Closing).await;
            tokio::select! {
                () = tokio::time::sleep(takes) => journal.note("served"),
                () = drain.reached(Phase::Cut) => journal.note("cut"),
            }
            Ok(())
        });
        Ok(())
    })
    .after(Dependencies::everything())
}

#[tokio::test(start_paused = true)]
async fn the_phases_come_in_order_and_the_log_has_the_time_of_each() {
    let log = Log::keep();
    let journal = Journal::default();
    let flushed = journal.clone();
    Lifecycle::new()
        .with_drain(DrainConfig::default().with_delay(seconds(3)).with_timeout(seconds(20)))
        .with(Part::new("database", &journal).taking(seconds(1)))
        .with(server(seconds(5), &journal))
        .with_flush("telemetry", async move {
            flushed.note("flush");
            tokio::time::sleep(seconds(2)).await;
            Ok(())
        })
        .run_with(terminate_after(seconds(60)))
        .await
        .unwrap();

    let order = ["start database", "withdraw database", "served", "drain database", "stop database", "flush"];
    let positions: Vec<usize> = order.iter().map(|what| journal.position(what)).collect();
    assert!(positions.is_sorted(), "{:?}", journal.entries());
    // Paused time moves in whole timer ticks of a millisecond.
    let phases: Vec<String> = log.lines_with("message=drain");
    let shown: Vec<&str> =
        phases.iter().map(|line| line.split(" remaining").next().unwrap().trim()).collect();
    let expected = [("announce", 1), ("delay", 3), ("close", 6), ("stop", 1), ("flush", 2)];
    assert_eq!(shown.len(), expected.len(), "{shown:?}");
    for (line, (phase, seconds)) in shown.iter().zip(expected) {
        let exactly = line.contains(&format!("phase=\"{phase}\" took={seconds}s"));
        assert!(exactly || line.contains(&format!("phase=\"{phase}\" took={seconds}.00")), "{line}");
    }
    assert_eq!(log.lines_with("message=stopped").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_cut_at_the_timeout_and_that_is_a_clean_end() {
    let log = Log::keep();
    let journal = Journal::default();
    let began = tokio::time::Instant::now();
    Lifecycle::new()
        .with_drain(DrainConfig::default().with_delay(seconds(3)).with_timeout(seconds(20)))
        .with(server(seconds(3600), &journal))
        .run_with(terminate_after(seconds(1)))
        .await
        .unwrap();
    assert_eq!(journal.entries(), ["cut"]);
    assert!(began.elapsed() < seconds(22), "{:?}", began.elapsed());
    assert!(log.lines_with("phase=\"close\"")[0].contains("remaining=\"server\""));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_ignores_the_cut_does_not_hold_up_the_end() {
    let began = tokio::time::Instant::now();
    let stubborn = component("stubborn", |context: Context| async move {
        context.serve(std::future::pending());
        Ok(())
    });
    Lifecycle::new().with(stubborn).run_with(terminate_after(seconds(1))).await.unwrap();
    assert!(began.elapsed() < seconds(25), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn not_ready_is_said_before_streams_hear_of_the_drain() {
    let lifecycle = Lifecycle::new();
    let (health, drain, observer) = (lifecycle.health().clone(), lifecycle.drain(), lifecycle.observer());
    let journal = Journal::default();
    let lifecycle = lifecycle.with(Part::new("database", &journal));
    let run = lifecycle.run_with(terminate_after(seconds(1)));
    let look = async {
        assert!(!health.is_ready());
        observer.reached(Stage::Running).await;
        health.ready().await;
        drain.begun().await;
        assert!(!health.is_ready());
        health.start();
        assert!(!health.is_ready());
    };
    let (result, ()) = tokio::join!(run, look);
    result.unwrap();
    assert_eq!(observer.stage(), Stage::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_the_run_at_once_with_its_status() {
    for (signal, status) in [(Signal::Terminate, 143), (Signal::Interrupt, 130)] {
        let journal = Journal::default();
        let began = tokio::time::Instant::now();
        let result = Lifecycle::new()
            .with(server(seconds(3600), &journal))
            .run_with(signals(&[(seconds(1), Signal::Terminate), (seconds(2), signal)]))
            .await;
        assert!(matches!(result, Err(Error::Forced(by)) if by == signal), "{result:?}");
        assert_eq!(Exit::of(&result).code(), status);
        assert!(began.elapsed() < seconds(3));
        assert_eq!(journal.entries(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn one_signal_after_the_program_asked_for_the_end_does_not_cut_the_drain() {
    let journal = Journal::default();
    let lifecycle = Lifecycle::new().with(server(seconds(5), &journal));
    let (shutdown, observer) = (lifecycle.shutdown(), lifecycle.observer());
    let ask = async {
        observer.reached(Stage::Running).await;
        shutdown.trigger();
    };
    let (result, ()) = tokio::join!(lifecycle.run_with(terminate_after(seconds(4))), ask);
    result.unwrap();
    assert_eq!(journal.entries(), ["served"]);
}

#[tokio::test(start_paused = true)]
async fn a_critical_task_that_ends_fails_or_panics_drains_the_process_with_status_1() {
    type Work = fn(Context);
    let cases: [(Work, &str); 4] = [
        (|context| context.keep(async { Ok(()) }), "its task ended without being told to"),
        (|context| context.serve(async { Ok(()) }), "its task ended without being told to"),
        (|context| context.keep(async { panic!("lost") }), "it panicked: lost"),
        (
            |context| context.serve(async { Err(std::io::Error::other("refused").into()) }),
            "it failed: refused",
        ),
    ];
    for (work, expected) in cases {
        let journal = Journal::default();
        let relay = component("relay", move |context| async move {
            work(context);
            Ok(())
        });
        let result = Lifecycle::new()
            .with(relay)
            .with(Part::new("database", &journal))
            .run_with(futures_util::stream::pending())
            .await;
        assert_eq!(Exit::of(&result).code(), 1);
        let error = result.unwrap_err();
        assert_eq!(chain(&error), format!("component `relay` stopped working: {expected}"));
        journal.position("stop database done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_kept_ends_when_its_component_stops_before_the_stop_hook() {
    let journal = Journal::default();
    let (kept, stopped) = (journal.clone(), journal.clone());
    let relay = component("relay", move |context: Context| async move {
        let stopping = context.tasks().stopping();
        context.keep(async move {
            stopping.cancelled().await;
            tokio::time::sleep(seconds(1)).await;
            kept.note("task ended");
            Ok(())
        });
        Ok(())
    })
    .on_stop(move |_| {
        stopped.note("stop");
        async { Ok(()) }
    });
    Lifecycle::new().with(relay).run_with(terminate_after(seconds(1))).await.unwrap();
    assert_eq!(journal.entries(), ["task ended", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_panics_fails_or_hangs_does_not_keep_the_others_from_stopping() {
    let journal = Journal::default();
    let part = |name: &'static str| component(name, |_| async { Ok(()) }).after(["database"]);
    let began = tokio::time::Instant::now();
    let result = Lifecycle::new()
        .with(Part::new("database", &journal))
        .with(part("panics").on_stop(|_| async { panic!("at the end") }))
        .with(part("fails").on_stop(|_| async { Err(std::io::Error::other("full").into()) }))
        .with(part("hangs").on_stop(|_| std::future::pending()).with_stop_timeout(seconds(11)))
        .run_with(terminate_after(seconds(1)))
        .await;
    journal.position("stop database done");
    assert!(began.elapsed() >= seconds(12));
    assert_eq!(Exit::of(&result).code(), 1);
    match result {
        Err(Error::Unclean(mut names)) => {
            names.sort();
            assert_eq!(names, ["fails", "hangs", "panics"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_hangs_is_bounded_and_the_drain_goes_on() {
    let journal = Journal::default();
    let registration =
        component("registration", |_| async { Ok(()) }).on_withdraw(|_| std::future::pending());
    let result = Lifecycle::new()
        .with(registration)
        .with(server(seconds(1), &journal))
        .run_with(terminate_after(seconds(1)))
        .await;
    assert!(matches!(result, Err(Error::Unclean(names)) if names == ["registration"]));
    assert_eq!(journal.entries(), ["served"]);
}

#[tokio::test(start_paused = true)]
async fn the_process_is_ready_when_each_component_said_so_once() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let warming = component("warming", |_| async { Ok(()) }).on_ready(move |_| {
        let mut asked = count.lock().unwrap();
        *asked += 1;
        let warm = *asked > 3;
        async move { if warm { Ok(()) } else { Err(std::io::Error::other("cold").into()) } }
    });
    let lifecycle = Lifecycle::new().with(warming);
    let (health, shutdown) = (lifecycle.health().clone(), lifecycle.shutdown());
    let wait = async {
        health.ready().await;
        assert_eq!(*asked.lock().unwrap(), 4);
        shutdown.trigger();
    };
    let (result, ()) = tokio::join!(lifecycle.run_with(futures_util::stream::pending()), wait);
    result.unwrap();
}

#[test]
fn a_failure_keeps_its_cause() {
    let failure = Failure::of(Ok(Err(std::io::Error::other("inner").into())));
    assert_eq!(Report::new(&failure.unwrap_err()).to_string(), "it failed: inner");
}

#[test]
fn the_configuration_is_written_as_people_write_it() {
    let drain: DrainConfig = serde_json::from_str(r#"{"delay": "500ms", "timeout": "1m"}"#).unwrap();
    assert_eq!(
        drain,
        DrainConfig::default().with_delay(Duration::from_millis(500)).with_timeout(seconds(60))
    );
    let config: Config = serde_json::from_str("{}").unwrap();
    assert_eq!(config, Config::default());
    assert!(serde_json::from_str::<Config>(r#"{"start_timeot": "3s"}"#).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_cuts_what_serves_and_tells_tasks_to_stop() {
    let journal = Journal::default();
    let kept = journal.clone();
    let relay = component("relay", |context: Context| async move {
        let stopping = context.tasks().stopping();
        context.keep(async move {
            stopping.cancelled().await;
            kept.note("told to stop");
            Ok(())
        });
        Ok(())
    });
    let lifecycle = Lifecycle::new().with(relay).with(server(seconds(3600), &journal));
    let observer = lifecycle.observer();
    tokio::select! {
        _ = lifecycle.run_with(futures_util::stream::pending()) => unreachable!("nothing ends it"),
        () = observer.reached(Stage::Running) => {}
    }
    tokio::time::sleep(seconds(1)).await;
    let mut entries = journal.entries();
    entries.sort();
    assert_eq!(entries, ["cut", "told to stop"]);
}

#[test]
fn a_delay_that_is_no_less_than_the_timeout_is_found_when_the_configuration_is_read() {
    let load = |delay| {
        crate::config::Loader::new()
            .set(format!("drain.delay={delay}"))
            .set("drain.timeout=20s")
            .tree::<DrainConfig>("drain")
            .load()
    };
    assert!(load("19s").is_ok());
    let errors = load("20s").unwrap_err();
    let finding = &errors.findings()[0];
    assert_eq!(finding.key.to_string(), "drain.delay");
    assert!(errors.to_string().contains("less than `timeout` (20s), which includes it"), "{errors}");
}
