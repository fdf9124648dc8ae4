//! JUnit XML, in the shape that CI systems have agreed on: one suite a clause, one case a check.

use std::fmt::Write as _;

use super::Run;
use crate::conform::check::{State, Verdict};

/// The run as a JUnit document.
pub(crate) fn junit(run: &Run) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"mainstay conform {}\" {} time=\"{:.3}\">",
        escape(&run.url),
        counts(&run.verdicts.iter().collect::<Vec<_>>()),
        run.took.as_secs_f64()
    );
    for clause in clauses(&run.verdicts) {
        let verdicts: Vec<&Verdict> =
            run.verdicts.iter().filter(|verdict| verdict.clause == clause).collect();
        let seconds: f64 = verdicts.iter().map(|verdict| verdict.took.as_secs_f64()).sum();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" {} time=\"{seconds:.3}\">",
            escape(clause),
            counts(&verdicts)
        );
        for verdict in verdicts {
            case(&mut xml, verdict);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, verdict: &Verdict) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escape(verdict.id),
        escape(verdict.title),
        verdict.took.as_secs_f64()
    );
    let _ = match verdict.state {
        State::Passed => writeln!(xml, "/>"),
        State::Skipped => {
            writeln!(xml, ">\n      <skipped message=\"{}\"/>\n    </testcase>", escape(&verdict.why))
        }
        State::Failed => writeln!(
            xml,
            ">\n      <failure message=\"{}\">sent:     {}\nexpected: {}\ncame:     {}</failure>\n    </testcase>",
            escape(&verdict.why),
            escape(&verdict.evidence.sent),
            escape(&verdict.evidence.expected),
            escape(&verdict.evidence.came)
        ),
    };
}

fn counts(verdicts: &[&Verdict]) -> String {
    let count = |state| verdicts.iter().filter(|verdict| verdict.state == state).count();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\"",
        verdicts.len(),
        count(State::Failed),
        count(State::Skipped)
    )
}

/// The clauses, each once, in the order of the first check of each.
fn clauses(verdicts: &[Verdict]) -> Vec<&str> {
    let mut clauses: Vec<&str> = Vec::new();
    for verdict in verdicts {
        if !clauses.contains(&verdict.clause.as_str()) {
            clauses.push(&verdict.clause);
        }
    }
    clauses
}

/// Verdicts hold printable text only, so the five special characters are all there is to escape.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Run, State, Verdict, junit};
    use crate::conform::check::Evidence;

    #[test]
    fn what_a_service_sent_can_not_break_out_of_the_document() {
        let verdict = |state, why: &str| Verdict {
            id: "ERR.1.not-found",
            clause: "ERR 1".to_owned(),
            title: "an unknown path is a 404 problem",
            state,
            why: why.to_owned(),
            evidence: Evidence::new("GET /", "404", "</failure>\u{1b}[0m & \"quoted\" ]]>"),
            took: Duration::from_millis(1500),
        };
        let run = Run {
            url: "localhost:8080".to_owned(),
            verdicts: vec![verdict(State::Failed, "it's <wrong>"), verdict(State::Skipped, "needs --route")],
            took: Duration::from_secs(3),
        };
        assert_eq!(
            junit(&run),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="mainstay conform localhost:8080" tests="2" failures="1" errors="0" skipped="1" time="3.000">
  <testsuite name="ERR 1" tests="2" failures="1" errors="0" skipped="1" time="3.000">
    <testcase classname="ERR.1.not-found" name="an unknown path is a 404 problem" time="1.500">
      <failure message="it&apos;s &lt;wrong&gt;">sent:     GET /
expected: 404
came:     &lt;/failure&gt;\u{1b}[0m &amp; &quot;quoted&quot; ]]&gt;</failure>
    </testcase>
    <testcase classname="ERR.1.not-found" name="an unknown path is a 404 problem" time="1.500">
      <skipped message="needs --route"/>
    </testcase>
  </testsuite>
</testsuites>
"#
        );
    }
}
