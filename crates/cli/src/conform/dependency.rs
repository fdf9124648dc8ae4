//! The service that the one under test calls: the suite listens in its place, makes it misbehave, and looks at what comes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    check::{Evidence, Miss},
    settings::Route,
    subject::{Subject, skipped},
    wire::stand_in::{Call, Manner, StandIn},
};

/// How long a service may avoid an endpoint that is well again.
pub(super) const RECOVERY: Duration = Duration::from_secs(20);

/// Brings the dependency and the service's opinion of it back to good.
pub(super) async fn calm(subject: &Subject) -> Result<(), Miss> {
    let request = route(subject)?.request();
    behave(subject, Manner::Answer);
    let began = Instant::now();
    loop {
        let answer = subject.send(&request).await;
        let calls = taken(subject);
        if answer.came.as_ref().is_ok_and(|answer| answer.is_success()) {
            return Ok(());
        }
        if began.elapsed() > RECOVERY {
            let came = format!("{}; {}", answer.shown(), shown(&calls));
            if subject.dependencies.iter().any(StandIn::has_answered) {
                let expected = format!("2xx within {RECOVERY:?} after the dependency was well again");
                let evidence = Evidence::new(&answer.sent, expected, came);
                return Err(Miss::Failed {
                    evidence,
                    why: "it did not recover from an earlier check".to_owned(),
                });
            }
            return Err(skipped(format!(
                "--call-route has to answer 2xx when the dependency answers 200 `{{}}`: {came}"
            )));
        }
        sleep(Duration::from_millis(250)).await;
    }
}

pub(super) fn route(subject: &Subject) -> Result<&Route, Miss> {
    subject.settings.call_route.as_ref().ok_or_else(|| skipped("needs --call-route"))
}

pub(super) fn behave(subject: &Subject, manner: Manner) {
    for dependency in &subject.dependencies {
        dependency.behave(manner);
    }
}

/// The calls at all endpoints since the last time.
pub(super) fn taken(subject: &Subject) -> Vec<Call> {
    subject.dependencies.iter().flat_map(StandIn::take).collect()
}

pub(super) fn one(calls: &[Call]) -> Result<(), String> {
    if calls.len() == 1 { Ok(()) } else { Err(format!("{} came", shown(calls))) }
}

/// How many, and what the first few are.
pub(super) fn shown(calls: &[Call]) -> String {
    let first: Vec<String> =
        calls.iter().take(4).map(|call| format!("{} {}", call.method, call.target)).collect();
    match calls.len() {
        0 => "no call".to_owned(),
        1 => first.concat(),
        count => format!("{count} calls ({})", first.join(", ")),
    }
}

pub(super) fn named(calls: &[Call], field: &str) -> String {
    match calls.first() {
        None => "no call".to_owned(),
        Some(call) => format!("{field}: {}", call.field(field).unwrap_or_else(|| "(none)".to_owned())),
    }
}
