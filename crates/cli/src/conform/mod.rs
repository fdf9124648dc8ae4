//! `mainstay conform URL`: the service contract as a black-box suite.
//!
//! The way of a run: [`options`] and the profile become [`settings`]; [`runner`] goes through the tables of
//! [`health`], [`errors`], [`mod@auth`], [`deadline`], [`limit`], [`trace`], [`spans`], [`request_id`], [`metric`], [`call`] and [`life`], runs each
//! check against the [`subject`] in bounded time, and hands each verdict to [`report`]. The bytes are made and read in [`wire`].

mod auth;
mod call;
mod check;
mod deadline;
mod dependency;
mod errors;
mod health;
mod life;
mod limit;
mod metric;
mod need;
mod options;
mod peers;
mod problem;
mod process;
mod report;
mod request_id;
mod runner;
mod settings;
mod spans;
mod subject;
pub(crate) mod text;
mod token;
mod trace;
pub(crate) mod units;
pub(crate) mod wire;

use std::{future::pending, process::ExitCode};

pub(crate) use options::Options;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    check::{Check, State},
    report::{Run, Terminal},
    settings::Settings,
    subject::Subject,
};

/// The service could not be reached, or the command line is wrong.
const UNUSABLE: u8 = 2;
/// 128 and the number of the signal, as shells count.
const INTERRUPTED: u8 = 128 + 2;
const TERMINATED: u8 = 128 + 15;

/// Every check, in the order in which they run; those that end the service stand last.
fn checks() -> Vec<&'static Check> {
    let mut checks: Vec<&Check> = [
        health::CHECKS,
        errors::CHECKS,
        deadline::CHECKS,
        auth::CHECKS,
        limit::CHECKS,
        trace::CHECKS,
        spans::CHECKS,
        request_id::CHECKS,
        metric::CHECKS,
        call::CHECKS,
        life::CHECKS,
    ]
    .into_iter()
    .flatten()
    .collect();
    checks.sort_by_key(|check| check.ends_service);
    checks
}

pub(crate) async fn main(options: Options) -> ExitCode {
    let outcome = tokio::select! {
        outcome = run(options) => outcome,
        // Dropping the run kills a service that it started.
        code = interrupted() => return ExitCode::from(code),
    };
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("mainstay conform: {message}");
            ExitCode::from(UNUSABLE)
        }
    }
}

async fn interrupted() -> u8 {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return pending().await };
    tokio::select! {
        _ = terminate.recv() => TERMINATED,
        _ = tokio::signal::ctrl_c() => INTERRUPTED,
    }
}

async fn run(options: Options) -> Result<ExitCode, String> {
    let options = options.with_profile()?;
    let selected = select(&options.only)?;
    let mut terminal = Terminal::stdout(options.verbose);
    if options.list {
        terminal.list(&selected).map_err(unwritable)?;
        return Ok(ExitCode::SUCCESS);
    }
    let subject = Subject::new(Settings::resolve(&options)?).await?;
    let run = runner::run(&subject, &selected, &mut terminal).await?;
    subject.stop().await;
    terminal.summary(&run).map_err(unwritable)?;
    for (path, text) in [(&options.junit, report::junit(&run)), (&options.json, report::json(&run)?)] {
        if let Some(path) = path {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(exit(&run, options.require_all))
}

fn select(only: &[String]) -> Result<Vec<&'static Check>, String> {
    let all = checks();
    for selector in only {
        if !all.iter().any(|check| check.is_selected_by(selector)) {
            return Err(format!(
                "--only: `{selector}` names no check: expected a family like `LIFE`, a clause like `LIFE.3`, or \
                 a check that --list shows"
            ));
        }
    }
    let is_selected =
        |check: &&Check| only.is_empty() || only.iter().any(|selector| check.is_selected_by(selector));
    Ok(all.into_iter().filter(is_selected).collect())
}

fn exit(run: &Run, require_all: bool) -> ExitCode {
    let failed = run.count(State::Failed) > 0 || (require_all && run.count(State::Skipped) > 0);
    ExitCode::from(u8::from(failed))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unwritable(error: std::io::Error) -> String {
    format!("could not write the report: {error}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{checks, select};

    #[test]
    fn every_check_has_an_id_of_its_own_and_those_that_end_the_service_stand_last() {
        let checks = checks();
        let ids: HashSet<&str> = checks.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), checks.len());
        assert!(checks.is_sorted_by_key(|check| check.ends_service));
    }

    #[test]
    fn an_unknown_clause_is_refused_by_name() {
        let only = ["ERR".to_owned(), "LIVE.3".to_owned()];
        assert!(select(&only).expect_err("LIVE is no family").contains("`LIVE.3`"));
        assert!(select(&only[..1]).expect("ERR is one").iter().all(|check| check.id.starts_with("ERR.")));
    }

    /// The pages are read by people who have no binary at hand, so they must not fall behind it.
    #[test]
    fn the_published_pages_name_every_check_and_no_other() {
        let read = |page: &str| {
            let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).expect("the page is there")
        };
        let (contract, conform) = (read("contract.md"), read("conform.md"));
        for check in checks() {
            assert!(contract.contains(&format!("`{}`", check.id)), "docs/contract.md lacks `{}`", check.id);
            let row = format!("| `{}` | {} | ", check.id, check.title);
            assert!(conform.contains(&row), "docs/conform.md lacks {row}");
            for need in check.needs {
                let option = need.option().split(' ').next().unwrap_or_default();
                assert!(conform.contains(&format!("`{option}`")), "docs/conform.md lacks `{option}`");
            }
        }
        let rows = conform.lines().filter(|line| line.starts_with("| `") && line.contains('.')).count();
        assert_eq!(rows, checks().len(), "docs/conform.md has a row for a check that is gone");
    }
}
