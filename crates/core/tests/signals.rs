//! Signals, sent to a process of its own: the test program starts itself again as the one to be signalled.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use mainstay_core::lifecycle::{DrainConfig, Exit, Lifecycle, component};

/// Set in the process that is to be signalled: how it behaves.
const ROLE: &str = "MAINSTAY_TEST_ROLE";
/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_first_sigterm_drains_and_ends_with_status_0() {
    let mut child = start("well-behaved");
    send("TERM", &child);
    assert_eq!(ended(&mut child, || {}).code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_process_at_once_whose_drain_takes_long() {
    let mut child = start("slow");
    let id = child.id();
    // Signals that come together are one: more are sent until one was the second.
    let status = ended(&mut child, || kill("INT", id));
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_second_signal_ends_a_process_at_once_whose_workers_are_all_blocked() {
    let mut child = start("blocked");
    let id = child.id();
    let status = ended(&mut child, || kill("TERM", id));
    assert_eq!(status.code(), Some(143));
}

/// Not a test: what the other process does.
#[test]
#[ignore = "run by the tests of this file in another process"]
fn signalled() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let server = component("server", move |context| async move {
            match role.as_str() {
                "slow" => context.serve(std::future::pending()),
                "blocked" => {
                    for _ in 0..4 {
                        context.tasks().spawn(async { std::thread::sleep(2 * PATIENCE) });
                    }
                }
                _ => {}
            }
            Ok(())
        });
        let drain = DrainConfig::default().with_delay(Duration::from_millis(1)).with_timeout(2 * PATIENCE);
        let lifecycle = Lifecycle::new().with_drain(drain).with(server);
        let signals = mainstay_core::lifecycle::Signals::listen().unwrap();
        println!("\nlistening");
        lifecycle.run_with(signals).await
    });
    Exit::of(&result).now()
}

/// Starts the other process; it takes signals when this returns.
fn start(role: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "signalled", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "listening"), "the process ended early");
    child
}

fn send(signal: &str, child: &Child) {
    kill(signal, child.id());
}

fn kill(signal: &str, id: u32) {
    // One that has ended in the meantime is no error here.
    let _ = Command::new("kill").args([format!("-{signal}"), id.to_string()]).stderr(Stdio::null()).status();
}

/// Waits for the end, and does this again and again until then.
fn ended(child: &mut Child, mut again: impl FnMut()) -> ExitStatus {
    for _ in 0..PATIENCE.as_millis() / 50 {
        again();
        std::thread::sleep(Duration::from_millis(50));
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
    }
    child.kill().unwrap();
    panic!("the process did not end");
}
