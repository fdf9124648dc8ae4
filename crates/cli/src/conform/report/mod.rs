//! What the suite found, for people and for machines.

mod junit;
mod terminal;

pub(crate) use junit::junit;
use serde::Serialize;
pub(crate) use terminal::Terminal;

use super::check::{State, Verdict};

use std::time::Duration;

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The main listener, `host:port`.
    pub(crate) url: String,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn count(&self, state: State) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.state == state).count()
    }
}

/// The run as one JSON document; its shape is described in `docs/conform.md`.
///
/// # Errors
/// A sentence; only when the serialiser is out of order.
pub(crate) fn json(run: &Run) -> Result<String, String> {
    #[derive(Serialize)]
    struct Document<'a> {
        contract: u32,
        service: &'a str,
        passed: usize,
        failed: usize,
        skipped: usize,
        checks: &'a [Verdict],
    }
    let document = Document {
        contract: 1,
        service: &run.url,
        passed: run.count(State::Passed),
        failed: run.count(State::Failed),
        skipped: run.count(State::Skipped),
        checks: &run.verdicts,
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string())
}
