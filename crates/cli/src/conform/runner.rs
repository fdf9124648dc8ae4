//! Runs checks one after another, each in bounded time, and never lets one harm the next.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    check::{Check, Evidence, Finding, Miss, Verdict},
    report::{Run, Terminal},
    subject::Subject,
};

/// Runs `checks` against `subject`.
///
/// # Errors
/// A sentence, when the service can't be reached or started at all.
pub(crate) async fn run(
    subject: &Subject,
    checks: &[&'static Check],
    terminal: &mut Terminal,
) -> Result<Run, String> {
    let start = Instant::now();
    subject.ensure_running().await?;
    subject.main().connect().await.map_err(|trouble| trouble.to_string())?;
    let mut verdicts = Vec::with_capacity(checks.len());
    for check in checks {
        let verdict = one(subject, check).await;
        terminal.verdict(&verdict).map_err(super::unwritable)?;
        verdicts.push(verdict);
    }
    Ok(Run { url: subject.main().authority(), verdicts, took: start.elapsed() })
}

async fn one(subject: &Subject, check: &Check) -> Verdict {
    let lacking: Vec<&str> =
        check.needs.iter().filter(|need| !need.is_met(&subject.settings)).map(|need| need.option()).collect();
    if !lacking.is_empty() {
        let finding = Err(Miss::Skipped(format!("needs {}", lacking.join(", "))));
        return check.verdict(finding, Duration::ZERO);
    }
    if let Err(finding) = prepare(subject).await {
        return check.verdict(Err(finding), Duration::ZERO);
    }
    let start = Instant::now();
    let finding = bounded(subject, check).await;
    let took = start.elapsed();
    if check.ends_service {
        subject.stop().await;
    }
    check.verdict(finding, took)
}

/// Brings back a service that an earlier check ended.
async fn prepare(subject: &Subject) -> Result<(), Miss> {
    if subject.settings.pid.is_some() && subject.exited().await.is_some() {
        return Err(Miss::Skipped(
            "needs --command: the process of --pid was ended by an earlier check".to_owned(),
        ));
    }
    subject.ensure_running().await.map_err(|why| Miss::Failed {
        evidence: Evidence::new("nothing yet", "the service runs and is ready", &why),
        why: "the service could not be started again".to_owned(),
    })
}

/// A check that hangs is a service that hangs: a failure, never a hang of the suite.
async fn bounded(subject: &Subject, check: &Check) -> Finding {
    let bound = subject.settings.timeout;
    let finding = timeout(bound, (check.run)(subject)).await.unwrap_or_else(|_| {
        Err(Miss::Failed {
            evidence: Evidence::new("see the title", check.title, "no decision"),
            why: format!("not decided within --timeout {bound:?}"),
        })
    });
    match subject.exited().await {
        Some(exit) if !check.ends_service => {
            let evidence = match &finding {
                Ok(evidence) | Err(Miss::Failed { evidence, .. }) => evidence.clone(),
                Err(Miss::Skipped(_)) => Evidence::default(),
            };
            Err(Miss::Failed { evidence, why: format!("the service ended during this check: {exit}") })
        }
        _ => finding,
    }
}
