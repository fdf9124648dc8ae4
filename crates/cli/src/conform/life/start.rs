//! LIFE 1 and 2: the way to the first request.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::conform::{
    check::{Evidence, Finding, Miss},
    process::Exit,
    settings::Assignment,
    subject::{Subject, skipped},
};

/// `EX_CONFIG` of sysexits.h.
const CONFIG: i32 = 78;

/// How long a refused configuration may take to be refused.
const REFUSAL: Duration = Duration::from_secs(10);

pub(super) async fn refuses(subject: &Subject) -> Finding {
    let first = subject.settings.bad_config.get(..1).unwrap_or_default();
    refused(subject, first).await
}

pub(super) async fn reports_all(subject: &Subject) -> Finding {
    refused(subject, &subject.settings.bad_config).await
}

async fn refused(subject: &Subject, wrong: &[Assignment]) -> Finding {
    let command = subject.settings.command.as_deref().ok_or_else(|| skipped("needs --command"))?;
    subject.stop().await;
    subject.start(command, wrong).await.map_err(skipped)?;
    let (exit, opened) = watch(subject).await;
    let stderr = subject.stderr().await;
    subject.stop().await;

    let mut faults = Vec::new();
    match exit {
        Some(exit) if exit.code() == Some(CONFIG) => {}
        Some(exit) => faults.push(format!("it ended with {exit}")),
        None => faults.push(format!("it did not end within {REFUSAL:?}")),
    }
    if opened {
        faults.push("a listener was open meanwhile".to_owned());
    }
    faults.extend(wrong.iter().flat_map(|set| unsaid(&stderr, set)));
    if !stderr.to_ascii_lowercase().contains("expected") {
        faults.push("the message does not say what was expected".to_owned());
    }

    let sent: Vec<String> = wrong.iter().map(|set| format!("{}={}", set.name, set.value)).collect();
    let came = match exit {
        Some(exit) => format!("{exit} | {}", stderr.trim()),
        None => format!("still running | {}", stderr.trim()),
    };
    let expected =
        format!("exit status {CONFIG}; stderr names key, source, value and what was expected; no listener");
    Evidence::new(format!("the command with {}", sent.join(" ")), expected, came)
        .judge(if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) })
}

/// Waits for the end of the process and looks whether it ever listened.
async fn watch(subject: &Subject) -> (Option<Exit>, bool) {
    let deadline = Instant::now() + REFUSAL;
    let mut opened = false;
    while Instant::now() < deadline {
        if let Some(exit) = subject.exited().await {
            return (Some(exit), opened);
        }
        opened |= subject.main().connect().await.is_ok();
        if let Some(admin) = &subject.settings.admin {
            opened |= admin.connect().await.is_ok();
        }
        sleep(Duration::from_millis(10)).await;
    }
    (None, opened)
}

/// What the message lacks about one wrong setting.
fn unsaid(stderr: &str, set: &Assignment) -> Vec<String> {
    let mut lacks = Vec::new();
    if !stderr.contains(&set.name) {
        lacks.push(format!("the source `{}` is not named", set.name));
    }
    if let Some(key) = key_of(&set.name).filter(|key| !stderr.contains(key)) {
        lacks.push(format!("the key `{key}` is not named"));
    }
    // Secrets are redacted, and say so.
    if !stderr.contains(&set.value) && !stderr.to_ascii_lowercase().contains("redacted") {
        lacks.push(format!("the value `{}` is not shown", set.value));
    }
    lacks
}

/// The key behind `PREFIX_SECTION__FIELD`: `section.field`. Other ways to name variables have none that a suite
/// could derive.
fn key_of(variable: &str) -> Option<String> {
    let (_, path) = variable.split_once('_')?;
    path.contains("__").then(|| path.to_ascii_lowercase().replace("__", "."))
}

pub(super) async fn ready(subject: &Subject) -> Finding {
    subject.stop().await;
    subject.ensure_running().await.map_err(|why| Miss::Failed {
        evidence: Evidence::new("the command", "/readyz 200", &why),
        why: "it never became ready".to_owned(),
    })?;
    // At once: what is not there now was not there when /readyz said it was.
    let (startup, main) = tokio::join!(subject.probe("/startupz"), subject.still_answers());
    let shown = format!(
        "/startupz: {}; main listener: {}",
        startup.shown(),
        main.as_ref().map_or_else(Clone::clone, |()| "answers".to_owned())
    );
    let expected = "/startupz 200 and an answer of the main listener";
    Evidence::new("the command; at the first 200 of /readyz", expected, shown).judge(match startup.came {
        Ok(answer) if answer.status == 200 => main,
        _ => Err("/startupz did not answer 200".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::{key_of, unsaid};

    #[test]
    fn the_key_is_derived_from_nested_variables_only() {
        assert_eq!(key_of("MAINSTAY_SERVER__ADDRESS").as_deref(), Some("server.address"));
        assert_eq!(
            key_of("MAINSTAY_SERVER__HTTP2__MAX_STREAMS").as_deref(),
            Some("server.http2.max_streams")
        );
        assert_eq!(key_of("PORT"), None);
        assert_eq!(key_of("HTTP_PORT"), None);
    }

    #[test]
    fn a_message_that_names_key_source_and_value_lacks_nothing() {
        let set = "MAINSTAY_SERVER__ADDRESS=nonsense".parse().expect("is an assignment");
        let good = "server.address: `nonsense` (from MAINSTAY_SERVER__ADDRESS): expected host:port";
        assert_eq!(unsaid(good, &set), Vec::<String>::new());
        assert_eq!(unsaid("invalid socket address syntax", &set).len(), 3);
    }
}
