//! CALL: what the service does to those that it calls, and what they can do to it. The suite listens in their place.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    problem::{TRACE_ID, Trace, problem},
    settings::Route,
    subject::{Subject, exchange, skipped},
    wire::{
        PATIENCE,
        http1::Request,
        stand_in::{Call, Manner, StandIn},
    },
};

pub(crate) static CHECKS: &[Check] = &[
    check!("CALL.1.reached", "a call arrives where discovery says", [CallRoute, Dependency], reached),
    check!(
        "DEADLINE.1.passed-on",
        "a call carries what is left of the deadline",
        [CallRoute, Dependency],
        deadline_passed_on
    ),
    check!(
        "DEADLINE.1.gives-up",
        "a call ends with the deadline, at both sides",
        [CallRoute, Dependency],
        gives_up
    ),
    check!(
        "TRACE.1.passed-on",
        "a call continues the trace in a span of its own, with tracestate and baggage",
        [CallRoute, Dependency],
        trace_passed_on
    ),
    check!(
        "TRACE.1.malformed",
        "a malformed traceparent is not passed on, nor what came with it",
        [CallRoute, Dependency],
        malformed_trace
    ),
    check!(
        "TRACE.4.passed-on",
        "a call carries the request id that came in",
        [CallRoute, Dependency],
        request_id_passed_on
    ),
    check!(
        "CALL.2.safe",
        "a GET whose connection broke before an answer is repeated",
        [CallRoute, Dependency],
        safe
    ),
    check!(
        "CALL.2.unsafe",
        "a POST whose connection broke before an answer is not repeated",
        [CallPost, Dependency],
        not_safe
    ),
    check!(
        "CALL.2.answer-begun",
        "a GET whose answer broke off is not repeated",
        [CallRoute, Dependency],
        answer_begun
    ),
    check!(
        "CALL.2.budget",
        "repeating adds a fifth to the load of a broken dependency at most",
        [CallRoute, Dependency],
        budget
    ),
    check!(
        "CALL.3.ejected",
        "an endpoint that breaks every call is avoided, and callers don't notice",
        [CallRoute, Dependencies],
        ejected
    ),
    check!(
        "CALL.3.let-back",
        "an endpoint that is well again gets calls again",
        [CallRoute, Dependencies],
        let_back
    ),
    check!(
        "CALL.3.all-out",
        "where every endpoint breaks, all are still tried",
        [CallRoute, Dependencies],
        all_out
    ),
    check!(
        "CALL.4.once",
        "a GET that arrived as a repeat and is refused is not repeated again",
        [CallRoute, Dependency],
        repeated_once
    ),
    check!(
        "CALL.4.passed-on",
        "a call for what arrived as a repeat says that it is one",
        [CallRoute, Dependency],
        attempt_passed_on
    ),
];

/// The field that says how often a request was sent before.
const ATTEMPT: &str = "x-request-attempt";

/// How long a service may avoid an endpoint that is well again.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long it may take until a call that was given up has ended at the other side.
const LET_GO: Duration = Duration::from_secs(2);

/// So many requests at once: with one after the other a balancer may be content with one endpoint.
const AT_ONCE: usize = 8;

/// Extra load that a retry budget may allow once, before it is a share of the calls.
const RESERVE: usize = 20;

async fn reached(subject: &Subject) -> Finding {
    calm(subject).await?;
    let answer = subject.send(&route(subject)?.request()).await;
    let calls = taken(subject);
    Evidence::new(answer.sent, "one call to --dependency", shown(&calls)).judge(one(&calls))
}

async fn deadline_passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let sent = subject.send(&route(subject)?.request().with("x-request-timeout", "3S")).await;
    let calls = taken(subject);
    let given = calls.first().and_then(|call| call.field("x-request-timeout"));
    let left = given.as_deref().and_then(timeout);
    Evidence::new(sent.sent, "x-request-timeout of at most 3 s", named(&calls, "x-request-timeout")).judge(
        match left {
            Some(left) if left > Duration::ZERO && left <= Duration::from_secs(3) => Ok(()),
            Some(left) => Err(format!("it says {left:?}")),
            None => Err("the call carries no x-request-timeout".to_owned()),
        },
    )
}

async fn gives_up(subject: &Subject) -> Finding {
    calm(subject).await?;
    behave(subject, Manner::Hang);
    let request = route(subject)?.request().with("x-request-timeout", "500m").traced();
    let answer = subject.send(&request).await;
    let mut let_go = true;
    for dependency in &subject.dependencies {
        let_go &= dependency.is_let_go(LET_GO).await;
    }
    behave(subject, Manner::Answer);
    let calls = taken(subject);
    let expected =
        format!("504 application/problem+json; at the dependency the call ended within {LET_GO:?}");
    answer.expect(&expected, |answer| {
        problem(answer, &[504], Trace::Sent)?;
        one(&calls)?;
        if let_go { Ok(()) } else { Err("the call is still open at the dependency".to_owned()) }
    })
}

