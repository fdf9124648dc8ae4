//! TRACE 2: the spans that the service sends. The suite listens in the place of a collector.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    dependency::{behave, calm, one, route, taken},
    problem::SPAN_ID,
    subject::{Subject, skipped},
    text::printable,
    trace::parent,
    wire::{
        otlp::{CLIENT, SERVER, Span},
        stand_in::{Call, Manner},
    },
};

pub(crate) static CHECKS: &[Check] = &[
    check!(
        "TRACE.2.server",
        "a request is one server span below its caller's, named and attributed by the conventions",
        [Route, Otlp],
        server
    ),
    check!(
        "TRACE.2.client",
        "a call is a client span below the server's, and the one that the callee is told of",
        [CallRoute, Dependency, Otlp],
        client
    ),
    check!(
        "TRACE.2.attempt",
        "each attempt of a call is a client span of its own, and one that failed says so",
        [CallRoute, Dependency, Otlp],
        attempt
    ),
];

/// How long spans may be on their way. The service is told to send them ten times a second.
const ARRIVAL: Duration = Duration::from_secs(15);

async fn server(subject: &Subject) -> Finding {
    let route = subject.settings.route.as_ref().ok_or_else(|| skipped("needs --route"))?;
    let trace = new_trace();
    let answer = subject.send(&sampled(route.request(), &trace)).await;
    let status = match &answer.came {
        Ok(answer) => answer.status.to_string(),
        Err(trouble) => return Err(skipped(format!("--route was not answered: {trouble}"))),
    };
    let spans = arrived(subject, &trace, |spans| of_request(spans).is_ok()).await?;
    let expected = format!("one server span `{} {{http.route}}` below {SPAN_ID}", route.method);
    Evidence::new(&answer.sent, expected, shown(&spans)).judge(of_request(&spans).and_then(|span| {
        let path = route.path.split('?').next().unwrap_or_default();
        // A proxy has no template.
        let name = match span.attributes.get("http.route") {
            Some(template) => format!("{} {template}", route.method),
            None => route.method.clone(),
        };
        all([
            is("its name", &span.name, &name),
            says(span, "http.request.method", &route.method),
            says(span, "url.scheme", "http"),
            says(span, "url.path", path),
            says(span, "http.response.status_code", &status),
        ])
    }))
}

async fn client(subject: &Subject) -> Finding {
    calm(subject).await?;
    let trace = new_trace();
    let answer = subject.send(&sampled(route(subject)?.request(), &trace)).await;
    let calls = taken(subject);
    let of_call =
        |spans: &[Span]| of_calls(&calls, spans).ok().and_then(|spans| spans.first().copied().cloned());
    let is_whole = |spans: &[Span]| of_call(spans).is_some_and(|span| is_below_server(spans, &span));
    let spans = arrived(subject, &trace, is_whole).await?;
    let expected = "a client span `GET` below the server's, its id that of the call's traceparent";
    let evidence = Evidence::new(&answer.sent, expected, shown(&spans));
    evidence.judge(one(&calls).and_then(|()| of_calls(&calls, &spans)).and_then(|of_calls| {
        let span = of_calls.first().ok_or("no call came")?;
        let below = is_below_server(&spans, span);
        all([
            (!below).then(|| "it is not below the server's".to_owned()),
            (!span.name.starts_with("GET")).then(|| format!("its name is `{}`", printable(&span.name, 60))),
            says(span, "http.request.method", "GET"),
            says(span, "http.response.status_code", "200"),
            holds(span, "server.address"),
            holds(span, "url.full"),
        ])
    }))
}

async fn attempt(subject: &Subject) -> Finding {
    calm(subject).await?;
    let trace = new_trace();
    behave(subject, Manner::BreakOnce);
    let answer = subject.send(&sampled(route(subject)?.request(), &trace)).await;
    behave(subject, Manner::Answer);
    let calls = taken(subject);
    let spans = arrived(subject, &trace, |spans| of_calls(&calls, spans).is_ok()).await?;
    let expected =
        "a client span for each call, its id that of the call's traceparent; error.type where it failed";
    let came = format!("{} calls; {}", calls.len(), shown(&spans));
    // Whether and how often it is repeated is the service's own choice; the last attempt may be the one that went well.
    let is_answered = answer.came.as_ref().is_ok_and(|answer| answer.is_success());
    let broken = calls.len().saturating_sub(usize::from(is_answered));
    Evidence::new(&answer.sent, expected, came).judge(of_calls(&calls, &spans).and_then(|spans| {
        let failed = spans.iter().filter(|span| span.attributes.contains_key("error.type")).count();
        if failed == broken {
            Ok(())
        } else {
            Err(format!("{broken} of the calls broke, {failed} of their spans have error.type"))
        }
    }))
}

