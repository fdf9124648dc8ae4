//! CALL: what the service does to those that it calls, and what they can do to it. The suite listens in their place.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    dependency::{RECOVERY, behave, calm, named, one, route, shown, taken},
    problem::{Trace, problem},
    subject::{Subject, exchange, skipped},
    wire::{
        PATIENCE,
        http1::Request,
        stand_in::{Manner, StandIn},
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

fn broken_one(subject: &Subject) -> Result<&StandIn, Miss> {
    subject.dependencies.first().ok_or_else(|| skipped("needs --dependency (twice)"))
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
