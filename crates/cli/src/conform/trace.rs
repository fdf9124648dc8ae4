//! TRACE 1: the trace that a request belongs to goes on in the calls that are made for it.

use super::{
    check::{Check, Evidence, Finding, check},
    dependency::{calm, named, route, taken},
    problem::{SPAN_ID, TRACE_ID},
    subject::{Subject, skipped},
    text::{SHOWN, printable},
    wire::{PATIENCE, http1::Request, http2::Http2, stand_in::Call},
};

pub(crate) static CHECKS: &[Check] = &[
    check!(
        "TRACE.1.passed-on",
        "a call continues the trace in a span of its own, with tracestate and baggage",
        [CallRoute, Dependency],
        passed_on
    ),
    check!(
        "TRACE.1.http2",
        "a call continues the trace of a request that came over HTTP/2 too",
        [CallRoute, Dependency],
        over_http2
    ),
    check!(
        "TRACE.1.flags",
        "a call keeps the random flag of its trace, and sets none that is unknown",
        [CallRoute, Dependency],
        flags
    ),
    check!(
        "TRACE.1.higher-version",
        "of a traceparent of a higher version what is known goes on, as version 00",
        [CallRoute, Dependency],
        higher_version
    ),
    check!(
        "TRACE.1.lines",
        "several lines of tracestate, or of baggage, are one list",
        [CallRoute, Dependency],
        lines
    ),
    check!(
        "TRACE.1.whole",
        "512 bytes of tracestate and 8192 of baggage, 32 and 64 members, are passed on whole",
        [CallRoute, Dependency],
        whole
    ),
    check!(
        "TRACE.1.too-much",
        "of more baggage than that whole members are passed on, or none",
        [CallRoute, Dependency],
        too_much
    ),
    check!(
        "TRACE.1.begun",
        "without a traceparent each request begins a trace, and tracestate goes no further",
        [CallRoute, Dependency],
        begun
    ),
    check!(
        "TRACE.1.malformed",
        "a malformed traceparent is not passed on, nor what came with it",
        [CallRoute, Dependency],
        malformed
    ),
    check!(
        "TRACE.1.malformed-state",
        "a tracestate that is no list is not passed on, and the trace goes on",
        [CallRoute, Dependency],
        malformed_state
    ),
];

const STATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

async fn passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let request = route(subject)?.request().traced().with(STATE, "conform=1").with(BAGGAGE, "shop=7");
    let expected = format!("traceparent with {TRACE_ID} and another span; tracestate and baggage as sent");
    called(subject, &request, &expected, |call| {
        goes_on(call)?;
        holds(call, STATE, &["conform=1"])?;
        holds(call, BAGGAGE, &["shop=7"])
    })
    .await
}

async fn over_http2(subject: &Subject) -> Finding {
    calm(subject).await?;
    let route = route(subject)?;
    let request = http::Request::builder()
        .method(route.method.as_str())
        .header("traceparent", format!("00-{TRACE_ID}-{SPAN_ID}-01"))
        .header(STATE, "conform=1")
        .header(STATE, "other=2")
        .header(BAGGAGE, "shop=7");
    let sent = format!(
        "{} {} over HTTP/2 | traceparent: 00-{TRACE_ID}-{SPAN_ID}-01 | tracestate: conform=1 | tracestate: other=2 | baggage: shop=7",
        route.method, route.path
    );
    let answer =
        async { Http2::open(subject.main()).await?.send(request, &route.path, None, PATIENCE).await };
    let answer = answer.await;
    let calls = taken(subject);
    let expected = format!("traceparent with {TRACE_ID} and another span; tracestate and baggage as sent");
    Evidence::new(sent, expected, shown(&calls)).judge(match (answer, calls.first()) {
        (Err(trouble), _) => Err(trouble.to_string()),
        (Ok(_), None) => Err("no call came".to_owned()),
        (Ok(_), Some(call)) => goes_on(call)
            .and_then(|_| holds(call, STATE, &["conform=1", "other=2"]))
            .and_then(|()| holds(call, BAGGAGE, &["shop=7"])),
    })
}