/// A trace id that no other check sends.
fn new_trace() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0) | 1, random.hash_one(1))
}

fn sampled(request: super::wire::http1::Request, trace: &str) -> super::wire::http1::Request {
    request.with("traceparent", &format!("00-{trace}-{SPAN_ID}-01"))
}

/// The spans of this trace, once they are all there or there has been time enough.
async fn arrived(subject: &Subject, trace: &str, all: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>, Miss> {
    let collector = subject.collector.as_ref().ok_or_else(|| skipped("needs --otlp"))?;
    Ok(collector.trace(trace, ARRIVAL, all).await)
}

/// The server span of the request, the one that is below the suite's; those of services behind it are below others.
fn of_request(spans: &[Span]) -> Result<&Span, String> {
    let mut all = spans.iter().filter(|span| span.kind == SERVER && span.parent == SPAN_ID);
    match (all.next(), all.count()) {
        (Some(span), 0) => Ok(span),
        (None, _) => Err(format!("no server span is below {SPAN_ID}")),
        (Some(_), more) => Err(format!("there are {}", more + 1)),
    }
}

/// The client span of each call: the one that the call itself names as its parent.
fn of_calls<'a>(calls: &[Call], spans: &'a [Span]) -> Result<Vec<&'a Span>, String> {
    let mut found: Vec<&Span> = Vec::new();
    for call in calls {
        let id = parent(call)?.span;
        if found.iter().any(|span| span.id == id) {
            return Err(format!("two calls come from the same span, {id}"));
        }
        let span = spans.iter().find(|span| span.kind == CLIENT && span.id == id);
        found.push(span.ok_or_else(|| format!("the call comes from {id}, which is no client span"))?);
    }
    if found.is_empty() { Err("no call came".to_owned()) } else { Ok(found) }
}

/// Directly, or with spans of its own work in between.
fn is_below_server(spans: &[Span], span: &Span) -> bool {
    let mut at = span;
    // What is not sent has no depth: a circle ends.
    for _ in 0..spans.len() {
        match spans.iter().find(|above| above.id == at.parent) {
            Some(above) if above.kind == SERVER => return true,
            Some(above) => at = above,
            None => return false,
        }
    }
    false
}

/// What is wrong, if it is not as it should be.
fn is(what: &str, found: &str, wanted: &str) -> Option<String> {
    (found != wanted).then(|| format!("{what} is `{}`, not `{wanted}`", printable(found, 60)))
}

fn says(span: &Span, name: &str, wanted: &str) -> Option<String> {
    is(name, span.attributes.get(name).map_or("", String::as_str), wanted)
}

fn holds(span: &Span, name: &str) -> Option<String> {
    let is_there = span.attributes.get(name).is_some_and(|value| !value.is_empty());
    (!is_there).then(|| format!("{name} is missing"))
}

fn all<const N: usize>(wrong: [Option<String>; N]) -> Result<(), String> {
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn shown(spans: &[Span]) -> String {
    let kind = |span: &Span| match span.kind {
        SERVER => "server",
        CLIENT => "client",
        _ => "other",
    };
    let one = |span: &Span| {
        let attributes: Vec<String> =
            span.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let parent = if span.parent.is_empty() { "nothing" } else { &span.parent };
        format!("{} `{}` {} below {parent} {{{}}}", kind(span), span.name, span.id, attributes.join(", "))
    };
    match spans {
        [] => format!("no span within {ARRIVAL:?}"),
        spans => spans.iter().take(4).map(one).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::{CLIENT, SERVER, Span, is_below_server, new_trace};

    fn span(id: &str, parent: &str, kind: u64) -> Span {
        Span { id: id.to_owned(), parent: parent.to_owned(), kind, ..Span::default() }
    }

    #[test]
    fn a_span_is_below_the_servers_at_any_depth_and_a_circle_ends() {
        let tree = [span("a", "caller", SERVER), span("b", "a", 1), span("c", "b", CLIENT)];
        assert!(is_below_server(&tree, &tree[2]) && !is_below_server(&tree, &tree[0]));
        let circle = [span("a", "b", 1), span("b", "a", CLIENT), span("s", "", SERVER)];
        assert!(!is_below_server(&circle, &circle[1]));
    }

    #[test]
    fn each_trace_is_a_new_one() {
        let (one, other) = (new_trace(), new_trace());
        assert!(one.len() == 32 && one != other, "{one} {other}");
    }
}