async fn trace_passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let request =
        route(subject)?.request().traced().with("tracestate", "conform=1").with("baggage", "shop=7");
    let sent = subject.send(&request).await;
    let calls = taken(subject);
    let came = format!(
        "{}; {}; {}",
        named(&calls, "traceparent"),
        named(&calls, "tracestate"),
        named(&calls, "baggage")
    );
    let expected = format!("traceparent with {TRACE_ID} and another span; tracestate and baggage as sent");
    Evidence::new(&sent.sent, expected, came).judge(calls.first().map_or_else(
        || Err("no call came".to_owned()),
        |call| {
            let parent = call.field("traceparent").unwrap_or_default();
            let parts: Vec<&str> = parent.split('-').collect();
            let (trace, span) =
                (parts.get(1).copied().unwrap_or_default(), parts.get(2).copied().unwrap_or_default());
            let mut wrong = Vec::new();
            if trace != TRACE_ID {
                wrong.push(format!("the trace id is `{trace}`"));
            }
            if span.len() != 16 || sent.sent.contains(span) {
                wrong.push(format!("the span id is `{span}`, no new one"));
            }
            for (name, value) in [("tracestate", "conform=1"), ("baggage", "shop=7")] {
                // Others may have added theirs.
                if !call.field(name).unwrap_or_default().contains(value) {
                    wrong.push(format!("{name} lacks `{value}`"));
                }
            }
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
        },
    ))
}

/// W3C Trace Context section 3.2 and 4.3: what is malformed is as if it were not there.
async fn malformed_trace(subject: &Subject) -> Finding {
    calm(subject).await?;
    let upper = TRACE_ID.to_uppercase();
    let bad = [
        format!("00-{upper}-00f067aa0ba902b7-01"),
        format!("ff-{TRACE_ID}-00f067aa0ba902b7-01"),
        format!("00-{TRACE_ID}-0000000000000000-01"),
        format!("00-{TRACE_ID}-00f067aa0ba902b7-01-more"),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
    ];
    let mut evidence = Evidence::default();
    for traceparent in &bad {
        let request =
            route(subject)?.request().with("traceparent", traceparent).with("tracestate", "conform=1");
        let sent = subject.send(&request).await;
        let calls = taken(subject);
        let came = format!("{}; {}", named(&calls, "traceparent"), named(&calls, "tracestate"));
        let expected = "a traceparent of another trace, well-formed; no tracestate";
        let found = Evidence::new(&sent.sent, expected, came).judge(calls.first().map_or_else(
            || Err("no call came".to_owned()),
            |call| {
                let parent = call.field("traceparent").unwrap_or_default();
                let trace = parent.split('-').nth(1).unwrap_or_default();
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                if trace.len() != 32 || !trace.chars().all(hex) || trace.chars().all(|c| c == '0') {
                    Err(format!("`{parent}` is no traceparent"))
                } else if trace.eq_ignore_ascii_case(TRACE_ID) {
                    Err("the trace of the malformed traceparent goes on".to_owned())
                } else if call.field("tracestate").unwrap_or_default().contains("conform=1") {
                    Err("tracestate was passed on without its traceparent".to_owned())
                } else {
                    Ok(())
                }
            },
        ));
        evidence = found?;
    }
    Ok(evidence)
}

async fn request_id_passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let id = "conform-5f1c2d";
    let sent = subject.send(&route(subject)?.request().with("x-request-id", id)).await;
    let calls = taken(subject);
    Evidence::new(sent.sent, format!("x-request-id: {id}"), named(&calls, "x-request-id")).judge(match calls
        .first()
        .and_then(|call| call.field("x-request-id"))
    {
        Some(found) if found == id => Ok(()),
        Some(found) => Err(format!("it is `{found}`")),
        None => Err("the call carries none".to_owned()),
    })
}

async fn safe(subject: &Subject) -> Finding {
    calm(subject).await?;
    behave(subject, Manner::BreakOnce);
    let answer = subject.send(&route(subject)?.request()).await;
    behave(subject, Manner::Answer);
    let calls = taken(subject);
    // Each stand-in breaks one call.
    let most = subject.dependencies.len() + 1;
    answer.expect("2xx after the call was repeated", |answer| {
        if !answer.is_success() {
            return Err(format!("status is {}; {} calls came", answer.status, calls.len()));
        }
        if (2..=most).contains(&calls.len()) { Ok(()) } else { Err(format!("{} calls came", calls.len())) }
    })
}