/// W3C Trace Context level 2 section 3.2.2.5. Whether it is sampled each participant decides for itself.
async fn flags(subject: &Subject) -> Finding {
    calm(subject).await?;
    let mut finding = Err(skipped("nothing was sent"));
    for flags in ["00", "01", "02", "03", "fd"] {
        let traceparent = format!("00-{TRACE_ID}-{SPAN_ID}-{flags}");
        let request = route(subject)?.request().with("traceparent", &traceparent);
        let expected = "traceparent with the same bit 2 of its flags, and none beyond it";
        finding = called(subject, &request, expected, |call| {
            let parent = goes_on(call)?;
            let is_random = u8::from_str_radix(flags, 16).is_ok_and(|sent| sent & RANDOM != 0);
            if (parent.flags & RANDOM != 0) != is_random {
                Err("the random flag is not what it was".to_owned())
            } else if parent.flags & !(SAMPLED | RANDOM) != 0 {
                Err("a flag that is unknown is set".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
        if finding.is_err() {
            break;
        }
    }
    finding
}

/// W3C Trace Context section 3.2.4.
async fn higher_version(subject: &Subject) -> Finding {
    calm(subject).await?;
    let traceparent = format!("cc-{TRACE_ID}-{SPAN_ID}-01-what-comes");
    let request = route(subject)?.request().with("traceparent", &traceparent).with(STATE, "conform=1");
    called(subject, &request, &format!("traceparent of version 00 with {TRACE_ID}; tracestate"), |call| {
        goes_on(call)?;
        holds(call, STATE, &["conform=1"])
    })
    .await
}

/// RFC 9110 section 5.3, which W3C Trace Context section 3.3.1 and W3C Baggage section 3.3.1 repeat.
async fn lines(subject: &Subject) -> Finding {
    calm(subject).await?;
    let request = route(subject)?.request().traced();
    let request = request.with(STATE, "one=1").with(STATE, "two=2, three=3").with(STATE, "four=4");
    let request = request.with(BAGGAGE, "shop=7").with(BAGGAGE, "till=2");
    called(subject, &request, "tracestate and baggage with all members, in their order", |call| {
        goes_on(call)?;
        holds(call, STATE, &["one=1", "two=2", "three=3", "four=4"])?;
        holds(call, BAGGAGE, &["shop=7", "till=2"])
    })
    .await
}

/// W3C Trace Context section 3.3.1.5, and W3C Baggage section 3.3.2.
async fn whole(subject: &Subject) -> Finding {
    calm(subject).await?;
    // The commas count: 32 * 15 + 31 and 64 * 127 + 63 bytes, and what is missing is in the last one.
    let state = numbered(32, 15, 512);
    let baggage = numbered(64, 127, 8192);
    let request = route(subject)?.request().traced();
    let request = request.with(STATE, &state.join(",")).with(BAGGAGE, &baggage.join(","));
    called(subject, &request, "all 32 members of tracestate and all 64 of baggage", |call| {
        goes_on(call)?;
        holds(call, STATE, &state)?;
        holds(call, BAGGAGE, &baggage)
    })
    .await
}

async fn too_much(subject: &Subject) -> Finding {
    calm(subject).await?;
    let baggage = numbered(90, 99, 0);
    let request = route(subject)?.request().traced().with(BAGGAGE, &baggage.join(","));
    called(subject, &request, "the trace, and of the 90 members of baggage only whole ones", |call| {
        goes_on(call)?;
        // Others may have added theirs.
        let is_ours = |member: &&String| member.starts_with("member");
        match members(call, BAGGAGE).iter().filter(is_ours).find(|member| !baggage.contains(member)) {
            None => Ok(()),
            Some(part) => Err(format!("`{}` is a part of a member", printable(part, SHOWN))),
        }
    })
    .await
}

async fn begun(subject: &Subject) -> Finding {
    calm(subject).await?;
    let request = route(subject)?.request().with(STATE, "conform=1");
    let (mut finding, mut traces) = (Err(skipped("nothing was sent")), Vec::new());
    for _ in 0..2 {
        let expected = "a traceparent of a trace that is new; no tracestate";
        finding = called(subject, &request, expected, |call| {
            let parent = starts_anew(call)?;
            if traces.contains(&parent.trace) {
                return Err("the request before had the same trace".to_owned());
            }
            traces.push(parent.trace);
            Ok(())
        })
        .await;
        if finding.is_err() {
            break;
        }
    }
    finding
}

/// W3C Trace Context section 3.2 and 4.3: what is malformed is as if it were not there.
async fn malformed(subject: &Subject) -> Finding {
    calm(subject).await?;
    let upper = TRACE_ID.to_uppercase();
    let good = format!("00-{TRACE_ID}-{SPAN_ID}-01");
    let bad: [&[&str]; 8] = [
        &[&format!("00-{upper}-{SPAN_ID}-01")],
        &[&format!("ff-{TRACE_ID}-{SPAN_ID}-01")],
        &[&format!("00-{TRACE_ID}-0000000000000000-01")],
        &[&format!("00-{TRACE_ID}-{SPAN_ID}-01-more")],
        &[&format!("00-{TRACE_ID}-{SPAN_ID}")],
        &[&format!("00-{TRACE_ID}-{SPAN_ID}-1g")],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        // Which of the two?
        &[&good, &good],
    ];
    let mut finding = Err(skipped("nothing was sent"));
    for traceparents in bad {
        let request = route(subject)?.request().with(STATE, "conform=1");
        let request = traceparents.iter().fold(request, |request, value| request.with("traceparent", value));
        let expected = "a traceparent of another trace, well-formed; no tracestate";
        finding = called(subject, &request, expected, |call| starts_anew(call).map(|_| ())).await;
        if finding.is_err() {
            break;
        }
    }
    finding
}

async fn malformed_state(subject: &Subject) -> Finding {
    calm(subject).await?;
    let (long, many) = (format!("long={}", "x".repeat(257)), numbered(33, 12, 0).join(","));
    let mut finding = Err(skipped("nothing was sent"));
    for state in ["conform", "conform=", "CONFORM=1", "conform=1=2", &long, &many] {
        let request = route(subject)?.request().traced().with(STATE, state);
        finding = called(subject, &request, &format!("the trace {TRACE_ID}; no such tracestate"), |call| {
            goes_on(call)?;
            match call.field(STATE) {
                Some(passed_on) if passed_on == state => Err("it is passed on".to_owned()),
                Some(_) | None => Ok(()),
            }
        })
        .await;
        if finding.is_err() {
            break;
        }
    }
    finding
}

/// Sends a request, and judges the first call that comes because of it.
async fn called(
    subject: &Subject,
    request: &Request,
    expected: &str,
    rule: impl FnOnce(&Call) -> Result<(), String>,
) -> Finding {
    let sent = subject.send(request).await;
    let calls = taken(subject);
    let evidence = Evidence::new(&sent.sent, expected, shown(&calls));
    evidence.judge(calls.first().map_or_else(|| Err(format!("no call came: {}", sent.shown())), rule))
}

/// What the first call says of its trace.
fn shown(calls: &[Call]) -> String {
    ["traceparent", STATE, BAGGAGE].map(|name| printable(&named(calls, name), SHOWN / 3)).join("; ")
}

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// A `traceparent` (W3C Trace Context section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    trace: String,
    pub(super) span: String,
    flags: u8,
}

impl Parent {
    /// Of version 00, which is the one that is sent.
    fn read(field: &str) -> Option<Self> {
        let mut parts = field.split('-');
        let version = parts.next()?;
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |text: &str, length: usize| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
        let is_whole = version == "00" && parts.next().is_none();
        if !is_whole || !is_id(trace, 32) || !is_id(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace: trace.to_owned(), span: span.to_owned(), flags })
    }
}

pub(super) fn parent(call: &Call) -> Result<Parent, String> {
    let field = call.field("traceparent").ok_or("the call carries no traceparent")?;
    Parent::read(&field).ok_or_else(|| format!("`{}` is no traceparent", printable(&field, SHOWN)))
}

/// The trace that was sent goes on, in another span.
fn goes_on(call: &Call) -> Result<Parent, String> {
    let parent = parent(call)?;
    if parent.trace != TRACE_ID {
        Err(format!("the trace id is `{}`", parent.trace))
    } else if parent.span == SPAN_ID {
        Err(format!("the span id is `{}`, no new one", parent.span))
    } else {
        Ok(parent)
    }
}

/// Another trace than was sent, and nothing of what came with that.
fn starts_anew(call: &Call) -> Result<Parent, String> {
    let parent = parent(call)?;
    if parent.trace == TRACE_ID {
        Err("the trace of the malformed traceparent goes on".to_owned())
    } else if members(call, STATE).contains(&"conform=1".to_owned()) {
        Err("tracestate was passed on without its traceparent".to_owned())
    } else {
        Ok(parent)
    }
}

/// The members of a list, without the white space around them.
fn members(call: &Call, field: &str) -> Vec<String> {
    let list = call.field(field).unwrap_or_default();
    list.split(',').map(|member| member.trim().to_owned()).collect()
}

/// Whether the list has these members, in their order; others may have added theirs.
fn holds(call: &Call, field: &str, wanted: &[impl AsRef<str>]) -> Result<(), String> {
    let members = members(call, field);
    let mut rest = members.iter();
    match wanted.iter().find(|wanted| !rest.any(|member| member == wanted.as_ref())) {
        None => Ok(()),
        Some(missing) => {
            Err(format!("{field} lacks `{}`, or has it elsewhere", printable(missing.as_ref(), 40)))
        }
    }
}

/// So many members of `length` bytes each; the last one is longer where the whole list is to have `total`.
fn numbered(count: usize, length: usize, total: usize) -> Vec<String> {
    let member = |index: usize| {
        let key = format!("member{index}=");
        let filling = length.saturating_sub(key.len());
        key + &"x".repeat(filling)
    };
    let mut members: Vec<String> = (0..count).map(member).collect();
    let missing = total.saturating_sub(members.join(",").len());
    if let Some(last) = members.last_mut() {
        last.push_str(&"x".repeat(missing));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::{Parent, numbered};

    #[test]
    fn a_traceparent_is_read_or_it_is_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
        let parent = Parent::read(good).unwrap();
        assert_eq!((&*parent.span, parent.flags), ("00f067aa0ba902b7", 3));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &format!("{good}-more"),
            &format!("{good}, {good}"),
        ] {
            assert_eq!(Parent::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_are_as_long_as_they_are_said_to_be() {
        let (state, baggage) = (numbered(32, 15, 512), numbered(64, 127, 8192));
        assert_eq!((state.len(), state.join(",").len()), (32, 512));
        assert_eq!((baggage.len(), baggage.join(",").len()), (64, 8192));
    }
}
