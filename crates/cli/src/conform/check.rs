//! What a check is, and what comes of one.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use serde::Serialize;

use super::{
    need::Need,
    subject::Subject,
    text::{SHOWN, printable},
};

/// One line of the tables in `life`, `health`, `errors`, `auth`, `deadline`, `limit`, `trace`, `spans`, `request_id`,
/// `metric` and `call`.
pub(crate) struct Check {
    /// `FAMILY.NUMBER.name`: the first two parts are the clause, the whole is unique and never changes.
    pub(crate) id: &'static str,
    /// A sentence that is true when the check passes.
    pub(crate) title: &'static str,
    /// What the command line must give for it.
    pub(crate) needs: &'static [Need],
    /// Whether the service is gone afterwards.
    pub(crate) ends_service: bool,
    pub(crate) run: for<'a> fn(&'a Subject) -> Running<'a>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// What a check found: evidence that it passed, or why it did not.
pub(crate) type Finding = Result<Evidence, Miss>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The promise was broken.
    Failed { evidence: Evidence, why: String },
    /// Nothing can be said; the text says what is missing.
    Skipped(String),
}

/// What went over the wire and what should have; printable and short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) sent: String,
    pub(crate) expected: String,
    pub(crate) came: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Passed,
    Failed,
    Skipped,
}

/// A check that was run, or why it was not.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) id: &'static str,
    pub(crate) clause: String,
    pub(crate) title: &'static str,
    pub(crate) state: State,
    /// Why it failed or was skipped; empty when it passed.
    pub(crate) why: String,
    #[serde(flatten)]
    pub(crate) evidence: Evidence,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) took: Duration,
}

impl Check {
    /// `ERR 1`.
    pub(crate) fn clause(&self) -> String {
        let mut parts = self.id.split('.');
        format!("{} {}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// Whether `selector`, like `LIFE`, `LIFE.3` or `ERR.1.not-found`, names it.
    pub(crate) fn is_selected_by(&self, selector: &str) -> bool {
        self.id.get(..selector.len()).is_some_and(|start| start.eq_ignore_ascii_case(selector))
            && matches!(self.id.as_bytes().get(selector.len()), None | Some(b'.'))
    }

    pub(crate) fn verdict(&self, finding: Finding, took: Duration) -> Verdict {
        let (state, evidence, why) = match finding {
            Ok(evidence) => (State::Passed, evidence, String::new()),
            Err(Miss::Failed { evidence, why }) => (State::Failed, evidence, printable(&why, SHOWN)),
            Err(Miss::Skipped(why)) => (State::Skipped, Evidence::default(), printable(&why, SHOWN)),
        };
        Verdict { id: self.id, clause: self.clause(), title: self.title, state, why, evidence, took }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Evidence {
    pub(crate) fn new(sent: impl AsRef<str>, expected: impl AsRef<str>, came: impl AsRef<str>) -> Self {
        Self {
            sent: printable(sent.as_ref(), SHOWN),
            expected: printable(expected.as_ref(), SHOWN),
            came: printable(came.as_ref(), SHOWN),
        }
    }

    /// Decides: passed, or failed for the reason that `judged` gives.
    pub(crate) fn judge(self, judged: Result<(), String>) -> Finding {
        match judged {
            Ok(()) => Ok(self),
            Err(why) => Err(Miss::Failed { evidence: self, why }),
        }
    }
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// A table entry: `check!("ERR.1.not-found", "a sentence", [needs], function)`, with `ends` before it when the
/// service is gone afterwards.
macro_rules! check {
    (ends $id:literal, $title:literal, [$($need:ident),*], $function:path) => {
        $crate::conform::check::Check { ends_service: true, ..check!($id, $title, [$($need),*], $function) }
    };
    ($id:literal, $title:literal, [$($need:ident),*], $function:path) => {
        $crate::conform::check::Check {
            id: $id,
            title: $title,
            needs: &[$($crate::conform::need::Need::$need),*],
            ends_service: false,
            run: |subject| Box::pin($function(subject)),
        }
    };
}

pub(crate) use check;

#[cfg(test)]
mod tests {
    use super::Check;

    #[test]
    fn a_selector_names_a_family_a_clause_or_one_check_but_no_part_of_a_word() {
        let check = Check {
            id: "LIFE.1.reports-all",
            title: "",
            needs: &[],
            ends_service: false,
            run: |_| unreachable!("never run here"),
        };
        for right in ["LIFE", "life", "LIFE.1", "LIFE.1.reports-all"] {
            assert!(check.is_selected_by(right), "{right}");
        }
        for wrong in ["LIF", "LIFE.", "LIFE.1.reports", "LIFE.11", "ERR", "LIFE.1.reports-all.x"] {
            assert!(!check.is_selected_by(wrong), "{wrong}");
        }
        assert_eq!(check.clause(), "LIFE 1");
    }
}
