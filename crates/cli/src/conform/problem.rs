//! What an error answer has to look like: ERR 1.

use serde_json::Value;

use super::wire::http1::{Answer, Request};

/// The trace id that the suite sends, and expects to find in the answer.
pub(crate) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The span id that the suite sends.
pub(crate) const SPAN_ID: &str = "00f067aa0ba902b7";

/// How the trace id is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// The request was whole, so its `traceparent` has been read: the answer carries that trace id.
    Sent,
    /// The request was refused before its fields could be read: any trace id will do.
    Any,
}

impl Request {
    /// Adds the `traceparent` (W3C Trace Context section 3.2) that [`Trace::Sent`] looks for.
    #[must_use]
    pub(crate) fn traced(self) -> Self {
        self.with("traceparent", &format!("00-{TRACE_ID}-{SPAN_ID}-01"))
    }
}

/// Says what `answer` lacks of an RFC 9457 problem with one of `statuses`.
pub(crate) fn problem(answer: &Answer, statuses: &[u16], trace: Trace) -> Result<(), String> {
    let mut wrong = Vec::new();
    if !statuses.contains(&answer.status) {
        wrong.push(format!("status is {}", answer.status));
    }
    let media_type = answer.field("content-type").unwrap_or_default();
    let is_problem = media_type.split(';').next().unwrap_or_default().trim();
    if !is_problem.eq_ignore_ascii_case("application/problem+json") {
        wrong.push(match media_type.as_str() {
            "" => "content-type is missing".to_owned(),
            other => format!("content-type is `{other}`"),
        });
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(Value::Object(members)) => {
            for name in ["type", "title", "instance"] {
                if members.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    wrong.push(format!("member `{name}` is missing or no text"));
                }
            }
            if members.get("status").and_then(Value::as_u64) != Some(u64::from(answer.status)) {
                wrong.push("member `status` is not the status of the answer".to_owned());
            }
            wrong.extend(trace_id(members.get("trace_id").and_then(Value::as_str), trace));
        }
        _ => wrong.push("the body is no JSON object".to_owned()),
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn trace_id(found: Option<&str>, trace: Trace) -> Option<String> {
    let Some(id) = found else { return Some("member `trace_id` is missing".to_owned()) };
    let is_hex = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || id.bytes().all(|byte| byte == b'0') {
        return Some(format!(
            "`trace_id` is `{id}`, expected 32 lower-case hexadecimal digits, not all zero"
        ));
    }
    (trace == Trace::Sent && id != TRACE_ID)
        .then(|| format!("`trace_id` is `{id}`, not `{TRACE_ID}` as sent in traceparent"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Answer, TRACE_ID, Trace, problem};

    fn answer(content_type: &str, body: &str) -> Answer {
        Answer {
            status: 404,
            fields: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_whole_problem_passes() {
        let body = json!({"type": "about:blank", "title": "Not Found", "status": 404, "instance": "/x",
                          "trace_id": TRACE_ID, "more": 1});
        let answer = answer("application/problem+json; charset=utf-8", &body.to_string());
        assert_eq!(problem(&answer, &[404], Trace::Sent), Ok(()));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let body = json!({"type": "", "title": 5, "status": 400, "trace_id": "0".repeat(32)});
        let wrong = problem(&answer("application/json", &body.to_string()), &[405], Trace::Any)
            .expect_err("is no such problem");
        for part in
            ["status is 404", "`application/json`", "`type`", "`title`", "`instance`", "`status`", "all zero"]
        {
            assert!(wrong.contains(part), "{wrong}\n should contain {part}");
        }
        assert!(
            problem(&answer("", "no json"), &[404], Trace::Any)
                .expect_err("empty")
                .contains("no JSON object")
        );
    }

    #[test]
    fn another_trace_id_than_the_one_sent_is_wrong_only_where_it_could_be_read() {
        let body = json!({"type": "about:blank", "title": "t", "status": 404, "instance": "/x",
                          "trace_id": "ab".repeat(16)});
        let answer = answer("application/problem+json", &body.to_string());
        assert_eq!(problem(&answer, &[404], Trace::Any), Ok(()));
        assert!(
            problem(&answer, &[404], Trace::Sent).expect_err("differs").contains("as sent in traceparent")
        );
    }
}