async fn not_safe(subject: &Subject) -> Finding {
    calm_if_told_how(subject).await?;
    let post = subject.settings.call_post.as_ref().ok_or_else(|| skipped("needs --call-post"))?;
    behave(subject, Manner::Break);
    let answer = subject.send(&post.request().traced()).await;
    behave(subject, Manner::Answer);
    let calls = taken(subject);
    answer.expect("one call, and 502, 503 or 504 application/problem+json", |answer| {
        one(&calls)?;
        problem(answer, &[502, 503, 504], Trace::Sent)
    })
}

async fn answer_begun(subject: &Subject) -> Finding {
    calm(subject).await?;
    behave(subject, Manner::BreakOff);
    let answer = subject.send(&route(subject)?.request()).await;
    behave(subject, Manner::Answer);
    let calls = taken(subject);
    // What the caller gets depends on how much of it had been handed on: an error, or a connection that breaks.
    let whole = answer.came.as_ref().is_ok_and(|answer| answer.is_success());
    Evidence::new(
        &answer.sent,
        "one call, and no whole answer",
        format!("{}; {}", shown(&calls), answer.shown()),
    )
    .judge(one(&calls).and(if whole {
        Err("half an answer came as a whole one".to_owned())
    } else {
        Ok(())
    }))
}

async fn budget(subject: &Subject) -> Finding {
    const REQUESTS: usize = 240;
    calm(subject).await?;
    behave(subject, Manner::Break);
    many(subject, REQUESTS).await?;
    behave(subject, Manner::Answer);
    let (calls, most) = (taken(subject).len(), REQUESTS + REQUESTS / 5 + RESERVE);
    Evidence::new(
        format!("{REQUESTS} GETs, each call broken"),
        format!("at most {most} calls: a fifth more, and {RESERVE} once"),
        format!("{calls} calls"),
    )
    .judge(if calls <= most {
        Ok(())
    } else {
        Err("a dependency in trouble gets more than that".to_owned())
    })
}

async fn ejected(subject: &Subject) -> Finding {
    const REQUESTS: usize = 160;
    calm(subject).await?;
    let broken = broken_one(subject)?;
    broken.behave(Manner::Break);
    many(subject, REQUESTS).await?;
    taken(subject);
    let failed = many(subject, REQUESTS).await?;
    let at_broken = broken.take().len();
    behave(subject, Manner::Answer);
    Evidence::new(
        format!("{} GETs, one endpoint breaks each call", 2 * REQUESTS),
        format!("of the last {REQUESTS} all answered 2xx, at most a tenth of their calls to that endpoint"),
        format!("{failed} not answered 2xx, {at_broken} calls to that endpoint"),
    )
    .judge(if failed == 0 && at_broken <= REQUESTS / 10 {
        Ok(())
    } else {
        Err("it is not avoided".to_owned())
    })
}

async fn let_back(subject: &Subject) -> Finding {
    calm(subject).await?;
    let broken = broken_one(subject)?;
    broken.behave(Manner::Break);
    many(subject, 80).await?;
    broken.behave(Manner::Answer);
    taken(subject);
    let (began, mut came) = (Instant::now(), 0);
    while came < AT_ONCE && began.elapsed() < RECOVERY {
        many(subject, AT_ONCE).await?;
        sleep(Duration::from_millis(50)).await;
        came += broken.take().len();
    }
    taken(subject);
    Evidence::new(
        "GETs, after an endpoint that broke each call is well again",
        format!("{AT_ONCE} calls to it within {RECOVERY:?}"),
        format!("{came} calls after {:.1?}", began.elapsed()),
    )
    .judge(if came >= AT_ONCE { Ok(()) } else { Err("it is not used again".to_owned()) })
}

async fn all_out(subject: &Subject) -> Finding {
    calm(subject).await?;
    behave(subject, Manner::Break);
    many(subject, 80).await?;
    taken(subject);
    many(subject, 80).await?;
    let calls: Vec<usize> = subject.dependencies.iter().map(|dependency| dependency.take().len()).collect();
    behave(subject, Manner::Answer);
    Evidence::new(
        "160 GETs, each call broken",
        "of the last 80 some at each endpoint",
        format!("{calls:?} calls"),
    )
    .judge(if calls.contains(&0) { Err("one of them is not tried any more".to_owned()) } else { Ok(()) })
}

/// Whether the service repeats for an answer at all is its own choice: what arrived as a first attempt shows it.
async fn repeated_once(subject: &Subject) -> Finding {
    let mut calls = Vec::new();
    let mut sent = String::new();
    for attempt in ["0", "1"] {
        calm(subject).await?;
        behave(subject, Manner::Refuse);
        sent = subject.send(&route(subject)?.request().with(ATTEMPT, attempt)).await.sent;
        behave(subject, Manner::Answer);
        calls.push(taken(subject));
    }
    let repeat = calls.pop().unwrap_or_default();
    let came = format!("{}; for a first attempt: {}", shown(&repeat), shown(&calls.concat()));
    Evidence::new(sent, "one call, answered with 503", came).judge(one(&repeat))
}

