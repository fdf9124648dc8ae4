//! TRACE 4: the id by which people find a request.

use super::{
    check::{Check, Evidence, Finding, check},
    dependency::{calm, named, route, taken},
    subject::{Subject, skipped},
    text::{SHOWN, printable},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("TRACE.4.echo", "the answer carries the request id that came in", [Route], echoed),
    check!("TRACE.4.malformed", "a malformed request id is replaced", [Route], malformed_id),
    check!(
        "TRACE.4.passed-on",
        "a call carries the request id that came in",
        [CallRoute, Dependency],
        id_passed_on
    ),
    check!(
        "TRACE.4.made",
        "a call carries the request id that the service made, the one of its answer",
        [CallRoute, Dependency],
        made_id
    ),
];

const ID: &str = "x-request-id";

/// The id that the suite sends.
const SENT_ID: &str = "conform-5f1c2e";

async fn echoed(subject: &Subject) -> Finding {
    let route = subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))?;
    let request = route.request().with(ID, SENT_ID);
    subject.send(&request).await.expect(&format!("{ID}: {SENT_ID}"), |answer| match answer.field(ID) {
        Some(id) if id == SENT_ID => Ok(()),
        Some(id) => Err(format!("{ID} is `{}`", printable(&id, SHOWN))),
        None => Err(format!("no {ID}")),
    })
}

async fn malformed_id(subject: &Subject) -> Finding {
    let route = subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))?;
    let long = "a".repeat(300);
    let mut finding = Err(skipped("nothing was sent"));
    for bad in ["no spaces, please", "<script>", &long] {
        let request = route.request().with(ID, bad);
        finding = subject.send(&request).await.expect(&format!("an {ID} of its own"), |answer| match answer
            .field(ID)
        {
            Some(id) if id == bad => Err("the malformed id came back".to_owned()),
            Some(id) if id.is_empty() => Err(format!("{ID} is empty")),
            Some(_) => Ok(()),
            None => Err(format!("no {ID}")),
        });
        if finding.is_err() {
            break;
        }
    }
    finding
}

async fn id_passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let sent = subject.send(&route(subject)?.request().with(ID, SENT_ID)).await;
    let calls = taken(subject);
    let id = calls.first().and_then(|call| call.field(ID));
    Evidence::new(sent.sent, format!("{ID}: {SENT_ID}"), named(&calls, ID)).judge(match id {
        Some(id) if id == SENT_ID => Ok(()),
        Some(id) => Err(format!("it is `{}`", printable(&id, SHOWN))),
        None => Err("the call carries none".to_owned()),
    })
}

async fn made_id(subject: &Subject) -> Finding {
    calm(subject).await?;
    let mut finding = Err(skipped("nothing was sent"));
    for request in [route(subject)?.request(), route(subject)?.request().with(ID, "<script>")] {
        let answer = subject.send(&request).await;
        let calls = taken(subject);
        let of_call = calls.first().and_then(|call| call.field(ID));
        let of_answer = answer.came.as_ref().ok().and_then(|answer| answer.field(ID));
        let came = format!("of the call {}, of the answer {}", or_none(&of_call), or_none(&of_answer));
        finding = Evidence::new(&answer.sent, format!("one {ID} in the call and in the answer"), came).judge(
            match (of_call, of_answer) {
                (None, _) => Err("the call carries none".to_owned()),
                (Some(id), _) if id == "<script>" => Err("the malformed one is passed on".to_owned()),
                (Some(one), Some(other)) if one == other => Ok(()),
                (Some(_), _) => Err("they are not the same".to_owned()),
            },
        );
        if finding.is_err() {
            break;
        }
    }
    finding
}

fn or_none(field: &Option<String>) -> String {
    field.as_ref().map_or_else(|| "(none)".to_owned(), |value| printable(value, SHOWN))
}
