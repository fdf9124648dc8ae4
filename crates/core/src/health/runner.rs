//! Asks one check, again and again.

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Check, registry::Weak};
use crate::{error, lifecycle::panic_message, task::Tasks};

/// Runs until the check needs no more asking, `stopping`, or nobody holds the registry any more.
pub(super) async fn run(registry: Weak, index: usize, check: Check, stopping: CancellationToken) {
    let questions = Tasks::new();
    loop {
        let result = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            result = ask(&check, &questions) => result,
        };
        let Some(pause) = registry.upgrade().and_then(|registry| registry.count(index, result)) else {
            return;
        };
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks once. The question is a task of its own, so that one that blocks its thread or panics costs nothing here.
async fn ask(check: &Check, questions: &Tasks) -> Result<(), String> {
    // Aborting can't end a question that blocks its thread: don't pile up more of them.
    if !questions.is_empty() {
        return Err("the last question has not ended: it blocks its thread".to_owned());
    }
    let ask = check.ask.clone();
    let question = AbortOnDropHandle::new(questions.spawn_detached(async move { ask().await }));
    match tokio::time::timeout(check.timeout, question).await {
        Err(_) => Err(format!("no answer after {:?}", check.timeout)),
        Ok(Err(gone)) => Err(format!("panicked: {}", panic_message(gone))),
        Ok(Ok(Err(failed))) => Err(error::Report::new(failed.into_cause().as_ref()).to_string()),
        Ok(Ok(Ok(()))) => Ok(()),
    }
}