/// Else the next service of the chain would take it for a first attempt, and repeat it once more.
async fn attempt_passed_on(subject: &Subject) -> Finding {
    calm(subject).await?;
    let sent = subject.send(&route(subject)?.request().with(ATTEMPT, "2")).await;
    let calls = taken(subject);
    let given = calls.first().and_then(|call| call.field(ATTEMPT));
    let evidence = Evidence::new(sent.sent, format!("{ATTEMPT} above 0"), named(&calls, ATTEMPT));
    evidence.judge(match given.as_deref().map(str::parse::<u32>) {
        Some(Ok(attempt)) if attempt > 0 => Ok(()),
        Some(_) => Err("it is taken for a first attempt there".to_owned()),
        None => Err(format!("the call carries no {ATTEMPT}")),
    })
}

/// Brings the dependency and the service's opinion of it back to good.
async fn calm(subject: &Subject) -> Result<(), Miss> {
    let request = route(subject)?.request();
    behave(subject, Manner::Answer);
    let began = Instant::now();
    loop {
        let answer = subject.send(&request).await;
        let calls = taken(subject);
        if answer.came.as_ref().is_ok_and(|answer| answer.is_success()) {
            return Ok(());
        }
        if began.elapsed() > RECOVERY {
            let came = format!("{}; {}", answer.shown(), shown(&calls));
            if subject.dependencies.iter().any(StandIn::has_answered) {
                let expected = format!("2xx within {RECOVERY:?} after the dependency was well again");
                let evidence = Evidence::new(&answer.sent, expected, came);
                return Err(Miss::Failed {
                    evidence,
                    why: "it did not recover from an earlier check".to_owned(),
                });
            }
            return Err(skipped(format!(
                "--call-route has to answer 2xx when the dependency answers 200 `{{}}`: {came}"
            )));
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn calm_if_told_how(subject: &Subject) -> Result<(), Miss> {
    if subject.settings.call_route.is_some() {
        calm(subject).await?;
    }
    Ok(())
}

/// Sends `count` requests to the route, some at once; how many were not answered 2xx.
async fn many(subject: &Subject, count: usize) -> Result<usize, Miss> {
    let request = route(subject)?.request();
    let mut failed = 0;
    for _ in 0..count / AT_ONCE {
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (to, request): (_, Request) = (subject.main().clone(), request.clone());
            all.spawn(async move { exchange(&to, &request, PATIENCE).await });
        }
        while let Some(done) = all.join_next().await {
            let succeeded = done.is_ok_and(|done| done.came.is_ok_and(|answer| answer.is_success()));
            failed += usize::from(!succeeded);
        }
    }
    Ok(failed)
}

fn route(subject: &Subject) -> Result<&Route, Miss> {
    subject.settings.call_route.as_ref().ok_or_else(|| skipped("needs --call-route"))
}

fn broken_one(subject: &Subject) -> Result<&StandIn, Miss> {
    subject.dependencies.first().ok_or_else(|| skipped("needs --dependency (twice)"))
}

fn behave(subject: &Subject, manner: Manner) {
    for dependency in &subject.dependencies {
        dependency.behave(manner);
    }
}

/// The calls at all endpoints since the last time.
fn taken(subject: &Subject) -> Vec<Call> {
    subject.dependencies.iter().flat_map(StandIn::take).collect()
}

fn one(calls: &[Call]) -> Result<(), String> {
    if calls.len() == 1 { Ok(()) } else { Err(format!("{} came", shown(calls))) }
}

/// How many, and what the first few are.
fn shown(calls: &[Call]) -> String {
    let first: Vec<String> =
        calls.iter().take(4).map(|call| format!("{} {}", call.method, call.target)).collect();
    match calls.len() {
        0 => "no call".to_owned(),
        1 => first.concat(),
        count => format!("{count} calls ({})", first.join(", ")),
    }
}

fn named(calls: &[Call], field: &str) -> String {
    match calls.first() {
        None => "no call".to_owned(),
        Some(call) => format!("{field}: {}", call.field(field).unwrap_or_else(|| "(none)".to_owned())),
    }
}

/// The grammar of `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 =
        digits.parse().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Duration, timeout};

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        assert_eq!(timeout("2999m"), Some(Duration::from_millis(2999)));
        assert_eq!(timeout("3S"), Some(Duration::from_secs(3)));
        for wrong in ["", "S", "3", "+3S", "123456789m", "3s", "3ü"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }
}
